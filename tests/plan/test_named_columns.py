"""Which columns a prompt names."""

from __future__ import annotations

import pytest

from rowmill.tasks.plan.named_columns import columns_named, names_column


@pytest.mark.parametrize(
    ("prompt", "columns"),
    [
        ("{{ body }}", ("body",)), ("Read.", ()), ("{{ a[", ()), ("{% set x = a %}{{ x }}", ("a",)),
        ("{% if subject %}{{ body }}{% endif %}{{ subject }}", ("subject", "body")),
        ("{{ b | upper }} {{ a.x }} {{ row['US Gross'] }} {{ row.z }} {{ row.get('q', k) }}", ("b", "a", "US Gross", "z", "q", "k")),
        ("{% for line in lines %}{{ line.name }}{% endfor %}", ("lines",)), ("{{ row }}", None), ("{{ row[name] }}", None),
        ("{% for name, value in row.items() %}{{ value }}{% endfor %}", None),
    ],
)  # fmt: skip
def test_the_columns_that_a_prompt_names(prompt, columns):
    """In their order, whatever is done with them; None where it may show any of them."""
    assert columns_named(prompt) == columns


@pytest.mark.parametrize(
    "source", ["{{ 'a' * 10**9 }}{{ b }}", "{{ 10**(10**8) }}{{ b }}", "{{ 'a'|center(10**9) }}{{ b }}"]
)
def test_looking_for_names_works_nothing_out(source):
    """A constant that would take a gigabyte is not made to see which columns stand beside it."""
    assert columns_named(source) == ("b",)
    assert names_column(source, "b")

"""Which columns a prompt names."""

from __future__ import annotations

import pytest

from rowmill.tasks.plan.named_columns import columns_named


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

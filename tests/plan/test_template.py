"""Prompts by sandboxed templates."""

from __future__ import annotations

from datetime import date
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.errors import JobError
from rowmill.tasks.plan.template import FILLED_MOST_CHARS, Template, TemplateError


@pytest.mark.parametrize(
    ("template", "told"),
    [
        ("{{ bdy }}", "did you mean 'body'"),
        ("{{ body.__class__ }}", "is unsafe"),
        ("{{ ''.__class__.__mro__ }}", "is unsafe"),
        ("{% for n in range(1000000) %}x{% endfor %}", "1,000,000 steps"),
        (
            "{% for a in range(99999) %}{% for b in range(99999) %}xxxxxxxxxxxxxxxx{% endfor %}{% endfor %}",
            "more than 1,500,000 steps",
        ),
        ("{{ 1 / 0 }}", "fails on this row"),
        ("{{ body + 1 }}", "fails on this row"),
        ("{{ self.__init__.__globals__ }}", "unsafe"),
        ("{{ self }}", "the column 'self' is unknown"),
        ("{% block a %}{{ self.__init__.__globals__ }}{% endblock %}", "unsafe"),
        ("{{ body | truncate(1) }}", "fails on this row"),
    ],
)
def test_a_template_cannot_do_harm(template, told):
    """An unknown column, Python's insides, endless loops and failing operations end in a reason, never in harm."""
    with pytest.raises(TemplateError, match=told):
        Template(template, "prompt").render({"body": "b"})


@pytest.mark.parametrize(
    ("template", "columns", "told"),
    [
        ("{{ o.k }}", {"o": None, "a": 1}, "the column 'o' is null, and a null has no field 'k'"),
        ("{{ o.k.l }}", {"o": {"k": None}, "a": 1}, "a null was met, and a null has no field 'l'"),
        ("{{ o[0] }}{{ o[0].x }}", {"o": None, "p": None}, "a null was met"),
        ("{{ o.k }}", {"o": "text"}, "a text has no field 'k'"),
        ("{{ o[3].k }}", {"o": [1]}, "a list has no element 3"),
        ("{{ o.k.l }}", {"o": {"x": 1}}, "there is no field 'k'"),
    ],
)
def test_what_is_not_there_is_told_by_what_was_there(template, columns, told):
    """A null by its column, a text, a list: never as a column that nobody named."""
    with pytest.raises(TemplateError, match=told):
        Template(template, "prompt").render(columns)


@pytest.mark.parametrize(
    ("template", "prompt"),
    [
        ("{{ row }}", "7"),
        ("{{ row + 1 }}", "8"),
        ("{{ row['US Gross'] }} {{ row.row }}", "12 7"),
        ("{{ row.get('a.b') }}{{ row['self'] }}", "xme"),
        ("{{ self }}", "me"),
        ("{% for row in items %}{{ row.n }}{% endfor %}", "1"),
        ("{{ items[0].n }}{% for one in items %}{{ loop.index }}{% endfor %}{{ loop }}", "11L"),
        ("{{ range }}{{ dict }}", "RD"),
    ],
)
def test_a_column_may_have_any_name(template, prompt):
    """`row["US Gross"]` is a column of the row also where one is named `row`, as `self` is a column, and no insides of
    the template; what the template itself names so is its own.
    """
    columns = {
        "row": 7,
        "US Gross": 12,
        "a.b": "x",
        "self": "me",
        "items": [{"n": 1}],
        "loop": "L",
        "range": "R",
        "dict": "D",
    }
    assert Template(template, "prompt").render(columns) == prompt


def test_row_is_not_two_things_in_one_prompt():
    """A column `row` shown beside fields of the row says what to write; a struct of that name has its own fields."""
    with pytest.raises(TemplateError, match=r'\{\{ row\["row"\] \}\}'):
        Template("{{ row }}: {{ row['a b'] }}", "prompt").render({"row": 7, "a b": 1})
    assert Template("{{ row.a }}", "prompt").render({"row": {"a": 5}, "a": 1}) == "5"


@pytest.mark.parametrize("words", ["include 'x'", "import 'x' as y", "from 'x' import y", "extends 'x'"])
def test_a_template_has_no_other_beside_it(words):
    """Includes and imports are refused before a row is read."""
    with pytest.raises(JobError, match="line 2: it names another template"):
        Template(f"a\n{{% {words} %}}", "prompt")


def test_a_broken_template_is_refused_with_its_line():
    """A template that does not parse is a mistake of the job, told by line."""
    with pytest.raises(JobError, match="line 2"):
        Template("a\n{{ b", "prompt")


ORDER = {
    "who": "Ann 'A' Bü",
    "n": None,
    "paid": True,
    "on": date(2026, 1, 5),
    "sum": Decimal("1.50"),
    "lines": [{"k": "<b>"}],
}
ORDER_TEXT = (
    '{"who": "Ann \'A\' Bü", "n": null, "paid": true, "on": "2026-01-05", "sum": "1.50", "lines": [{"k": "<b>"}]}'
)


@pytest.mark.parametrize(
    ("template", "shown"),
    [
        ("{{ o }}", ORDER_TEXT),
        ("{{ row }}", '{"o": ' + ORDER_TEXT + "}"),
        ("{{ o.lines }}", '[{"k": "<b>"}]'),
        ("{{ 'x' ~ o.lines }}", 'x[{"k": "<b>"}]'),
        ("{{ [o.n, o.on] | join(',') }}|{{ [o] | join(',', attribute='lines') }}", ',2026-01-05|[{"k": "<b>"}]'),
        ("{{ o.lines | string | upper }}{{ o.lines | replace('k', 'K') }}", '[{"K": "<B>"}][{"K": "<b>"}]'),
        ("{{ '%s' % o.lines[0] }}{{ '%s/%s' % (o.n, o.lines) }}", '{"k": "<b>"}/[{"k": "<b>"}]'),
        ("{{ '%(lines)s' % o }}{{ '%s' | format(o.lines) }}", '[{"k": "<b>"}][{"k": "<b>"}]'),
        ("{{ '{lines}'.format(**o) }}{{ '{!s}'.format(o.lines) }}", '[{"k": "<b>"}][{"k": "<b>"}]'),
        ("{{ o.keys() }}", '["who", "n", "paid", "on", "sum", "lines"]'),
        ("{{ [1.5, [none]] }}{{ o.paid }}", "[1.5, [null]]True"),
        ("{{ {'a': 'b c'} | urlencode }}", "a=b+c"),
    ],
)
def test_objects_and_lists_are_shown_as_json(template, shown):
    """However it comes into the text, an object or a list is JSON with its own characters, never Python's text of it."""
    assert Template(template, "prompt").render({"o": ORDER}) == shown


NAMES = ["body", "a", "row", "range", "loop", "self", "dict", "absent"]
VALUES = st.none() | st.booleans() | st.integers() | st.text(max_size=5) | st.just([1, "a"]) | st.just({"k": None})


@given(
    pieces=st.lists(st.sampled_from([*(f"{{{{ {name} }}}}" for name in NAMES), "text\n", " é ", "{# no #}"])),
    columns=st.dictionaries(st.sampled_from(NAMES[:-1]), VALUES),
)
def test_a_template_of_texts_and_columns_is_filled_as_jinja_fills_it(pieces, columns):
    """Prompts that are put together without Jinja, and those that are not, are the same to the letter."""
    template, source = Template("".join(pieces), "prompt"), "{% if false %}{% endif %}" + "".join(pieces)
    assert _made(template, columns) == _made(Template(source, "prompt"), columns)


def test_texts_that_come_near_the_bounds_are_left_to_jinja():
    """A prompt of many characters is made within the bounds of any other."""
    template = Template("{{ body }}" * 17, "prompt")
    with pytest.raises(TemplateError, match="longer than 16,777,216 characters"):
        template.render({"body": "x" * FILLED_MOST_CHARS})


def _made(template, columns):
    try:
        return template.render(columns)
    except TemplateError as error:
        return str(error)

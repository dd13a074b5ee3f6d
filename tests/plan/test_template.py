"""Prompts by sandboxed templates."""

from __future__ import annotations

import pytest

from rowmill.schemas.errors import JobError
from rowmill.tasks.plan.template import Template, TemplateError


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


def test_a_broken_template_is_refused_with_its_line():
    """A template that does not parse is a mistake of the job, told by line."""
    with pytest.raises(JobError, match="line 2"):
        Template("a\n{{ b", "prompt")

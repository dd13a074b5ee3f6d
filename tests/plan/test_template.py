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


def test_a_broken_template_is_refused_with_its_line():
    """A template that does not parse is a mistake of the job, told by line."""
    with pytest.raises(JobError, match="line 2"):
        Template("a\n{{ b", "prompt")

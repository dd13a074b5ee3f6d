"""A prompt is made of a row's own values, within bounds that are kept before they are passed."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import date
from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.errors import JobError
from rowmill.tasks.plan.template import Template, TemplateError
from rowmill.tasks.plan.template_budget import MADE_MOST, STEPS_MOST, Budget

BIG = "a" * 1_000_000
ROW = {"big": BIG, "n": 3, "rows": [{"a": number} for number in range(1000)]}
LAUGHS = (
    "{% set a = [big, big, big, big, big, big, big, big] %}{% set b = [a, a, a, a, a, a, a, a] %}"
    "{% set c = [b, b, b, b, b, b, b, b] %}"
)
BOMBS = """
{{ 'a' * 10**9 }}
{{ 10**9 * 'a' }}
{{ [1] * 10**9 }}
{{ (1,) * 10**9 }}
{{ (range(100000)|list) * 1000 }}
{{ "%1000000000d" % 1 }}
{{ "%*d" % (10**9, 1) }}
{{ "%.1000000000f" % 1.5 }}
{{ "{:1000000000}".format(1) }}
{{ "{:>{w}}".format(1, w=10**9) }}
{{ "{:.1000000000f}".format(1.5) }}
{{ 'a'.center(10**9) }}
{{ 'a'|center(10**9) }}
{{ big|attr('center')(10**9) }}
{{ 'a'.ljust(10**9) }}
{{ 'a'.rjust(width=10**9) }}
{{ 'a'.zfill(10**9) }}
{{ ('\\t' * 1000000).expandtabs(100000) }}
{{ 10**(10**8) }}
{{ 2**(2**40) }}
{{ (10**9)**(10**9) }}
{{ (1).to_bytes(10**9, 'big') }}
{{ 1.5|round(10**9) }}
{{ 1.5|round(10**9, 'ceil') }}
{{ [1]|tojson(10**9) }}
{{ []|slice(10**9)|list|length }}
{{ [1]|batch(10**9, 'x')|list|length }}
{{ big|indent(10**9) }}
{{ ('\\n' * 1000000)|indent(1000) }}
{{ big|replace('a', 'b' * 1000) }}
{{ big|replace('', big) }}
{{ big.replace('a', big) }}
{{ big.translate({97: big}) }}
{{ range(100000)|join(big) }}
{{ big.join(range(1000)|map('string')|list) }}
{{ range(100000)|map('replace', '1', big)|list|length }}
{{ big ~ big ~ big ~ big ~ big ~ big ~ big ~ big ~ (big * 30) }}
{{ (big * 20)|list|length }}
{{ (big * 20).split('a')|length }}
{{ big|wordwrap(1) }}
{{ ('&' * 1000000)|e|e|e|e }}
{{ ('é' * 4000000)|urlencode }}
{{ ([[1] * 10000] * 100)|sum(start=[]) }}
{{ ('b' * 4000000)|trim('a' * 4000000) }}
{% for n in range(10**12) %}x{% endfor %}
{% for a in range(100000) %}{% for b in range(100000) %}{% endfor %}{% endfor %}
{% for a in range(100000) %}{% for b in range(100000) %}{{ a }}{% endfor %}{% endfor %}
{% for a in range(100000) %}{{ big }}{% endfor %}
{% for i in range(100000) %}{% if 'zz' in big %}{% endif %}{% endfor %}
{% for i in range(100000) %}{% set y = big[1:] %}{% endfor %}
{% for i in range(100000) %}{% set y = big.count('zz') %}{% endfor %}
{% for r in range(100000) %}{{ range(100000)|sum }}{% endfor %}
{{ range(99999)|select('in', [big] * 100000)|list }}
{% macro m() %}{{ m() }}{% endmacro %}{{ m() }}
{% macro m(n) %}{% if n %}{{ m(n - 1) }}{{ m(n - 1) }}{% endif %}{% endmacro %}{{ m(60) }}
{% macro m() %}{% for i in range(100000) %}{{ big }}{% endfor %}{% endmacro %}{{ m() }}
{% set x %}{% for i in range(100000) %}{{ big }}{% endfor %}{% endset %}
{% filter upper %}{% for i in range(100000) %}{{ big }}{% endfor %}{% endfilter %}
{% for x in [1, 2] recursive %}{% if loop.depth < 60 %}{{ loop([1, 2]) }}{% endif %}{% endfor %}
{% block b %}{{ self.b() }}{{ self.b() }}{% endblock %}
""".strip().splitlines() + [LAUGHS + shown for shown in ("{{ c }}", "{{ c|tojson }}", "{{ '%s' % (c,) }}", "{{ '{}'.format(c) }}", "{{ c ~ c }}")]  # fmt: skip


ASK_FOR_ALL = """
import json, resource, sys
from rowmill.tasks.plan.template import Template, TemplateError
bombs, row = json.load(sys.stdin)
made = [Template(bomb, "prompt") for bomb in bombs]
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
sent = []
for bomb, template in zip(bombs, made):
    try:
        template.render(row)
        sent.append(bomb)
    except TemplateError:
        pass
print(json.dumps([sent, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before]))
"""


def test_what_asks_for_too_much_is_refused_before_it_is_made():
    """No operator, format, filter, method, loop or recursion takes more than 50 MB before it is refused."""
    told = subprocess.run(
        [sys.executable, "-c", ASK_FOR_ALL], input=json.dumps([BOMBS, ROW]), capture_output=True, text=True, check=True
    )
    sent, kilobytes = json.loads(told.stdout)
    assert sent == []
    assert kilobytes < 50_000


@pytest.mark.parametrize(
    "template",
    [
        "{{ " + "(" * 5_000 + "1" + ")" * 5_000 + " }}",
        "{% if 1 %}" * 3_000 + "{% endif %}" * 3_000,
        "{% for a in b %}" * 100 + "{% endfor %}" * 100,
        "{% macro m() %}" * 200 + "{% endmacro %}" * 200,
        "{{ a" + ".b" * 5_000 + " }}",
        "{{ " + "[" * 3_000 + "]" * 3_000 + " }}",
        "{{ a }}" * 100_000,
        "{{ " + "-" * 60_000 + "1 }}",
        "{{ " + "9" * 10_000 + " }}",
    ],
    ids=lambda template: template[:20],
)
def test_a_template_too_deep_or_too_large_is_a_mistake_of_the_job(template):
    """Such a template is refused in words when the job is read, without a traceback."""
    with pytest.raises(JobError):
        Template(template, "prompt")


def render(template: str, **columns: Any) -> str:
    return Template(template, "prompt").render(columns)


def test_a_field_is_never_shadowed_by_a_method():
    """`order.items` is the row's own field, in every spelling; with () the mapping's method is meant."""
    order = {"items": ["a", "b"], "values": 2, "keys": "k", "get": None, "copy": "c", "x": 1}
    assert render("{{ order.items }}|{{ order.values }}|{{ order.keys }}|{{ order.get }}|{{ order.copy }}", order=order) == '["a", "b"]|2|k||c'  # fmt: skip
    assert render("{{ order['items']|join(',') }}", order=order) == "a,b"
    assert render("{% for key, value in order.items() %}{{ key }} {% endfor %}", order=order).split() == list(order)
    assert render("{{ order.get('x') }}{{ order.keys()|list|length }}", order=order) == "16"
    assert render("{% for k, v in o.items() %}{{ k }}={{ v }}{% endfor %}", o={"a": 1}) == "a=1"
    for template in ("{{ order.items }}", "{{ order.keys }}", "{{ name.upper }}", "{{ tags.count }}"):
        with pytest.raises(TemplateError, match="is a method"):
            render(template, order={"x": 1}, name="n", tags=[])
    with pytest.raises(TemplateError, match="no field 'items'"):
        render("{{ order['items'] }}", order={"x": 1})


def test_every_column_can_be_named():
    """A column whose name is no identifier is reached under `row`; an unknown one is told with the nearest known."""
    columns = {"US Gross": 12, "some-dash": "d", "with.dot": "w", "if": "keyword", "loop": 1, "items": "own"}
    assert render('{{ row["US Gross"] }} {{ row["some-dash"] }} {{ row["with.dot"] }} {{ row["if"] }} {{ row.items }} {{ loop }}', **columns) == "12 d w keyword own 1"  # fmt: skip
    for template in ('{{ row["US Gros"] }}', "{{ row['US Gros'] }}"):
        with pytest.raises(TemplateError, match="'US Gros' is unknown; did you mean 'US Gross'"):
            render(template, **columns)
    assert render("{{ row }}", row="its own") == "its own"


def test_null_is_empty_text_and_default_stands_in_for_it():
    """Null prints nothing, joins as nothing, and is what `default` replaces; it is still none where it is tested."""
    assert render("[{{ a }}]", a=None) == "[]"
    assert render("[{{ a ~ 'x' ~ a }}]", a=None) == "[x]"
    assert render("[{{ [a, 'x', a]|join(',') }}]", a=None) == "[,x,]"
    assert render("[{{ a|upper }}{{ a|trim }}{{ a|string }}{{ '%s' % a }}{{ '{}'.format(a) }}]", a=None) == "[]"
    assert render("{{ a|default('n/a') }} {{ b|default('n/a') }} {{ c|default('n/a', true) }}", a=None, c="") == "n/a n/a n/a"  # fmt: skip
    assert render("{{ a|default('n/a') }}", a=0) == "0"
    assert render("{{ a is none }} {{ a is defined }} {{ a|tojson }}", a=None) == "True True null"


def test_binary_values_and_what_has_no_text_are_refused():
    """Bytes are no text, however deep they stand; a generator's address and a method's name are none either."""
    for template in ("{{ b }}", "{{ [b] }}", "{{ 'x' ~ b }}", "{{ '%s' % b }}", "{{ {'k': b} }}", "{{ b|string }}", "{{ '{}'.format(b) }}"):  # fmt: skip
        with pytest.raises(TemplateError, match="binary"):
            render(template, b=b"caf\xc3\xa9")
    assert render("{{ b.decode('utf-8') }} {{ b|length }} {% if b %}yes{% endif %}", b=b"caf\xc3\xa9") == "café 5 yes"
    with pytest.raises(TemplateError, match="still to be made"):
        render("{{ [1]|map('string') }}")
    with pytest.raises(JobError, match="random"):
        Template("{{ [1, 2]|random }}", "prompt")


def test_what_templates_are_used_for_goes_on_working():
    """Loops, filters, macros, formats and dates give what Jinja2 gives."""
    order = {"lines": [{"sku": "a", "qty": 2}, {"sku": "b", "qty": 5}], "day": date(2026, 1, 5), "sum": Decimal("1.50")}
    assert render("{% for l in o.lines %}{{ loop.index }}:{{ l.sku }}x{{ l['qty'] }};{% endfor %}", o=order) == "1:ax2;2:bx5;"  # fmt: skip
    assert render("{{ o.lines|map(attribute='sku')|join(', ')|upper }} {{ o.lines|sum('qty') }}", o=order) == "A, B 7"
    assert (
        render("{{ o.day.strftime('%d.%m.%Y') }} {{ o.sum * 2 }} {{ o.day }}", o=order) == "05.01.2026 3.00 2026-01-05"
    )
    assert render("{{ o.lines|selectattr('qty', 'gt', 3)|map(attribute='sku')|first }}", o=order) == "b"
    assert render("{{ '%05.1f|%-4s|%s' % (1.25, 'a', 'b') }} {{ '{:>4}'.format(7) }}") == "001.2|a   |b    7"
    assert render("{% macro m(a, b=2) %}{{ a }}-{{ b }}{% endmacro %}{{ m(1) }} {{ m(a=3, b=4) }}") == "1-2 3-4"
    assert render("{{ ' a b  c '.split() }} {{ 'a,b'.split(',')|last }} {{ 'x\ny'.splitlines()|length }}") == '["a", "b", "c"] b 2'  # fmt: skip
    assert (
        render("{{ body|truncate(9) }}|{{ body|wordcount }}|{{ body[:4] }}", body="some words here") == "some...|3|some"
    )
    assert render("{{ o|tojson }}", o={"d": date(2026, 1, 5)}) == '{"d": "2026-01-05"}'
    assert render("{% set t = [] %}{% for i in range(3) %}{{ i if i % 2 else 'even' }}{{ loop.cycle('a', 'b') }}{% endfor %}") == "evena1bevena"  # fmt: skip
    assert render("{% for n in tree recursive %}{{ n.v }}({{ loop(n.c) }}){% endfor %}", tree=[{"v": 1, "c": [{"v": 2, "c": []}]}]) == "1(2())"  # fmt: skip
    assert render("{{ 'b' in tags }} {{ 2**10 }} {{ 7 // 2 }} {{ [1] + [2] }} {{ tags|sort|join }}", tags=["b", "a"]) == "True 1024 3 [1, 2] ab"  # fmt: skip
    assert render("{{ rows|groupby('k')|map('first')|join('+') }}", rows=[{"k": "x"}, {"k": "y"}]) == "x+y"


values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False)
    | st.text(max_size=20)
    | st.binary(max_size=4),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=6), inner, max_size=4),
    max_leaves=10,
)


@given(values, st.sampled_from(["{{ v }}", "{{ v ~ v }}", "{{ v|string }}", "{{ row['v'] }}", "{{ v|default('d') }}", "{{ v|tojson }}", "{{ v|length }}", "{{ v|join(',') }}", "{{ v.items }}", "{{ v|list }}"]))  # fmt: skip
def test_any_value_becomes_text_or_a_plain_reason(value, template):
    """Whatever a row holds, a prompt of it is text or the row's own error, the same each time."""
    try:
        made = render(template, v=value)
    except TemplateError as error:
        assert str(error)
        return
    assert made == render(template, v=value)
    assert "built-in method" not in made
    assert " object at 0x" not in made


def test_the_budget_is_for_one_row():
    """What one row used up is not missing to the next."""
    template = Template("{{ big|upper|lower|upper|lower }}", "prompt")
    for _ in range(20):
        assert len(template.render({"big": BIG})) == len(BIG)
    assert (Budget().made, Budget().steps) == (MADE_MOST, STEPS_MOST)

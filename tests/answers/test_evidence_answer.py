"""Fields with evidence: what is sent, how an answer in two parts is read, and what its quotes are worth."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.errors import JobError, SchemaError
from rowmill.schemas.evidence import Match
from rowmill.tasks.answers.evidence_answer import EvidenceValidator, unsupported
from rowmill.tasks.answers.evidence_fields import EvidenceFields, evidence_fields, steps_said
from rowmill.tasks.answers.evidence_schema import evidence_instruction, schema_with_evidence
from rowmill.tasks.answers.source_text import SourceText
from rowmill.tasks.answers.validator import Accepted, Rejected, Validator, compile_schema
from rowmill.tasks.answers.value_check import value_in_quote
from tests.answers.test_schema_file import suite

LINE = {
    "type": "object", "required": ["name", "price"], "additionalProperties": False,
    "properties": {"name": {"type": "string"}, "price": {"type": "number"}, "parts": {"type": "array", "items": {"$ref": "#/$defs/line"}}},
}  # fmt: skip
ORDER = {
    "title": "Order", "type": "object", "required": ["who"], "additionalProperties": False,
    "properties": {
        "who": {"anyOf": [{"$ref": "#/$defs/person"}, {"type": "string"}]}, "total": {"type": ["number", "null"]},
        "due": {"type": "string", "format": "date"}, "kind": {"enum": ["invoice", "credit note"]}, "paid": {"type": "boolean"},
        "lines": {"type": "array", "items": {"$ref": "#/$defs/line"}}, "tags": {"type": "array", "items": {"type": "string"}},
        "notes": {"type": "object", "additionalProperties": {"type": "string"}}, "a/b": {"type": "string"},
        "seller": {"allOf": [{"$ref": "#/$defs/person"}]},
    },
    "$defs": {
        "line": LINE,
        "person": {"type": "object", "properties": {"name": {"type": "string"}, "boss": {"$ref": "#/$defs/person"}}},
    },
}  # fmt: skip
TEXT = "Invoice of 3 May 2024 for Ada Lovelace\n2 cogs at 1.234,56 EUR each\n1 gear at 7.50\nThank you."


def validator(evidence: Any = True, schema: Any = ORDER, **keys: Any) -> EvidenceValidator:
    def sources(columns: Mapping[str, Any]) -> Mapping[str, SourceText]:
        return {name: SourceText(text) for name, text in columns.items()}

    return EvidenceValidator(evidence_fields(schema, evidence), sources, **keys)


def answer(output: Any, *quotes: tuple[str, str]) -> str:
    return json.dumps({"output": output, "evidence": [{"field": name, "quote": quote} for name, quote in quotes]})


def evidence(output: Any, *quotes: tuple[str, str], fields: Any = True, **texts: str) -> list[tuple[Any, ...]]:
    judge = validator(fields)
    verdict = judge.judge(answer(output, *quotes))
    assert isinstance(verdict, Accepted), verdict
    found = judge.evidence(verdict, texts or {"body": TEXT})
    return [(one.field, one.quote, one.match.value) for one in found]


KNOWN = {
    "who": "/who", "/lines/*/price": "/lines/*/price", "/lines/price": "/lines/*/price", "/lines": "/lines", "/tags": "/tags",
    "/tags/*": "/tags/*", "/lines/0/name": "/lines/0/name", "/who/name": "/who/name", "/who/boss/boss/name": "/who/boss/boss/name",
    "/lines/*/parts/*/parts/price": "/lines/*/parts/*/parts/*/price", "/notes/any": "/notes/any", "/a~1b": "/a~1b", "a/b": "/a~1b",
    "/seller/name": "/seller/name",
}  # fmt: skip


@pytest.mark.parametrize("name", KNOWN)
def test_fields_are_named_by_json_pointers(name):
    """Through references, unions, lists and maps; a bare name is a field of the answer, steps into lists may be left out."""
    assert evidence_fields(ORDER, [name]).patterns == (KNOWN[name],)


@pytest.mark.parametrize(
    ("name", "hint"),
    [("totl", "/total"), ("/lines/*/prise", "/lines/*/price"), ("lines.price", "/lines/*/price"), ("price", "/lines/*/price"),
     ("/who/age", "/who/name"), ("/tags/0/x", ""), ("/total/x", ""), ("", "")],
)  # fmt: skip
def test_a_field_that_the_schema_lacks_is_refused(name, hint):
    """The message names it and the nearest field there is."""
    with pytest.raises(JobError) as refused:
        evidence_fields(ORDER, ["who", name])
    assert repr(name) in str(refused.value)
    assert hint in refused.value.hint


def test_every_value_below_a_named_field_needs_evidence_but_null_and_blank_text():
    """The values of an answer that come with evidence, in its order; true means all of them."""
    output = {
        "who": {"name": "Ada", "boss": {"name": " "}}, "total": None, "paid": False,
        "lines": [{"name": "cog", "price": 1, "parts": [{"name": "tooth", "price": 0}]}, {"name": "gear", "price": 2}],
    }  # fmt: skip

    def pointers(named: Any) -> list[str]:
        return ["/".join(steps) for steps, _ in evidence_fields(ORDER, named).values(output)]

    assert pointers(True) == ["who/name", "paid", "lines/0/name", "lines/0/price", "lines/0/parts/0/name",
                              "lines/0/parts/0/price", "lines/1/name", "lines/1/price"]  # fmt: skip
    assert pointers(["/lines/*/price", "total"]) == ["lines/0/price", "lines/1/price"]
    assert pointers(["/lines/*/parts", "/lines/1"]) == ["lines/1/name", "lines/1/price"] or pointers(
        ["/lines/*/parts"]
    ) == ["lines/0/parts/0/name", "lines/0/parts/0/price"]
    assert pointers(["who", "/who/name"]) == ["who/name"]
    assert [value for _, value in evidence_fields({"type": "string"}, True).values("a")] == ["a"]


@pytest.mark.parametrize(
    ("said", "steps"),
    [("/lines/0/price", "lines 0 price"), ("lines[0].price", "lines 0 price"), ("#/output/lines/0/price", "lines 0 price"),
     ("output.lines.0.price", "lines 0 price"), ("$.lines[0].price", "lines 0 price"), (" who ", "who"), ("/output", "output"), ("", "")],
)  # fmt: skip
def test_fields_as_models_name_them(said, steps):
    """Pointers, dotted paths and brackets say the same."""
    assert steps_said(said) == tuple(steps.split())


def test_a_field_of_the_jobs_own_that_is_called_output_is_found():
    """`/output/x` is the value of that pointer where there is one, and `/x` said with the whole's name where not."""
    known = {("output", "x")}
    assert steps_said("/output/x", known) == ("output", "x")
    assert steps_said("/output/output/x", known) == ("output", "x")
    assert steps_said("output.x", known) == ("output", "x")
    assert steps_said("/output/x", {("x",)}) == ("x",)


def test_the_schema_that_is_sent_means_what_the_jobs_schema_means():
    """Over the official suite: `output` is valid in the sent schema exactly where it is valid in the job's, and what
    stands in `output` is what would stand there without evidence.
    """
    seen = 0
    for group in suite():
        try:
            own = compile_schema(group["schema"], "schema")
            plain, judge = Validator(group["schema"]), validator(schema=group["schema"])
        except SchemaError:
            continue
        sent = schema_with_evidence(EvidenceFields(group["schema"], ()))
        values = [*group["valid"], *group["invalid"]]
        if "ref" not in json.dumps(group["schema"]).lower():
            compiled = compile_schema(sent, "sent")
            for value in values:
                assert compiled.is_valid({"output": value, "evidence": []}) == own.is_valid(value), (group, value)
                seen += 1
        for value in values:
            alone, beside = plain.judge(json.dumps(value)), judge.judge(answer(value))
            assert isinstance(alone, Accepted) == isinstance(beside, Accepted), (group["name"], value)
            if isinstance(alone, Accepted) and isinstance(beside, Accepted):
                assert plain.shape.convert(json.loads(alone.text)) == plain.shape.convert(json.loads(beside.text))
    assert seen > 2_000


def test_references_point_to_where_their_targets_stand_now():
    """Definitions stay at the root, what refers to the whole or to a field refers to `output`."""
    schema = {
        "$defs": {"a": {"$ref": "#/properties/b"}}, "properties": {"b": {"type": "integer"}, "c": {"$ref": "#"},
        "d": {"$ref": "#/$defs/a"}, "$ref": {"const": {"$ref": "#"}}},
    }  # fmt: skip
    sent = schema_with_evidence(evidence_fields(schema, True))
    assert sent["$defs"] == {"a": {"$ref": "#/properties/output/properties/b"}}
    assert sent["properties"]["output"]["properties"]["c"] == {"$ref": "#/properties/output"}
    assert sent["properties"]["output"]["properties"]["d"] == {"$ref": "#/$defs/a"}
    compiled = compile_schema(sent, "sent")
    assert compiled.is_valid({"output": {"c": {"b": 1}, "d": 2}, "evidence": []})
    assert not compiled.is_valid({"output": {"c": {"b": "x"}}, "evidence": []})
    assert not compiled.is_valid({"output": {"d": "x"}, "evidence": []})


def test_what_the_model_is_told():
    """The fields are named, one by one where each is one value."""
    fields = evidence_fields(ORDER, ["total", "due"])
    assert schema_with_evidence(fields)["properties"]["evidence"]["items"]["properties"]["field"]["enum"] == [
        "/total",
        "/due",
    ]
    assert "each value at /total, /due that is not null" in evidence_instruction(fields)
    listed = evidence_fields(ORDER, ["/lines/price"])
    assert "enum" not in schema_with_evidence(listed)["properties"]["evidence"]["items"]["properties"]["field"]
    assert "/lines/*/price (* is the number of each item)" in evidence_instruction(listed)
    assert "every value" in evidence_instruction(evidence_fields(ORDER, True))


READ = {
    "in two parts": ({"output": {"who": "A"}, "evidence": [{"field": "/who", "quote": "q"}]}, "A", (("/who", "q"),)),
    "the output alone": ({"who": "A"}, "A", ()),
    "quotes among the fields": ({"who": "A", "evidence": [{"field": "who", "quote": "q"}]}, "A", (("who", "q"),)),
    "no quotes": ({"output": {"who": "A"}}, "A", ()),
    "quotes by name": ({"output": {"who": "A"}, "evidence": {"/who": "q", "/x": 1}}, "A", (("/who", "q"),)),
    "broken quotes": ({"output": {"who": "A"}, "evidence": [1, {"field": 2, "quote": "q"}, {"quote": "q"}, None]}, "A", ()),
    "quotes null": ({"output": {"who": "A"}, "evidence": None}, "A", ()),
}  # fmt: skip


@pytest.mark.parametrize("case", READ)
def test_an_answer_is_read_whatever_its_quotes_are(case):
    """A valid output is never thrown away for its quotes."""
    told, who, quotes = READ[case]
    verdict = validator().judge(json.dumps(told))
    assert isinstance(verdict, Accepted)
    assert json.loads(verdict.text) == {"who": who}
    assert verdict.quotes == quotes


@pytest.mark.parametrize(
    "told", [{"output": {"who": 1}, "evidence": []}, {"output": {}, "evidence": []}, {"evidence": []}, [], 1, {"output": {"who": "A"}, "x": 1}]
)  # fmt: skip
def test_an_output_that_breaks_the_schema_is_rejected(told):
    """As it would be without evidence, however the whole looks."""
    assert isinstance(validator().judge(json.dumps(told)), Rejected)


def test_a_permissive_schema_does_not_take_the_whole_for_the_output():
    """An answer in two parts is never the output itself, though the schema would allow it."""
    judge = validator(schema={"type": "object", "properties": {"n": {"type": "integer"}}})
    assert isinstance(judge.judge(answer({"n": "x"})), Rejected)
    own = {"type": "object", "required": ["output"], "properties": {"output": {"type": "integer"}}}
    verdict = validator(schema=own).judge('{"output": 5}')
    assert isinstance(verdict, Accepted)
    assert verdict.text == '{"output":5}'


def test_numbers_keep_their_digits():
    """What stands in `output` is what the answer told, also beyond a double."""
    judge = validator(schema={"type": "object", "properties": {"n": {"type": "integer"}, "x": {"type": "number"}}})
    verdict = judge.judge('{"output": {"n": 9007199254740993, "x": 0.1}, "evidence": []}')
    assert isinstance(verdict, Accepted)
    assert verdict.text == '{"n":9007199254740993,"x":0.1}'
    assert isinstance(judge.judge('{"output": {"x": 0.12345678901234567890123}, "evidence": []}'), Rejected)
    assert isinstance(judge.judge('{"output": {"n": 1, "n": 2}, "evidence": []}'), Rejected)


def test_each_value_has_its_evidence():
    """One entry a value, in the answer's order: exact, normalized in the source's own words, none with the model's."""
    output = {
        "who": "Ada",
        "total": 2469.12,
        "lines": [{"name": "cogs", "price": 1234.56}, {"name": "gear", "price": 7.5}],
    }
    quotes = [
        ("/who", "Ada\nLovelace"), ("lines[0].name", "cogs"), ("/lines/0/price", "1.234,56 EUR"), ("/lines/1/name", "gear"),
        ("/lines/1/price", "8.50"), ("/nothing", "2"), ("/due", "3 May"),
    ]  # fmt: skip
    assert evidence(output, *quotes) == [
        ("/who", "Ada Lovelace", "normalized"), ("/total", None, "none"), ("/lines/0/name", "cogs", "exact"),
        ("/lines/0/price", "1.234,56 EUR", "exact"), ("/lines/1/name", "gear", "exact"), ("/lines/1/price", "8.50", "none"),
    ]  # fmt: skip
    assert evidence(output, *quotes, fields=["who"]) == [("/who", "Ada Lovelace", "normalized")]
    # Of several quotes of a field the one that stands there counts; one without a word counts as none.
    assert evidence({"who": "Ada"}, ("/who", "Bob"), ("/who", "Ada")) == [("/who", "Ada", "exact")]
    assert evidence({"who": "Ada"}, ("/who", "  ")) == [("/who", "  ", "none")]
    assert evidence({"who": "Ada"}, ("/who", "")) == [("/who", None, "none")]
    assert evidence({"who": "Ada"}, ("/who", "Ada"), subject="no", body="Ada") == [("/who", "Ada", "exact")]


@pytest.mark.parametrize(
    ("value", "quote", "text", "holds"),
    [
        (5, "5", "made in 2015", None), (2.5, "2.5", "12.50 EUR", None), (2.5, "2.5", "at 2.50 EUR", True), (5, "5", "5kg", True), ("Ann", "Ann", "Annabel", None),
        (2024, "2024", "no. 20240503", None), (6, "5", "made in 2015", False), ("請求", "請求", '["\\u8acb\\u6c42"]', True), ("a b", "a b", '["a\\nb"]', True),
        ("Ada", "Ada", '{"to": "x\\nAda"}', True),
    ],
)  # fmt: skip
def test_a_quote_that_cuts_a_number_does_not_hold_it(value, quote, text, holds):
    """The 5 of 2015 stands there and is no 5; what stands escaped is held as it is read."""
    judge = validator(True, {})
    verdict = judge.judge(answer({"x": value}, ("/x", quote)))
    assert isinstance(verdict, Accepted), verdict
    (found,) = judge.evidence(verdict, {"body": text})
    assert found.match is not Match.NONE
    assert found.value_in_quote is holds


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda part: st.lists(part, max_size=3) | st.dictionaries(st.text(max_size=4), part, max_size=3),
        max_leaves=12,
    )
)
def test_no_value_is_passed_over_or_told_twice(value):
    """Whatever the answer is: each of its values that says something has one entry, whose pointer leads to it."""
    judge = validator(schema={})
    verdict = judge.judge(answer(value))
    assert isinstance(verdict, Accepted)
    found = judge.evidence(verdict, {"body": TEXT})
    assert len({one.field for one in found}) == len(found)
    assert unsupported(found) == list(found)
    for one in found:
        part = json.loads(verdict.text)
        for step in one.field.split("/")[1:]:
            step = step.replace("~1", "/").replace("~0", "~")
            part = part[int(step)] if isinstance(part, list) else part[step]
        assert part is not None
        assert not isinstance(part, (dict, list))
    assert all(one.match is Match.NONE for one in found)


def test_the_sample_bills_hold_what_their_truth_says():
    """Each field of the made bills stands in its text, as it is or typeset differently, and the check of values sees it:
    money, dates and numbers of four languages.
    """
    folder = Path(__file__).resolve().parents[2] / "sample_data/bills"
    fields = evidence_fields(
        json.loads((folder / "schema.json").read_text()), ["number", "seller", "issued", "due", "total", "lines"]
    )
    rows = [json.loads(line) for line in (folder / "rows.jsonl").read_text(encoding="utf-8").splitlines()]
    assert len(rows) == 240
    assert sum(row["language"] == "ja" for row in rows) == 96
    for row in rows[::2]:
        for steps, value in fields.values(row["truth"]):
            assert value_in_quote(value, row["text"], fields.rule(steps)) is True, (steps, value, row["text"])

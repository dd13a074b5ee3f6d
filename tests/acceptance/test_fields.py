"""Gold for extraction from the outside: each field's accuracy, never shown to the model, scored again for nothing."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tests.conftest import Bench, assert_balanced
from tests.gateways import Ask, Gateway, Reply, serving

FLASH, PRO = "gemini-3-flash", "gemini-3-pro"
INVOICE: dict[str, Any] = {
    "type": "object",
    "properties": {
        "name": {"type": "string"},
        "amount": {"type": "number"},
        "who": {
            "type": "object",
            "properties": {"city": {"type": ["string", "null"]}},
            "required": ["city"],
            "additionalProperties": False,
        },
        "lines": {
            "type": "array",
            "items": {
                "type": "object",
                "properties": {"sku": {"type": "string"}, "qty": {"type": "integer"}},
                "required": ["sku", "qty"],
                "additionalProperties": False,
            },
        },
    },
    "required": ["name", "amount", "who", "lines"],
    "additionalProperties": False,
}


def truth(n: int) -> dict[str, Any]:
    lines = [{"sku": f"x{n}", "qty": n}, {"sku": f"y{n}", "qty": 2}]
    return {"name": f"Acme {n}", "amount": n + 0.5, "who": {"city": None if n % 2 else "Rome"}, "lines": lines}


def number(ask: Ask) -> int:
    return int(ask.prompt.split()[1])


def with_slips(ask: Ask) -> Reply:
    """Answers that are wrong in a known way: every fourth amount by half a cent, every fifth name in capitals, every
    tenth list with one wrong item; row 3 has no answer at all.
    """
    n = number(ask)
    said = truth(n)
    if n == 3:
        return Reply(text="no JSON")
    if n % 4 == 0:
        said["amount"] += 0.005
    if n % 5 == 0:
        said["name"] = said["name"].upper()
    if n % 10 == 0:
        said["lines"] = [said["lines"][1], {"sku": f"x{n}", "qty": 99}]
    return Reply(text=json.dumps(said))


def rows(bench: Bench, count: int = 40) -> None:
    told = [{"id": f"r{n}", "text": str(n), "truth": truth(n)} for n in range(count)]
    told[1]["truth"], told[2]["truth"], told[3]["truth"] = "{broken", None, json.dumps(truth(3))
    bench.rows(told)


def job(bench: Bench, **keys: Any) -> None:
    told = {"model": FLASH, "id": "id", "prompt": "Say {{ text }}", "schema": INVOICE, "gold": "truth"}
    bench.job(**{**told, **keys})


def ran(bench: Bench, gateway: Gateway, *args: str, expect: int = 3) -> dict[str, Any]:
    ended = bench.run(gateway.url, "run", "job.yaml", "--direct", "--json", *args)
    assert ended.code == expect, ended.err
    assert_balanced(ended.manifest, bench.results())
    return ended.manifest


@pytest.mark.parametrize("model", [FLASH, PRO])
def test_each_field_is_held_against_gold(bench, model):
    """Columns typed from the schema, accuracy with its interval per field, the worst first, and no word of it is sent."""
    rows(bench)
    job(bench, model=model)
    with serving(with_slips) as gateway:
        told = ran(bench, gateway)
        assert not any("Acme" in ask.request or "broken" in ask.request for ask in gateway.asks)
    fields, gold = told["fields"], told["field_quality"]["gold"]
    # 38 rows have gold; row 3 is not ok and counts as wrong.
    assert {name: (one["rows"], one["right"]) for name, one in fields.items()} == {
        "amount": (38, 27), "lines": (38, 33), "name": (38, 37), "who.city": (38, 37),
    }  # fmt: skip
    assert list(fields)[:2] == ["amount", "lines"]
    assert all(one["low"] < one["accuracy"] < one["high"] for one in fields.values())
    assert fields["name"]["normalized"] == 8
    assert (gold["rows"], gold["not_ok"], gold["blank"], gold["malformed"]) == (38, 1, 1, 1)
    assert gold["malformed_rows"][0]["row_id"] == "r1"
    items = fields["lines"]["items"]
    assert (items["right"], items["said"], items["gold"]) == (70, 74, 76)
    assert items["precision"] == pytest.approx(70 / 74)
    assert items["fields"]["lines.sku"]["recall"] == pytest.approx(74 / 76)
    assert fields["amount"]["examples"][0] == {"row_id": "r0", "gold": 0.5, "answer": 0.505}
    results = bench.results()
    assert results.schema["field_correct"] == pl.Struct(
        {"name": pl.Boolean, "amount": pl.Boolean, "who": pl.Struct({"city": pl.Boolean}), "lines": pl.Boolean}
    )
    verdicts = dict(results.select("row_id", "field_correct").iter_rows())
    assert verdicts["r0"] == {"name": True, "amount": False, "who": {"city": True}, "lines": False}
    assert verdicts["r3"] == {"name": False, "amount": False, "who": {"city": False}, "lines": False}
    assert verdicts["r1"] is None
    assert verdicts["r2"] is None


def test_other_gold_is_scored_again_for_nothing(bench):
    """A tolerance, gold that was corrected, and gold that is dropped change the scores and send nothing."""
    rows(bench)
    job(bench)
    with serving(with_slips) as gateway:
        before = ran(bench, gateway)
        calls = len(gateway.asks)
        job(bench, gold={"column": "truth", "tolerance": {"amount": 0.01}})
        told = ran(bench, gateway)
        assert (told["fields"]["amount"]["right"], told["fields"]["amount"]["numeric"]) == (37, 10)
        assert told["totals"] == before["totals"]
        corrected = [{"id": f"r{n}", "text": str(n), "truth": {**truth(n), "name": "x"}} for n in range(40)]
        bench.rows(corrected)
        told = ran(bench, gateway)
        assert (told["fields"]["name"]["rows"], told["fields"]["name"]["right"]) == (40, 0)
        job(bench)
        bench.job(model=FLASH, id="id", prompt="Say {{ text }}", schema=INVOICE)
        told = ran(bench, gateway)
        assert told["fields"] is None
        assert "field_correct" not in bench.results().columns
        assert len(gateway.asks) == calls


def test_gold_of_parquet_is_a_struct_or_text(bench):
    """A struct column is gold as it is; null in it says that there is nothing."""
    path = bench.folder / "rows.parquet"
    table = pa.table({"text": [str(n) for n in range(8)], "truth": [truth(n) for n in range(8)]})
    pq.write_table(table, path)
    job(bench, id=None, input="rows.parquet", keep=["truth"])
    with serving(lambda ask: Reply(text=json.dumps(truth(number(ask))))) as gateway:
        told = ran(bench, gateway, expect=0)
    assert all(one["right"] == one["rows"] == 8 for one in told["fields"].values())
    assert bench.results()["truth"].to_list() == table["truth"].to_pylist()


@pytest.mark.parametrize(
    ("keys", "where", "words"),
    [
        ({"prompt": "Say {{ text }} {{ row['truth'] }}"}, "prompt", "never shown to the model"),
        ({"gold": "turth"}, "rows.jsonl", "gold names the column 'turth'"),
        ({"gold": {"column": "truth", "tolerance": {"amuont": 1}}}, "gold", "amuont"),
        ({"schema": None}, "job.yaml", "gold needs a schema"),
        ({"schema": None, "label": {"labels": ["a", "b"]}}, "job.yaml", "label.gold"),
    ],
)
def test_gold_that_cannot_be_is_refused_before_a_call(bench, keys, where, words):
    """`run` and `check` name the key and the mend; nothing is sent."""
    rows(bench, 4)
    job(bench, **keys)
    with serving(with_slips) as gateway:
        for command in (("run", "job.yaml", "--direct"), ("check", "job.yaml")):
            ended = bench.run(gateway.url, *command)
            assert ended.code == 2
            assert where in ended.err
            assert words in ended.err
        assert not gateway.asks


def test_gold_rows_come_first_and_decide_whether_the_rest_is_paid_for(bench):
    """Below gold.min_accuracy only the gold rows were asked: exit 3, kind accuracy; a lower one goes on, paying no row
    twice and making nothing anew.
    """
    told = [{"id": f"r{n}", "text": str(n), "truth": truth(n) if n % 2 else None} for n in range(8, 128)]
    bench.rows(told)
    job(bench, gold={"column": "truth", "min_accuracy": 0.9})

    def half_wrong(ask: Ask) -> Reply:
        said = truth(number(ask))
        return Reply(text=json.dumps({**said, "name": "?", "amount": 0}))

    with serving(half_wrong) as gateway:
        stopped = ran(bench, gateway, expect=3)
        assert stopped["termination"]["kind"] == "accuracy"
        assert "50.0% of the fields of 60 gold rows are right" in stopped["termination"]["message"]
        assert stopped["ledger"]["ok"] == 60
        assert all(number(ask) % 2 for ask in gateway.asks)
        quote = {"target": 0.9, "margin": 0.02, "accuracy": 0.93, "low": 0.9, "high": 0.95, "rows": 200}
        job(bench, gold={"column": "truth", "min_accuracy": 0.3}, quote=quote)
        done = ran(bench, gateway, expect=0)
        assert done["ledger"]["ok"] == 120
        assert len(gateway.asks) == 120
    # What the run came to stands beside what was quoted for it.
    assert done["quote"]["quoted"]["accuracy"] == 0.93
    found = done["quote"]["found"]
    assert (found["rows"], found["accuracy"], done["quote"]["is_kept"]) == (60, 0.5, False)
    assert found["usd_per_1000_rows"] == pytest.approx(float(done["totals"]["cost_usd"]) / 120 * 1_000)
    assert bench.run("http://127.0.0.1:9", "report", "out").code == 0
    page = (bench.folder / "out/report.html").read_text()
    assert "50.0% [" in page
    assert "broken" in page

"""Values: columns that are kept and answers that are given stand in the results as they were, through real runs."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import rowmill
from rowmill.schemas.output_schema import output_shape
from rowmill.tasks.answers.schema_file import load_schema
from tests.acceptance.test_run import direct
from tests.answers.test_schema_file import WILD, restored, same, suite
from tests.conftest import KEY, Bench, assert_balanced
from tests.gateways import Ask, Reply

MODEL = """
from pydantic import BaseModel, model_validator

class Order(BaseModel):
    qty: int
    price: float

    @model_validator(mode="after")
    def _sums(self):
        if self.qty * self.price > 100:
            raise ValueError("the sum is beyond 100")
        if self.qty == 13:
            raise KeyError("unlucky")
        return self
"""


def parts(bench: Bench) -> pa.Table:
    return pa.concat_tables([pq.read_table(path) for path in sorted((bench.folder / "out/results").glob("*.parquet"))])


def asked(bench: Bench, gateway: Any, *args: str, code: int = 0, **keys: Any) -> pa.Table:
    bench.job(**{"input": "rows.parquet", "id": "id", **keys})
    ended = direct(bench, gateway.url, *args)
    assert ended.code == code, ended.err
    assert_balanced(ended.manifest, bench.results())
    return parts(bench)


def wide(count: int) -> pa.Table:
    whole = range(count)
    return pa.table(
        {
            "id": pa.array(whole, pa.int32()),
            "text": [f"row {n}" for n in whole],
            "at": pa.array([1_767_616_200_123_456_789 + n for n in whole], pa.timestamp("ns", "Europe/Oslo")),
            "took": pa.array([10**9 + n for n in whole], pa.duration("ns")),
            "time": pa.array(list(whole), pa.time64("ns")),
            "key": pa.array([n.to_bytes(2, "big") for n in whole], pa.binary(2)),
            "tags": pa.array([[("a", n), ("a", n + 1)] for n in whole], pa.map_(pa.string(), pa.int8())),
            "big": pa.array([2**64 - 1 - n for n in whole], pa.uint64()),
            "odd": pa.array([float("nan") if n % 2 else float("inf") for n in whole], pa.float16()),
            "lines": pa.array([[{"on": n, "net": None}] for n in whole], pa.list_(pa.struct([("on", pa.date32()), ("net", pa.decimal128(9, 2))]))),
            "kind": pa.array([f"k{n % 3}" for n in whole]).dictionary_encode(),
            "nothing": pa.nulls(count),
        }
    )  # fmt: skip


def test_changing_what_is_kept_asks_nothing_again(bench, gateways):
    """A complete output takes other kept columns from its input, type and value as they are, without one more call."""
    gateway, table = gateways(), wide(90)
    pq.write_table(table, bench.folder / "rows.parquet", row_group_size=20)
    first = asked(bench, gateway, keep=["kind"])
    assert len(gateway.asks) == 90
    names = [name for name in table.schema.names if name not in ("id", "text")]
    for keep in (names, names[:3], [], ["kind"]):
        found = asked(bench, gateway, keep=keep)
        assert found.schema.names[:3] == ["row_id", "row_index", "id"]
        assert found.schema.names[3 : 3 + len(keep) + 1] == [*keep, "status"]
        for name in ["id", *keep]:
            assert found.schema.field(name).type == table.schema.field(name).type
            assert str(
                found[name].to_pylist() if name not in ("at", "took", "time") else found[name].cast(pa.int64())
            ) == str(table[name].to_pylist() if name not in ("at", "took", "time") else table[name].cast(pa.int64()))
    assert len(gateway.asks) == 90
    assert parts(bench).equals(first)
    assert bench.run(gateway.url, "status", "out", "--verify").code == 0


def test_a_kept_column_that_polars_lacks_is_in_nobodys_way(bench, gateways):
    """Zones of a fixed offset, as pandas writes them, decimals of many digits, null as a word of a dictionary: the run
    has its page, and the results are exported.
    """
    gateway = gateways()
    columns = {
        "there": pa.array([0, None, 1], pa.timestamp("us", "+05:30")),
        "digits": pa.array([10**60, None, 1], pa.decimal256(70, 0)),
        "word": pa.DictionaryArray.from_arrays(pa.array([0, 1, None], pa.int8()), pa.array(["a", None])),
        "years": pa.array([2**62, None, 0], pa.int64()).view(pa.timestamp("us")),
    }
    table = pa.table({"id": list("abc"), "text": list("xyz"), **columns})
    with pa.ipc.new_file(bench.folder / "rows.arrow", table.schema) as file:
        file.write_table(table)
    bench = Bench(bench.folder, reports=True)
    bench.job(input="rows.arrow", id="id", keep=list(columns))
    ended = direct(bench, gateway.url)
    assert ended.code == 0, ended.err
    assert (bench.folder / "out/report.html").exists()
    found = parts(bench)
    for name, column in columns.items():
        assert found.schema.field(name).type == column.type
        if name != "years":
            assert found[name].to_pylist() == column.to_pylist()
    ended = bench.run(gateway.url, "export", "out", "rows.csv")
    assert ended.code == 0, ended.err
    assert "+05:30" in (bench.folder / "rows.csv").read_text()


def test_a_stopped_run_goes_on_with_other_kept_columns(bench, gateways):
    """What a limit left is asked under the new keep; what was settled is only kept anew."""
    gateway, table = gateways(), wide(60)
    pq.write_table(table, bench.folder / "rows.parquet")
    asked(bench, gateway, "-n", "25", keep=["kind"])
    found = asked(bench, gateway, keep=["big"])
    assert len(gateway.asks) == 60
    assert found["big"].to_pylist() == table["big"].to_pylist()


@pytest.mark.parametrize("command", ["check", "run"])
def test_files_that_drift_are_refused_before_a_call(bench, gateways, command):
    """Exit 2, the file, the column and both types named; a run that does not keep the column goes through."""
    gateway, folder = gateways(), bench.folder / "rows"
    folder.mkdir()
    pq.write_table(pa.table({"id": ["a"], "text": ["x"], "col": [1]}), folder / "1.parquet")
    pq.write_table(pa.table({"id": ["b"], "text": ["y"], "col": ["n/a"]}), folder / "2.parquet")
    bench.job(input="rows", id="id", keep=["col"])
    ended = bench.run(gateway.url, command, "job.yaml", *(["--direct"] if command == "run" else []))
    assert ended.code == 2
    assert all(word in ended.err for word in ("2.parquet", "'col'", "int64", "string"))
    assert not gateway.asks
    assert asked(bench, gateway, input="rows")["row_id"].to_pylist() == ["a", "b"]


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        ({"prompt": "Say {{ row['col'] }}"}, "prompt names the column 'col'"),
        ({"id": "col"}, "id names the column 'col'"),
    ],
)
def test_a_column_that_stands_twice_is_refused_where_it_is_named(bench, gateways, keys, words):
    """Nobody knows which of them is meant: exit 2, the file and the key named, and no call. Else it is nobody's matter."""
    gateway = gateways()
    columns = [pa.array(["a"]), pa.array(["x"]), pa.array(["1"]), pa.array(["2"])]
    pq.write_table(pa.table(columns, names=["id", "text", "col", "col"]), bench.folder / "rows.parquet")
    bench.job(input="rows.parquet", **keys)
    for command in (["check", "job.yaml"], ["run", "job.yaml", "--direct"]):
        ended = bench.run(gateway.url, *command)
        assert ended.code == 2, command
        assert words in ended.err
        assert "rows.parquet" in ended.err
    assert not gateway.asks
    assert asked(bench, gateway)["row_id"].to_pylist() == ["a"]


def test_the_id_stands_under_its_own_name_and_type(bench, gateways):
    """A join on the id needs no conversion; where the results use its name, or it drifts, row_id has it alone."""
    gateway = gateways()
    bench.rows([{"n": 7, "text": "x"}, {"n": 8, "text": "y"}])
    found = asked(bench, gateway, input="rows.jsonl", id="n")
    assert (str(found.schema.field("n").type), found["n"].to_pylist()) == ("int64", [7, 8])
    assert found["row_id"].to_pylist() == ["7", "8"]
    bench.rows([{"status": "a", "text": "x"}])
    bench.job(id="status", output="other")
    assert direct(bench, gateway.url).code == 0
    assert pq.read_schema(bench.folder / "other/results/part-000000.parquet").names[:3] == [
        "row_id",
        "row_index",
        "status",
    ]


def test_a_pydantic_models_validators_judge_each_answer(bench, gateways):
    """What the model refuses is asked again with its words; what it never takes is invalid; its failures are the row's."""

    def answers(ask: Ask) -> Reply:
        qty = {"a": 5, "b": 50, "c": 13}[ask.prompt.rpartition(" ")[2]]
        if ask.prompt.endswith("b") and ask.turns > 1:
            qty = 9
        return Reply(text=json.dumps({"qty": qty, "price": 7.0}))

    gateway = gateways(answers)
    (bench.folder / "orders_of_mine.py").write_text(MODEL)
    bench.rows([{"id": name, "text": name} for name in "abc"])
    bench.job(id="id", schema="orders_of_mine:Order", retries={"content": 1, "transport": 0})
    ended = direct(bench, gateway.url)
    assert ended.code == 3, ended.err
    found = parts(bench)
    assert found["status"].to_pylist() == ["ok", "ok", "invalid"]
    assert found["output"].to_pylist()[1] == {"qty": 9, "price": 7.0, "_extra": None}
    assert "KeyError" in found["error_message"].to_pylist()[2]
    again = next(ask for ask in gateway.asks if ask.prompt.endswith("b") and ask.turns > 1)
    assert "the sum is beyond 100" in again.request
    # The class is part of what the answers are: another one is another job.
    (bench.folder / "orders_of_mine.py").write_text(MODEL.replace("class Order", "class Deal"))
    bench.job(id="id", schema="orders_of_mine:Deal")
    ended = direct(bench, gateway.url)
    assert ended.code == 2
    assert "validator" in ended.err


@pytest.mark.parametrize(
    ("source", "words"),
    [
        ("import os\n\nraise RuntimeError('no licence here')\n", ["RuntimeError", "no licence here", "line 3"]),
        ("import os\nclass Order(\n", ["SyntaxError", "line 2"]),
        ("import not_installed_anywhere\n", ["not_installed_anywhere", "line 1"]),
        ("import sys\nsys.exit(4)\n", ["SystemExit", "line 2"]),
        ("Order = 3\n", ["no pydantic model"]),
        ("Other = 3\n", ["has no 'Order'"]),
        ("from typing import Callable\nfrom pydantic import BaseModel\nclass Order(BaseModel):\n    f: Callable[[], int]\n", ["JSON Schema"]),
    ],
)  # fmt: skip
def test_a_module_that_cannot_be_imported_is_one_sentence(bench, source, words):
    """Exit 2 with the file and the line where it fails, and no traceback."""
    (bench.folder / "broken_model.py").write_text(source)
    bench.rows([{"text": "x"}])
    bench.job(schema="broken_model:Order")
    ended = bench.run("http://127.0.0.1:9", "check", "job.yaml")
    assert ended.code == 2
    assert len(ended.err.splitlines()) == 1
    assert all(word in ended.err for word in words), ended.err


def test_fields_that_are_json_text_are_told_by_check_and_manifest(bench, gateways):
    """Before a call and afterwards, the fields that no type holds are named with the reason."""
    gateway = gateways(lambda ask: Reply(text='{"either": 5, "any": {"a": [1]}}'))
    bench.rows([{"id": "a", "text": "x"}])
    schema = {
        "type": "object",
        "properties": {"either": {"type": ["integer", "string"]}, "any": {}},
        "x-note": 1,
        "owner": "me",
    }
    bench.job(id="id", schema=schema)
    ended = bench.run(gateway.url, "check", "job.yaml")
    assert ended.code == 0, ended.err
    assert "output/either is JSON text" in ended.out
    assert "'owner'" in ended.out
    ended = direct(bench, gateway.url)
    assert [field["field"] for field in ended.manifest["json_text_fields"]] == ["/either", "/any"]
    part = bench.folder / "out/results/part-000000.parquet"
    assert json.loads(pq.read_schema(part).metadata[b"rowmill.json_text_fields"]) == ["/either", "/any"]
    assert parts(bench)["output"].to_pylist() == [{"either": "5", "any": '{"a":[1]}', "_extra": None}]


def test_a_root_that_may_be_null_is_null(bench, gateways):
    """The answer null is ok, its output null, beside others that are objects."""
    gateway = gateways(lambda ask: Reply(text="null" if ask.prompt.startswith("Say a") else '{"sku": "B-7"}'))
    bench.rows([{"id": name, "text": name} for name in "ab"])
    bench.job(id="id", schema={"type": ["object", "null"], "properties": {"sku": {"type": "string"}}})
    assert direct(bench, gateway.url).code == 0
    found = parts(bench)
    assert found["status"].to_pylist() == ["ok", "ok"]
    assert found["output"].to_pylist() == [None, {"sku": "B-7", "_extra": None}]


def groups(one_of: int) -> list[tuple[Any, list[Any]]]:
    """Schemas with valid answers: one group of so many of the official suite, and of the wild ones that must be ok."""
    # Formats are asserted here; the suite's say that they need not be.
    told = [(one["schema"], one["valid"]) for one in suite() if one["valid"] and one["file"] != "draft2020-12/format"]
    wild = [
        (one["schema"], [one["expect"]["value"]])
        for one in WILD
        if one["expect"]["status"] == "ok" and "value" in one["expect"] and one["expect"].get("or") != "invalid"
    ]
    return told[::one_of] + wild[:: min(3, one_of)]


@pytest.mark.parametrize("one_of", [14, pytest.param(1, marks=pytest.mark.nightly)])
def test_valid_answers_come_back_equal_through_whole_runs(gateways, tmp_path, monkeypatch, one_of):
    """A model's valid answers, of five drafts and of people's own schemas, stand in the results as they were told."""
    current: list[Any] = []
    gateway = gateways(lambda ask: Reply(text=json.dumps(current[int(ask.prompt.split()[1])])))
    monkeypatch.setenv("ROWMILL_API_KEY", KEY)
    monkeypatch.setenv("ROWMILL_BASE_URL", gateway.url)
    seen, elsewhere = 0, 0
    for number, (schema, values) in enumerate(groups(one_of)):
        current[:] = values
        rows = [{"text": str(n)} for n in range(len(values))]
        try:
            result = rowmill.run(job_over(rows, tmp_path / str(number), schema), progress=False, report=False)
        except rowmill.RowmillError as error:
            assert "outside the schema" in str(error) or "dialect" in str(error), str(error)
            elsewhere += 1
            continue
        shape = output_shape(load_schema(schema, tmp_path) if isinstance(schema, dict) else schema)
        part = pq.read_table(tmp_path / str(number) / "out/results/part-000000.parquet")
        assert result.manifest["ledger"]["ok"] == len(values), (schema, values)
        for value, told in zip(values, part["output"].to_pylist(), strict=True):
            back = restored(told, part.schema.field("output").type, shape)
            assert same(value, back) or same({"price": str(value.get("price"))}, back), (schema, value, back)
            seen += 1
        gateway.asks.clear()
    assert seen > (120 if one_of > 1 else 2_400)
    assert elsewhere < 100


def job_over(rows: list[dict[str, Any]], folder: Path, schema: Any) -> rowmill.Job:
    folder.mkdir()
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return rowmill.Job(
        model="gemini-3-flash",
        prompt="Say {{ text }} .",
        input=folder / "rows.jsonl",
        output=folder / "out",
        schema=schema,
    )

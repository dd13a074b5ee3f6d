"""Kept columns: any column of any Parquet file stands in the results as it was, or is refused before a call."""

from __future__ import annotations

import datetime as dt
import decimal
import importlib.util
import io
import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rowmill.schemas.errors import InputError, JobError
from rowmill.schemas.kept_values import KeepTypes
from rowmill.schemas.results import results_schema
from rowmill.schemas.row import Row
from rowmill.tasks.input.formats import input_state
from rowmill.tasks.input.kept_columns import KeptColumns
from rowmill.tasks.input.kept_types import kept_types
from rowmill.tasks.input.key_index import KeyIndex
from rowmill.tasks.input.reader import input_files, shard_rows
from rowmill.tasks.input.survey import Survey, Surveyor
from rowmill.tasks.input.view_types import type_without_views
from rowmill.tasks.plan.template import Template

TABLES = Path(__file__).resolve().parents[1] / "data/wild/tables.py"
LONG = 1 << 20


def surveyed(folder: Path, source: Path, keep: list[str], limit: int | None = None) -> tuple[Survey, list[Path]]:
    files = input_files(str(source))
    with KeyIndex(folder) as keys:
        made = Surveyor(files, id_column=None, keep=keep, keys=keys, sizes={0: 3}, limit=limit, max_line_bytes=LONG)
        return made.run_checked(), files


def kept(folder: Path, source: Path, keep: list[str], skip: frozenset[int] = frozenset()) -> pa.Table:
    """The kept columns as a part would hold them, through a Parquet file of ours."""
    survey, files = surveyed(folder, source, keep)
    columns = KeptColumns(
        files, kept_types(files, keep, survey.keep_types), file_rows=survey.file_rows, states=input_state(files),
        max_line_bytes=LONG,
    )  # fmt: skip
    pieces = []
    for shard in survey.shards:
        pick = columns.of(shard)
        rows = [row for row in range(shard.first_row, shard.last_row + 1) if row not in skip]
        pieces += [pick(rows[at : at + 2]) for at in range(0, len(rows), 2)]
    sink = io.BytesIO()
    pq.write_table(pa.concat_tables(pieces), sink)
    return pq.read_table(io.BytesIO(sink.getvalue()))


def write(path: Path, column: pa.Array, **options: object) -> Path:
    pq.write_table(pa.table({"text": [f"row {n}" for n in range(len(column))], "col": column}), path, **options)
    return path


LEAVES = st.sampled_from(
    [
        pa.null(), pa.bool_(), pa.int8(), pa.int16(), pa.int32(), pa.int64(), pa.uint8(), pa.uint16(), pa.uint32(),
        pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.date32(), pa.date64(), pa.string(), pa.binary(),
        pa.large_string(), pa.large_binary(), pa.string_view(), pa.binary_view(), pa.binary(3), pa.time32("s"),
        pa.time32("ms"), pa.time64("us"), pa.time64("ns"), pa.decimal32(5, 2), pa.decimal64(12, 2),
        pa.decimal128(20, 2), pa.decimal256(60, 2), pa.uuid(), pa.json_(), pa.bool8(), pa.opaque(pa.int64(), "t", "v"),
        pa.dictionary(pa.int8(), pa.string()), pa.dictionary(pa.int32(), pa.int64()), pa.month_day_nano_interval(),
        pa.dictionary(pa.int16(), pa.timestamp("us", "+05:30")), pa.dictionary(pa.uint8(), pa.decimal128(38, 2)),
        pa.timestamp("us", "-03:00"), pa.timestamp("ms", "EST5EDT"), pa.binary(0),
        pa.run_end_encoded(pa.int32(), pa.string()), pa.fixed_shape_tensor(pa.int32(), [2]), pa.struct([]),
        *[pa.timestamp(unit, zone) for unit in ("s", "ms", "us", "ns") for zone in (None, "UTC", "Europe/Oslo")],
        *[pa.duration(unit) for unit in ("s", "ms", "us", "ns")],
    ]
)  # fmt: skip
TYPES = st.recursive(
    LEAVES,
    lambda inner: st.one_of(
        inner.map(pa.list_),
        inner.map(pa.large_list),
        inner.map(lambda type_: pa.list_(type_, 2)),
        inner.map(pa.list_view),
        inner.map(pa.large_list_view),
        inner.map(lambda type_: pa.map_(pa.string(), type_)),
        st.tuples(inner, inner).map(lambda pair: pa.struct([("a", pair[0]), ("b b", pair[1])])),
    ),
    max_leaves=4,
)


def raw_array(type_: pa.DataType, draw: st.DrawFn) -> pa.Array:
    """Some values of any type, their bits at random: also those that no Python type holds."""
    size = 4
    if isinstance(type_, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(type_, raw_array(type_.storage_type, draw))
    if pa.types.is_struct(type_):
        fields = [raw_array(field.type, draw) for field in type_]
        mask = pa.array(draw(st.lists(st.booleans(), min_size=size, max_size=size)))
        return (
            pa.StructArray.from_arrays(fields, fields=list(type_), mask=mask)
            if fields
            else pa.array([{}] * size, type_)
        )
    if pa.types.is_map(type_):
        items = raw_array(type_.item_type, draw)
        return pa.MapArray.from_arrays(pa.array([0, 1, None, 1, 4], pa.int32()), pa.array(list("abca")), items)
    if pa.types.is_fixed_size_list(type_):
        return pa.FixedSizeListArray.from_arrays(pa.concat_arrays([raw_array(type_.value_type, draw)] * 2), type=type_)
    if pa.types.is_list(type_) or pa.types.is_large_list(type_):
        kind = pa.ListArray if pa.types.is_list(type_) else pa.LargeListArray
        offsets = pa.array([0, 1, None, 1, 4], pa.int32() if kind is pa.ListArray else pa.int64())
        return kind.from_arrays(offsets, raw_array(type_.value_type, draw))
    if pa.types.is_list_view(type_) or pa.types.is_large_list_view(type_):
        large = pa.types.is_large_list_view(type_)
        places = (pa.array(told, pa.int64() if large else pa.int32()) for told in ([2, 0, 0, 1], [2, 1, 0, 3]))
        kind = pa.LargeListViewArray if large else pa.ListViewArray
        return kind.from_arrays(*places, raw_array(type_.value_type, draw), type=type_)
    width = getattr(type_, "bit_width", 0) if pa.types.is_primitive(type_) and not pa.types.is_boolean(type_) else 0
    if width in (8, 16, 32, 64) and not pa.types.is_interval(type_) and not pa.types.is_decimal(type_):
        whole = getattr(pa, f"int{width}")()
        low, high = -(2 ** (width - 1)), 2 ** (width - 1) - 1
        if pa.types.is_time(type_):
            low, high = 0, 86_399
        if pa.types.is_date64(type_):
            return pa.array(
                [86_400_000 * n for n in draw(st.lists(st.integers(-9_000, 9_000), min_size=4, max_size=4))], pa.int64()
            ).view(type_)
        values = draw(st.lists(st.none() | st.integers(low, high), min_size=size, max_size=size))
        return pa.array(values, whole).view(type_)
    python = {
        "null": st.none(), "bool": st.booleans(), "month_day_nano_interval": st.just((1, 2, 3)),
    }.get(str(type_))  # fmt: skip
    if python is None:
        if pa.types.is_decimal(type_):
            most = 10 ** min(4, type_.precision) - 1
            python = st.integers(-most, most).map(lambda n: decimal.Decimal(n).scaleb(-type_.scale))
        elif "string" in str(type_) and "ionary" not in str(type_):
            python = st.text(st.characters(codec="utf-8"), max_size=5)
        elif pa.types.is_dictionary(type_):
            return (
                pa.array(draw(st.lists(st.none() | st.integers(0, 9), min_size=4, max_size=4)), pa.int64())
                .cast(type_.value_type)
                .dictionary_encode()
                .cast(type_)
            )
        else:
            python = st.binary(min_size=3, max_size=3)
    if pa.types.is_fixed_size_binary(type_):
        python = st.binary(min_size=type_.byte_width, max_size=type_.byte_width)
    return pa.array(draw(st.lists(st.none() | python, min_size=size, max_size=size)), type_)


@st.composite
def arrays(draw: st.DrawFn) -> pa.Array:
    return raw_array(draw(TYPES), draw)


def same(one: pa.ChunkedArray, other: pa.ChunkedArray) -> bool:
    """Equal bit for bit: NaN is itself. Arrow compares its own file form."""

    def content(column: pa.ChunkedArray) -> bytes:
        sink = io.BytesIO()
        whole = pa.table({"c": pa.concat_arrays(column.chunks) if column.num_chunks else column})
        pq.write_table(whole, sink, use_dictionary=False, compression="none", write_statistics=False)
        return sink.getvalue()

    return one.type.equals(other.type) and (one.equals(other) or content(one) == content(other))


@settings(suppress_health_check=list(HealthCheck), max_examples=250)
@given(arrays(), st.booleans())
def test_whatever_arrow_can_write_is_kept_as_it_is_or_refused(tmp_path_factory, array, as_int96):
    """In, kept, out: type and values are those that pyarrow reads from the file, views apart, and every row is read."""
    folder = tmp_path_factory.mktemp("types")
    try:
        source = write(folder / "in.parquet", array, use_deprecated_int96_timestamps=as_int96)
    except (pa.ArrowException, ValueError, OSError):
        return
    survey, files = surveyed(folder, source, ["col"])
    rows = [row for shard in survey.shards for row in shard_rows(shard, files, None, max_line_bytes=LONG)]
    assert [type(row) for row in rows] == [Row] * len(array), (array.type, rows[-1])
    json.dumps([row.columns for row in rows], default=str)
    read = pq.read_table(source).column("col")
    # A view is a layout of the same values.
    read = read.cast(type_without_views(read.type)) if "_view" in str(read.type) else read
    if as_int96 and "timestamp" in str(read.type):
        # The instants are those of the file, in whichever unit holds them.
        assert kept(folder, source, ["col"]).num_rows == len(array)
        return
    assert same(kept(folder, source, ["col"]).column("col"), read)


def test_null_structs_that_hold_lists_of_uuids_are_rows(tmp_path):
    """A row that is null as a whole stays a row where Arrow has no builder for what is inside."""
    flat = pa.array([b"%016d" % n for n in range(4)], pa.binary(16)).cast(pa.uuid())
    inner = pa.ListArray.from_arrays(pa.array([0, 1, 2, 3, 4]), flat)
    outer = pa.ListArray.from_arrays(pa.array([0, 2, 4]), inner)
    column = pa.StructArray.from_arrays([outer], names=["b b"], mask=pa.array([True, True]))
    survey, files = surveyed(tmp_path, write(tmp_path / "in.parquet", column), ["col"])
    assert [
        row.columns["col"] for shard in survey.shards for row in shard_rows(shard, files, None, max_line_bytes=LONG)
    ] == [None] * 2


def test_null_among_the_words_of_a_dictionary_is_null(tmp_path):
    """Parquet cannot write such a word: the rows that name it are null, wherever the dictionary stands."""
    words = pa.DictionaryArray.from_arrays(pa.array([0, 1, None, 0], pa.int8()), pa.array(["a", None]))
    offsets = pa.array([0, 1, None, 1, 4], pa.int32())
    for column in (
        words,
        pa.StructArray.from_arrays([words], names=["word"]),
        pa.ListArray.from_arrays(offsets, words),
        pa.FixedSizeListArray.from_arrays(pa.concat_arrays([words, words]), 2),
        pa.MapArray.from_arrays(offsets, pa.array(list("abcd")), words),
    ):
        with pa.ipc.new_file(tmp_path / "in.arrow", pa.schema([("col", column.type)])) as file:
            file.write_table(pa.table({"col": column}))
        found = kept(tmp_path, tmp_path / "in.arrow", ["col"]).column("col")
        assert found.to_pylist() == column.to_pylist(), column.type


def test_views_are_kept_as_text_and_bytes_anywhere_in_a_column(tmp_path):
    """What polars writes into an Arrow file is kept with its values, whichever rows are settled."""
    texts = [None if n % 7 == 0 else f"text {n}" for n in range(3_000)]
    frame = pl.DataFrame({"col": [{"a": text, "b": [{"c": text}]} for text in texts]})
    frame.write_ipc(tmp_path / "in.arrow")
    assert "string_view" in str(pa.ipc.open_file(tmp_path / "in.arrow").schema)
    for skip in (frozenset[int](), frozenset(range(0, 3_000, 3))):
        table = kept(tmp_path, tmp_path / "in.arrow", ["col"], skip)
        assert table["col"].to_pylist() == [row for n, row in enumerate(frame["col"].to_list()) if n not in skip]
        assert "view" not in str(table.schema)


KIN = [
    [pa.null(), pa.int8(), pa.uint8(), pa.int32(), pa.int64(), pa.uint64(), pa.float16(), pa.float32(), pa.float64()],
    [pa.null(), pa.string(), pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()), pa.json_()],
    [pa.null(), pa.binary(), pa.large_binary(), pa.binary_view(), pa.binary(3), pa.binary(4), pa.uuid()],
    [pa.decimal32(5, 2), pa.decimal128(20, 2), pa.decimal256(60, 4), pa.decimal128(9, 0), pa.int64()],
    [pa.date32(), pa.date64(), *(pa.timestamp(unit, zone) for unit in ("s", "ms", "ns") for zone in (None, "UTC"))],
    [pa.time32("s"), pa.time32("ms"), pa.time64("us"), pa.time64("ns"), *map(pa.duration, ("s", "us", "ns"))],
    [pa.list_(pa.int8()), pa.large_list(pa.int64()), pa.list_(pa.float32(), 2), pa.list_(pa.null()), pa.list_(pa.string())],
    [pa.struct([("a", pa.int8())]), pa.struct([("a", pa.int64()), ("b", pa.string())]), pa.struct([("b", pa.null())])],
    [pa.map_(pa.string(), pa.int8()), pa.map_(pa.string(), pa.float64()), pa.list_(pa.struct([("key", pa.string())]))],
]  # fmt: skip


@st.composite
def pairs(draw: st.DrawFn) -> tuple[pa.Array, pa.Array]:
    """Two columns of kindred types, or of any two."""
    types = st.sampled_from(draw(st.sampled_from(KIN))) if draw(st.booleans()) else TYPES
    return raw_array(draw(types), draw), raw_array(draw(types), draw)


@settings(suppress_health_check=list(HealthCheck), max_examples=120)
@given(pairs(), st.sampled_from([(4, 4), (4, 0), (0, 4), (0, 0)]))
def test_any_drift_between_two_files_is_unified_or_refused(tmp_path_factory, pair, sizes):
    """Any two types, empty files among them: each value is as it was under the type that holds both, or InputError."""
    folder = tmp_path_factory.mktemp("drift")
    columns = [column.slice(0, size) for column, size in zip(pair, sizes, strict=True)]
    try:
        source = drifted(folder, *columns)
        read = [pq.read_table(source / f"{n}.parquet")["col"] for n in (0, 1)]
        found = kept(folder, source, ["col"])["col"] if sum(sizes) else None
        surveyed(folder, source, ["col"])
    except (pa.ArrowException, ValueError, OSError, InputError) as error:
        if isinstance(error, InputError) or not (folder / "drift/1.parquet").exists() or not_written(folder / "drift"):
            return
        raise
    if found is None:
        return
    assert len(found) == sum(sizes)
    for column, part in zip(read, (found.slice(0, sizes[0]), found.slice(sizes[0])), strict=True):
        assert part.null_count == column.null_count or pa.types.is_null(column.type)
        try:
            back = part.cast(column.type)
        except pa.ArrowException:
            # Arrow knows the way there, not back.
            continue
        assert back.equals(column) or same(back, column) or "nan" in str(column)


def not_written(folder: Path) -> bool:
    """Whether pyarrow itself could not write one of the files whole, or cannot read it."""
    try:
        for path in folder.iterdir():
            pq.read_table(path)
    except (pa.ArrowException, ValueError, OSError):
        return True
    return False


def test_rows_that_are_not_settled_leave_no_gap(tmp_path):
    """A preview of some rows of a shard has their kept values, each beside its own row."""
    source = write(tmp_path / "in.parquet", pa.array(range(3_000)))
    skip = frozenset(n for n in range(3_000) if n % 7 == 0 or 1_000 < n < 2_200)
    assert kept(tmp_path, source, ["col"], skip)["col"].to_pylist() == [n for n in range(3_000) if n not in skip]


def test_two_rows_that_differ_have_two_digests(tmp_path):
    """NaN, infinity, null, bytes and their text, and the order of a map tell rows apart."""
    kinds = [
        [float("nan")], [None], [float("inf")], [float("-inf")], [0.5],
    ]  # fmt: skip
    columns = [pa.array(values, pa.float64()) for values in kinds]
    columns += [pa.array([b"a"]), pa.array([b"\xff"]), pa.array(["/w=="])]
    columns += [
        pa.array([pairs], pa.map_(pa.string(), pa.int64()))
        for pairs in ([("a", 1), ("b", 2)], [("b", 2), ("a", 1)], [("a", 0), ("a", 1), ("b", 2)])
    ]
    digests = []
    for n, column in enumerate(columns):
        survey, _ = surveyed(tmp_path, write(tmp_path / f"{n}.parquet", column), [])
        digests.append(survey.shards[0].digest)
    assert len(set(digests)) >= len(columns) - 1
    assert len(set(digests[:5])) == 5


def test_int96_reads_every_year_and_every_nanosecond(tmp_path):
    """Spark's year 9999 and Impala's nanoseconds both stand in the results as the instants they are."""
    far = write(
        tmp_path / "far.parquet",
        pa.array([dt.datetime(9999, 12, 31), dt.datetime(1, 1, 1)], pa.timestamp("us")),
        use_deprecated_int96_timestamps=True,
    )
    assert kept(tmp_path, far, ["col"])["col"].to_pylist() == [dt.datetime(9999, 12, 31), dt.datetime(1, 1, 1)]
    fine = write(
        tmp_path / "fine.parquet",
        pa.array([1_767_616_200_123_456_789], pa.timestamp("ns")),
        use_deprecated_int96_timestamps=True,
    )
    assert kept(tmp_path, fine, ["col"])["col"].cast(pa.int64()).to_pylist() == [1_767_616_200_123_456_789]


def drifted(folder: Path, *columns: pa.Array) -> Path:
    made = folder / "drift"
    made.mkdir()
    for n, column in enumerate(columns):
        write(made / f"{n}.parquet", column)
    return made


HOLDS = [
    (pa.array([1], pa.int8()), pa.array([2**40]), "int64"),
    (pa.array([1]), pa.array([0.5]), "double"),
    (pa.array([1], pa.uint64()), pa.array([-1]), "int64"),
    (pa.array([1.5], pa.float32()), pa.array([float("nan")]), "double"),
    (pa.array(["x"]), pa.array(["y"], pa.large_string()), "large_string"),
    (pa.array(["x"]).dictionary_encode(), pa.array(["y"]), "string"),
    (pa.array([decimal.Decimal("1.5")]), pa.array([decimal.Decimal("10.25")]), "decimal128(4, 2)"),
    (pa.array([1], pa.timestamp("s")), pa.array([1], pa.timestamp("ns")), "timestamp[ns]"),
    (pa.array([[1]], pa.list_(pa.int32())), pa.array([[None, 2**40]]), "list<item: int64>"),
    (pa.array([{"a": {"b": 1}}]), pa.array([{"a": {"c": "x"}}]), "struct<a: struct<b: int64, c: string>>"),
    (pa.nulls(1), pa.array([[{"a": 1}]]), "list<item: struct<a: int64>>"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other", "type_"), HOLDS)
def test_files_that_differ_are_unified_where_a_type_holds_both(tmp_path, one, other, type_):
    """In either order, the kept column has the type that holds the values of both files, and all of them."""
    for n, pair in enumerate(((one, other), (other, one))):
        folder = tmp_path / str(n)
        folder.mkdir()
        column = kept(folder, drifted(folder, *pair), ["col"])["col"]
        assert str(column.type).replace("element", "item").replace("millis", "") in (
            type_,
            type_.replace("a: struct<b: int64, c: string>", "a: struct<c: string, b: int64>"),
        )
        assert column.null_count == sum(part.null_count for part in pair)


def test_what_an_arrow_file_holds_and_parquet_does_not_is_refused(tmp_path):
    """Types that Arrow's own files have and Parquet has not are refused by name where they are kept, and read beside."""
    columns = [
        pa.array([b"", None], pa.binary(0)),
        pa.array([(1, 2, 3), None], pa.month_day_nano_interval()),
        pa.UnionArray.from_sparse(pa.array([0, 1], pa.int8()), [pa.array([1, 2]), pa.array(["a", "b"])]),
    ]
    for n, column in enumerate(columns):
        path = tmp_path / f"{n}.arrow"
        table = pa.table({"text": ["a", "b"], "col": column})
        with pa.ipc.new_file(path, table.schema) as file:
            file.write_table(table)
        with pytest.raises(InputError, match="'col'"):
            kept_types(input_files(str(path)), ["col"], KeepTypes())
        survey, files = surveyed(tmp_path, path, [])
        rows = [row for shard in survey.shards for row in shard_rows(shard, files, None, max_line_bytes=LONG)]
        assert [type(row) for row in rows] == [Row, Row], column.type
        json.dumps([row.columns for row in rows], default=str)


REFUSED = [
    (pa.array([1]), pa.array(["n/a"])),
    (pa.array([0.5]), pa.array([2**53 + 1])),
    (pa.array([2**63], pa.uint64()), pa.array([-1])),
    (pa.array(["x"]), pa.array([b"x"])),
    (pa.array([1], pa.timestamp("us")), pa.array([1], pa.timestamp("us", "UTC"))),
    (pa.array([1], pa.timestamp("us", "Europe/Oslo")), pa.array([1], pa.timestamp("us", "UTC"))),
    (pa.array([1], pa.date32()), pa.array([1], pa.timestamp("us"))),
    (pa.array([2**50], pa.timestamp("ms")), pa.array([1], pa.timestamp("ns"))),
    (pa.array([decimal.Decimal("1.5")]), pa.array([1.5])),
    (pa.array([True]), pa.array([1])),
    (pa.array([[1]]), pa.array([1])),
    (pa.array([{"a": 1}]), pa.array([{"a": "x"}])),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), REFUSED)
def test_files_that_no_type_holds_are_refused_by_name(tmp_path, one, other):
    """Before a call: the file, the column and both types are named. An input that does not keep it is none the wiser."""
    for n, pair in enumerate(((one, other), (other, one))):
        folder = tmp_path / str(n)
        folder.mkdir()
        source = drifted(folder, *pair)
        with pytest.raises(InputError) as refused:
            kept(folder, source, ["col"])
        assert "'col'" in str(refused.value)
        assert all(str(pq.read_schema(source / f"{n}.parquet").field("col").type) in str(refused.value) for n in (0, 1))
        survey, files = surveyed(folder, source, [])
        assert [
            type(row) for shard in survey.shards for row in shard_rows(shard, files, None, max_line_bytes=LONG)
        ] == [Row, Row]


@pytest.mark.parametrize(
    ("values", "type_", "out"),
    [
        ([1, 2.5], "double", [1.0, 2.5]),
        ([2**53 + 1, 2], "int64", [2**53 + 1, 2]),
        ([2**53 + 1, 2.5], "string", ["9007199254740993", "2.5"]),
        ([2**64, 1], "string", ["18446744073709551616", "1"]),
        (["a", 1, None], "string", ["a", "1", None]),
        ([{"a": [1]}, None], "string", ['{"a":[1]}', None]),
        ([True, None], "bool", [True, None]),
        ([True, 1], "string", ["true", "1"]),
    ],
)
def test_json_values_are_kept_under_the_type_that_holds_them(tmp_path, values, type_, out):
    """A kept column of JSON Lines rounds nothing: what no type holds together is text."""
    path = tmp_path / "in.jsonl"
    path.write_text("".join(json.dumps({"col": value}) + "\n" for value in values))
    column = kept(tmp_path, path, ["col"])["col"]
    assert (str(column.type), column.to_pylist()) == (type_, out)


def test_a_changed_input_is_told_before_a_part_is_written(tmp_path):
    """Rows that are not those of the survey any more are refused; one that only grew is read on."""
    path = tmp_path / "in.jsonl"
    path.write_text('{"col": 1}\n{"col": 2}\n')
    survey, files = surveyed(tmp_path, path, ["col"])
    columns = KeptColumns(
        files, {"col": pa.int64()}, file_rows=survey.file_rows, states=input_state(files), max_line_bytes=LONG
    )
    path.write_text('{"col": 1}\n{"col": 2}\n{"col": 3}\n')
    assert columns.of(survey.shards[0])([0, 1])["col"].to_pylist() == [1, 2]
    path.write_text('{"col": 3}\n{"col": 4}\n')
    with pytest.raises(InputError, match="other rows"):
        columns.of(survey.shards[0])


def test_a_damaged_file_between_others_shifts_no_row(tmp_path):
    """The rows behind a damaged file keep their own values."""
    folder = drifted(tmp_path, pa.array(range(3)), pa.array(range(3, 4_000)), pa.array([5_000, 5_001]))
    damaged = bytearray((folder / "1.parquet").read_bytes())
    damaged[200:260] = bytes(60)
    (folder / "1.parquet").write_bytes(bytes(damaged))
    met = KeepTypes()
    survey, files = surveyed(tmp_path, folder, ["col"])
    assert survey.unreadable
    types = kept_types(files, ["col"], met)
    columns = KeptColumns(files, types, file_rows=survey.file_rows, states=input_state(files), max_line_bytes=LONG)
    found = []
    for shard in survey.shards:
        found += columns.of(shard)(list(range(shard.first_row, shard.last_row + 1)))["col"].to_pylist()
    assert len(found) == survey.rows
    assert (found[:3], found[-2:]) == ([0, 1, 2], [5_000, 5_001])


def wild(folder: Path) -> list[dict]:
    subprocess.run([sys.executable, str(TABLES), str(folder)], check=True, capture_output=True)
    told = json.loads((folder / "tables.json").read_text())
    return [one for one in told if one["input"].startswith(("types/", "drift/", "names/"))]


def test_the_wild_tables_are_kept_as_they_are(tmp_path):
    """Tables as pandas, Spark, polars and others write them, and folders whose files have drifted."""
    spec = importlib.util.spec_from_file_location("tables", TABLES)
    tables = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tables)
    for entry in wild(tmp_path):
        expected = entry["keep"]
        try:
            column = kept(tmp_path, tmp_path / entry["input"], [entry["column"]])[entry["column"]]
            results_schema({entry["column"]: column.type}, pa.string())
        except (InputError, JobError):
            assert expected.get("refused") or expected.get("or") == "refused", entry["name"]
            continue
        assert not expected.get("refused"), entry["name"]
        named = str(column.type).replace("element", "item")
        assert named in [str(expected["type"]).replace("element", "item"), *entry.get("type_may_be", [])], entry["name"]
        if "type_may_be" in entry:
            column = column.cast(pa.timestamp("us"))
            expected["values"] = [one and {"us": one.get("us", one.get("ns", 0) // 1000)} for one in expected["values"]]
        assert [tables.told(part, column.type) for part in column] == expected["values"], entry["name"]


def test_prompts_read_values_as_people_write_them(tmp_path):
    """What a prompt is given of each wild column has the texts that are told, and never a Python object's."""
    for entry in wild(tmp_path):
        survey, files = surveyed(tmp_path, tmp_path / entry["input"], [])
        rows = [row for shard in survey.shards for row in shard_rows(shard, files, None, max_line_bytes=LONG)]
        assert all(isinstance(row, Row) for row in rows), entry["name"]
        template = Template("{{ text }} | {{ row[" + repr(entry["column"]) + "] }}", "prompt")
        shown = [template.render(row.columns) for row in rows if entry["column"] in row.columns]
        assert shown, entry["name"]
        wrong = [text for text in shown if any(part in text for part in entry["prompt"].get("never", ()))]
        assert wrong == [], entry["name"]
        for told, text in zip(shown, entry["prompt"].get("texts", ()), strict=False):
            assert told.partition(" | ")[2] == text, entry["name"]


def test_reading_and_keeping_never_loads_pandas(tmp_path):
    """Nanoseconds are read without pandas, which would refuse what is none of its own."""
    write(
        tmp_path / "in.parquet",
        pa.array([1_767_616_200_123_456_789, 1_767_616_200_000_000_000, None], pa.timestamp("ns")),
    )
    code = (
        "import sys; from pathlib import Path; from rowmill.tasks.input.reader import lines; from rowmill.tasks.input.files import InputFile; from rowmill.schemas.row import Cursor;"
        f"print([line.columns['col'] for line in lines(InputFile(Path({str(tmp_path / 'in.parquet')!r}), 'parquet'), Cursor('', 0, 0), 99)]);"
        "print('pandas' in sys.modules)"
    )
    told = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout.splitlines()
    assert told == ["['2026-01-05T12:30:00.123456789', datetime.datetime(2026, 1, 5, 12, 30), None]", "False"]


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_a_file_with_a_type_that_arrow_lacks_says_so(tmp_path, ending):
    """Integers of 128 bits, as polars writes them, are refused with the mend, and not as a file that is cut."""
    path = tmp_path / f"rows.{ending}"
    frame = pl.DataFrame({"n": pl.Series([1], dtype=pl.Int128)})
    frame.write_parquet(path) if ending == "parquet" else frame.write_ipc(path)
    with pytest.raises(InputError, match="with that column cast"):
        kept_types(input_files(str(path)), ["n"], KeepTypes())

"""People's files: whatever a spreadsheet or a labelling tool hands back is read, or refused as a whole."""

from __future__ import annotations

import csv
import io
import json
import logging
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rowmill.schemas.errors import InputError
from rowmill.schemas.label import Label
from rowmill.tasks.export.label_sheet import sheet
from rowmill.tasks.export.text_files import write_csv
from rowmill.tasks.labelling.judgements import (
    Judgements,
    digest_of,
    keep_judgements,
    kept_judgements,
    log_what_was_found,
    read_judgements,
)
from rowmill.tasks.plan.label_gold import GoldReader

FOLDER = Path(__file__).resolve().parent.parent / "data" / "wild" / "feedback"
TABLE = json.loads((FOLDER / "feedback.json").read_text(encoding="utf-8"))
SINGLE = Label.model_validate({"labels": TABLE["jobs"]["single"]["labels"]})
MULTI = Label.model_validate({"labels": TABLE["jobs"]["multi"]["labels"], "multi": True})


@pytest.mark.parametrize("case", TABLE["files"], ids=[case["file"] for case in TABLE["files"]])
def test_each_file_of_the_corpus_gives_what_its_table_says(case, caplog):
    """Separator, encoding, layout and tool are found; what cannot be read is refused as a whole, with the reason."""
    is_single = case["job"] == "single"
    label, path = SINGLE if is_single else MULTI, FOLDER / case["file"]
    if case.get("refused"):
        with pytest.raises(InputError) as refused:
            read_judgements(path, label)
        assert case["file"] in refused.value.where
        return
    with caplog.at_level(logging.WARNING, logger="rowmill"):
        found = read_judgements(path, label)
        log_what_was_found(found, path)
    given_labels = {row: said[0] if is_single else list(said) for row, said in found.labels.items() if row != "r99"}
    assert given_labels == case["gives"]
    assert sorted(found.conflicts) == case.get("conflicts", [])
    for row in case.get("conflicts", []):
        assert row in caplog.text
    if not case["gives"]:
        assert "holds no label" in caplog.text


@pytest.mark.parametrize(
    ("kind", "value"), [("taxonomy", [["billing"]]), ("rating", 3), ("labels", ["billing"]), ("number", 7)]
)
def test_labels_of_another_control_are_refused_and_not_lost(tmp_path, kind, value):
    """What somebody answered by a control other than choices is no label of ours: the file is refused, not emptied."""
    path = tmp_path / "export.json"
    results = [{"from_name": "label", "type": kind, "value": {kind: value}}]
    path.write_text(json.dumps([{"id": 1, "data": {"row_id": "r1"}, "annotations": [{"result": results}]}]))
    with pytest.raises(InputError, match=kind):
        read_judgements(path, SINGLE)
    results = [{"from_name": "note", "type": "textarea", "value": {"text": ["unclear"]}}]
    path.write_text(json.dumps([{"id": 1, "data": {"row_id": "r1"}, "annotations": [{"result": results}]}]))
    assert read_judgements(path, SINGLE).labels == {}


def test_what_is_refused_is_named(tmp_path):
    """A missing column names those that are there; an unknown label its line; a workbook and half a file say so."""
    with pytest.raises(InputError, match="suggested") as refused:
        read_judgements(FOLDER / "no_label.csv", SINGLE)
    assert "gold" in str(refused.value)
    with pytest.raises(InputError, match="'shipping'") as refused:
        read_judgements(FOLDER / "unknown_label.csv", SINGLE)
    assert "line 3" in refused.value.where
    for name, raw, words in (
        ("book.xlsx", b"PK\x03\x04rest", "workbook"),
        ("cut.csv", b'row_id,gold\nr1,"billing', "not readable as a table"),
        ("wide.csv", b"row_id,gold\nr1,billing,more\n", "3 cells under 2 columns"),
        ("twice.csv", b"row_id,gold,Gold\nr1,billing,other\n", "two columns are named 'gold'"),
        ("odd.csv", "row_id,gold\nr1,Gr\x81\n".encode("latin-1"), "0x81"),
        ("noid.csv", b"name,gold\nr1,billing\n", "without a row_id"),
        ("zero.txt", b"row_id,gold\n\0\n", "no text file"),
        ("tool.csv", b"annotation_id,id,label,lead_time\n1,1,billing,2\n", "without a row_id"),
    ):
        (tmp_path / name).write_bytes(raw)
        with pytest.raises(InputError, match=words):
            read_judgements(tmp_path / name, SINGLE)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be", "utf-32", "cp1252"])
@pytest.mark.parametrize("separator", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_every_separator_in_every_encoding(tmp_path, encoding, separator, end):
    """A spreadsheet's table is read in whatever encoding, separator and line ends it was saved."""
    text = io.StringIO(newline="")
    writer = csv.writer(text, delimiter=separator, lineterminator=end)
    writer.writerows([["text", "Row-ID", "GOLD"], [f'a{separator} "b"\nc', "r1", "Größe"], ["plain", "r2", ""]])
    (tmp_path / "back.csv").write_bytes(text.getvalue().encode(encoding))
    assert read_judgements(tmp_path / "back.csv", SINGLE).labels == {"r1": ("Größe",)}


def test_the_separator_that_excel_names_is_used(tmp_path):
    """Excel's first line `sep=;` is obeyed and is no header."""
    (tmp_path / "back.csv").write_text("sep=;\nrow_id;gold\nr1;billing\n")
    assert read_judgements(tmp_path / "back.csv", SINGLE).labels == {"r1": ("billing",)}


def test_people_who_disagree(tmp_path):
    """A majority decides; without one nobody does, unless --gold-by names the one who does; an unknown name is refused."""
    path = tmp_path / "back.csv"
    path.write_text(
        "row_id,annotator,gold\nr1,A,billing\nr1,B,other\nr1,C,other\nr2,A,billing\nr2,B,other\nr3,B,other\n"
    )
    found = read_judgements(path, SINGLE)
    assert found.labels == {"r1": ("other",), "r3": ("other",)}
    assert found.conflicts == {"r2": {"A": ("billing",), "B": ("other",)}}
    found = read_judgements(path, SINGLE, gold_by="A")
    assert found.labels == {"r1": ("billing",), "r2": ("billing",), "r3": ("other",)}
    with pytest.raises(InputError, match="nobody named 'D'.*A, B, C"):
        read_judgements(path, SINGLE, gold_by="D")


def test_a_row_without_names_that_stands_twice_is_a_conflict(tmp_path):
    """Two lines that differ are two opinions, and the later is not the right one for that."""
    path = tmp_path / "back.csv"
    path.write_text("row_id,gold\nr1,billing\nr1,other\nr2,other\nr2,other\n")
    found = read_judgements(path, SINGLE)
    assert (found.labels, list(found.conflicts)) == ({"r2": ("other",)}, ["r1"])


def test_what_people_said_is_kept_with_their_names(tmp_path):
    """gold.jsonl gives back labels, opinions and conflicts; a label that comes later settles a conflict."""
    found = read_judgements(FOLDER / "two_annotators.csv", SINGLE)
    keep_judgements(tmp_path, found)
    kept = kept_judgements(tmp_path, SINGLE)
    assert (kept.labels, sorted(kept.conflicts)) == (found.labels, ["r2", "r3"])
    assert digest_of(kept) != digest_of(Judgements(found.labels))
    (tmp_path / "adjudicated.jsonl").write_text('{"row_id": "r2", "gold": "delivery"}\n')
    settled = kept | read_judgements(tmp_path / "adjudicated.jsonl", SINGLE)
    assert settled.labels["r2"] == ("delivery",)
    assert list(settled.conflicts) == ["r3"]


def test_labels_of_a_file_from_before_are_read(tmp_path):
    """gold.jsonl of an earlier version, and its digest, stand as they did."""
    (tmp_path / "gold.jsonl").write_text('{"row_id": "r1", "gold": ["billing"]}\n')
    kept = kept_judgements(tmp_path, SINGLE)
    assert kept.labels == {"r1": ("billing",)}
    assert not kept.conflicts


cells = st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=12).map(
    lambda text: text.replace("\r", " ")
)


@given(st.lists(st.tuples(st.sampled_from(["", "=", "+", "-", "@", "\t", "'", "''=", "'x"]), cells), min_size=1,
                max_size=6, unique_by=lambda one: one[0] + one[1]))  # fmt: skip
def test_an_export_carries_no_formula_and_comes_back(tmp_path_factory, parts):
    """No cell of an export is a formula, text that is not ASCII has Excel's mark, and ids come back unchanged."""
    path = tmp_path_factory.mktemp("export") / "review.csv"
    ids = [f"{start}{text}x" for start, text in parts]
    rows = [
        {
            "row_id": row,
            "text": f"{row} text",
            "suggested": "=x",
            "agreement": 0.5,
            "votes": [],
            "why": "",
            "gold": "other",
        }
        for row in ids
    ]
    write_csv(path, sheet(rows))
    raw = path.read_bytes()
    assert raw.isascii() or raw.startswith(b"\xef\xbb\xbf")
    with open(path, newline="", encoding="utf-8-sig") as file:
        assert not any(cell.startswith(("=", "+", "-", "@", "\t", "\r")) for line in csv.reader(file) for cell in line)
    assert list(read_judgements(path, SINGLE).labels) == list(dict.fromkeys(ids))


@pytest.mark.parametrize("value", [None, "", "  ", "N/A", "n/a", "NaN", "null", "#N/A", "NA", float("nan"), "\u00a0"])
def test_a_cell_that_says_nothing_is_no_gold(value):
    """Blanks, N/A and NaN are no label and no error."""
    assert GoldReader(SINGLE).labels(value) is None


def test_a_label_of_that_name_is_one():
    """Where the job has a label NA or none, the cell names it."""
    reader = GoldReader(Label.model_validate({"labels": ["NA", "EU", "none"]}))
    assert [reader.labels(value) for value in ("NA", "none", "N/A", None)] == [("NA",), ("none",), None, None]

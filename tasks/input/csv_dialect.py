"""CSV dialect: how a CSV file is written, seen in its beginning where the job does not say it."""

from __future__ import annotations

import codecs
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import IO, Any

from rowmill.schemas.errors import InputError
from rowmill.schemas.file_state import CsvReading
from rowmill.tasks.input.csv_records import Record, Syntax, records
from rowmill.tasks.input.files import InputFile, name_of, state_of
from rowmill.tasks.input.stream import BOM, DAMAGE, CarriageReturns, Transcoded, head_of, opened

# The encoding is seen in so many bytes of a file's beginning, the rest in so many records of them.
HEAD_BYTES, HEAD_RECORDS = 1 << 20, 200
HEADER_MOST_BYTES = 1 << 20
SEPARATORS = (",", ";", "\t", "|", "\x1f", "\x01")
TAB_ENDINGS = (".tsv", ".tab")
# A separator that parts the header must part at least this share of the records alike.
ALIKE = 0.5
# So many records with a quote in the wrong place, and fewer in the right ones: quotes have no meaning in this file.
QUOTES_ARE_TEXT = 5
_BOMS = (
    (codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF32_LE, "utf-32-le"), (codecs.BOM_UTF32_BE, "utf-32-be"),
    (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"),
)  # fmt: skip
# Bytes that no text in cp1252 has, or hardly any (ÿ and þ): they tell of damage rather than of that encoding.
_NOT_TEXT = frozenset(b"\x81\x8d\x8f\x90\x9d\xfe\xff")
_BEYOND_ASCII, _FOREIGN_RUN = re.compile(rb"[\x80-\xff]+"), re.compile(rb"[\x80-\xff]{4,}")
_KANA = re.compile("[\u3041-\u30fe]")
# Excel writes this line before the header, and reads it.
_SEP_LINE = re.compile(r"sep=(.)\r?\n?", re.IGNORECASE)
_ASCII = 'a,;\t"\n'
_NAMES = {",": "comma", ";": "semicolon", "\t": "tab", "|": "bar", "\x1f": "unit separator", "\x01": "^A"}


@dataclass(frozen=True, slots=True)
class Dialect:
    """How a file is written: `columns` in order, the first row's bytes `begin`. `example` shows the encoding.

    `looks_right` where every record seen has the header's several fields, one row at least among them.
    """

    syntax: Syntax
    encoding: str
    columns: tuple[str, ...]
    begin: int
    carriage_returns: bool = False
    renamed: tuple[str, ...] = ()
    example: str | None = None
    looks_right: bool = False

    def open(self, file: InputFile, offset: int) -> IO[bytes]:
        """The file's lines from an offset on, in an encoding that has ASCII in it. Raises OSError."""
        if self.is_transcoded:
            return opened(file, offset, lambda source: Transcoded(source, self.encoding))
        return opened(file, offset, CarriageReturns if self.carriage_returns else None)

    @property
    def is_transcoded(self) -> bool:
        return not _holds_ascii(self.encoding)

    @property
    def told(self) -> CsvReading:
        """What the meaning of the file's bytes depends on, as the manifest keeps it."""
        syntax = self.syntax
        return CsvReading(syntax.separator, self.encoding, syntax.quote, syntax.escape, list(self.columns))

    @property
    def sentence(self) -> str:
        """The same for people."""
        separator = _NAMES.get(self.syntax.separator, repr(self.syntax.separator))
        quote = "no quotes" if not self.syntax.quote else f"quotes {self.syntax.quote}"
        seen = f" (as in {self.example!r})" if self.example else ""
        names = ", ".join(self.columns[:12]) + (", ..." if len(self.columns) > 12 else "")
        renamed = f"; renamed: {', '.join(self.renamed)}" if self.renamed else ""
        return f"separator {separator}, {quote}, encoding {self.encoding}{seen}; columns: {names}{renamed}"


def dialect_of(file: InputFile) -> Dialect:
    """How a file is written. Raises InputError for one that has no header or cannot be read, OSError."""
    return _seen(file, state_of(file))


@lru_cache(maxsize=1_024)
def _seen(file: InputFile, *_: Any) -> Dialect:
    try:
        head = head_of(file, HEAD_BYTES)
    except DAMAGE as error:
        raise InputError(f"cannot be read: {error}", where=name_of(file), hint="write the file again") from None
    is_all = len(head) < HEAD_BYTES
    encoding = file.csv.encoding or encoding_of(head, is_all=is_all)
    if encoding == "cp1252" and not file.csv.encoding:
        _refuse_foreign(file, head)
    if not _holds_ascii(encoding):
        head = Transcoded(io.BytesIO(head), encoding).read()
    carriage_returns = b"\r" in head and b"\n" not in head
    lines = (head.replace(b"\r", b"\n") if carriage_returns else head).removeprefix(BOM)
    if not is_all:
        lines = lines[: lines.rfind(b"\n") + 1] or lines
    told = _SEP_LINE.match(lines[:16].decode("latin-1"))
    skipped = told.end() if told else 0
    byte_encoding = encoding if _holds_ascii(encoding) else "utf-8"
    given = file.csv.separator or (told.group(1) if told else None)
    syntax = _syntax(file, lines[skipped:], byte_encoding, separator=given)
    begin = (len(BOM) if head.startswith(BOM) else 0) + skipped
    columns, renamed, after = _header(file, syntax, byte_encoding, lines=lines[skipped:])
    rows = [one.fields for one in _some(replace(syntax, columns=len(columns)), lines[skipped + after :], byte_encoding)]
    return Dialect(
        looks_right=len(columns) > 1 and bool(rows) and None not in rows,
        syntax=replace(syntax, columns=len(columns)), encoding=encoding, columns=columns, begin=begin + after,
        carriage_returns=carriage_returns, renamed=renamed, example=_example(lines, byte_encoding),
    )  # fmt: skip


def _holds_ascii(encoding: str) -> bool:
    """Whether a line feed, a quote and a separator are the bytes they are in ASCII, and nothing else is."""
    try:
        return 'a,;\t"\n'.encode(encoding) == b'a,;\t"\n' and not encoding.startswith(
            ("utf_7", "utf-7", "iso2022", "hz")
        )
    except (UnicodeError, LookupError):
        return False


def encoding_of(head: bytes, *, is_all: bool) -> str:
    """The encoding of a text: its byte order mark, the zeros of UTF-16, UTF-8 where it can be, else cp1252.

    A text in which only bytes are wrong that cp1252 does not use is UTF-8 with damaged rows.
    """
    for mark, name in _BOMS:
        if head.startswith(mark):
            return name
    zeros = head[0::2].count(0), head[1::2].count(0)
    if max(zeros) > len(head) // 8:
        return "utf-16-be" if zeros[0] > zeros[1] else "utf-16-le"
    try:
        codecs.getincrementaldecoder("utf-8")().decode(head, is_all)
        return "utf-8"
    except UnicodeDecodeError:
        pass
    wrong = bytearray()
    codecs.register_error("rowmill.count", lambda error: _counted(error, wrong))
    good = sum(char > "\x7f" for char in head.decode("utf-8", "rowmill.count"))
    is_damage = not set(wrong) - _NOT_TEXT
    return "utf-8" if good >= len(wrong) or is_damage else "cp1252"


def _refuse_foreign(file: InputFile, head: bytes) -> None:
    """Raises InputError for a text in an older encoding of another script. Words in Windows-1252 have a letter here and
    there beyond ASCII; in encodings of other scripts such letters follow on each other.
    """
    beyond = sum(map(len, _BEYOND_ASCII.findall(head)))
    runs = [found for found in _FOREIGN_RUN.finditer(head) if len(set(found.group())) > 2]
    if 2 * sum(len(found.group()) for found in runs) <= beyond and not _is_japanese(head):
        return
    first = runs[0] if runs else _BEYOND_ASCII.search(head)
    assert first is not None
    line = head.count(b"\n", 0, first.start()) + 1
    as_western = head[first.start() : first.start() + 16].decode("cp1252", "replace")
    raise InputError(
        f"this is not UTF-8, and as Windows-1252 its line {line} would read {as_western!r}",
        where=name_of(file),
        hint="say its encoding, as in `csv: {encoding: cp1251}` (shift_jis, gbk, big5, euc_kr, ...), or write UTF-8",
    )


def _is_japanese(head: bytes) -> bool:
    """Whether a text can be Shift JIS and has kana in it, whose second bytes are often ASCII."""
    try:
        text = codecs.getincrementaldecoder("cp932")().decode(head)
    except UnicodeDecodeError:
        return False
    return len(_KANA.findall(text)) > 1


def _counted(error: UnicodeError, wrong: bytearray) -> tuple[str, int]:
    assert isinstance(error, UnicodeDecodeError)
    wrong += error.object[error.start : error.end]
    return "", error.end


def _syntax(file: InputFile, lines: bytes, encoding: str, *, separator: str | None) -> Syntax:
    """The separator and the quotes under which most records have as many fields as the header."""
    job = file.csv
    is_tabs = separator is None and file.name.lower().removesuffix(file.suffix if file.compression else "").endswith(
        TAB_ENDINGS
    )
    if is_tabs and b"\t" in lines.partition(b"\n")[0]:
        separator = "\t"
    quote = '"' if job.quote is None else job.quote
    best = _best(separator, quote, job.escape, lines=lines, encoding=encoding)
    if not quote:
        return best
    spaced = replace(best, skips_space=True)
    sought = f"{best.separator} {quote}".encode(), f"{best.separator}{quote}".encode()
    if best.separator not in " \t" and lines.count(sought[0]) > lines.count(sought[1]):
        best = max(spaced, best, key=lambda syntax: _alike(syntax, lines, encoding)[0])
    if job.quote is not None:
        return best
    if _in_single_quotes(best, lines, encoding):
        return replace(best, quote="'")
    return (
        _best(separator, "", None, lines=lines, encoding=encoding) if _quotes_are_text(best, lines, encoding) else best
    )


def _best(separator: str | None, quote: str, escape: str | None, *, lines: bytes, encoding: str) -> Syntax:
    escapes = (escape,) if escape is not None else ("", "\\") if quote and b"\\" + quote.encode() in lines else ("",)
    tried = [
        (*_alike(found, lines, encoding), found)
        for one in escapes
        for found in (Syntax(parts, quote, one) for parts in ((separator,) if separator else SEPARATORS))
        if found.separator not in (quote, one)
    ]
    several = [one for one in tried if one[2] > 1 and one[1] >= ALIKE]
    # The first of equals: a comma before a semicolon.
    *_, best = max(several, key=lambda one: one[:3]) if several else max(tried, key=lambda one: one[0])
    return best


def _quotes_are_text(syntax: Syntax, lines: bytes, encoding: str) -> bool:
    """Whether quotes are characters of the fields: more records than one or two have them where they parse as none."""
    quote = syntax.quote.encode()
    found = [record.fields is None for record in _some(syntax, lines, encoding) if quote in record.raw]
    return found.count(True) >= QUOTES_ARE_TEXT and found.count(True) > found.count(False)


def _alike(syntax: Syntax, lines: bytes, encoding: str) -> tuple[float, float, int]:
    """Which share of the records has as many fields as the first, which share has the same number, two or more, as one
    another, and how many fields the first has.
    """
    found = list(_some(syntax, lines, encoding))
    fields = [None if one.fields is None else len(one.fields) for one in found]
    if not fields or not fields[0]:
        return 0.0, 0.0, 0
    several = Counter(count for count in fields if count is not None and count > 1)
    common = max(several.values(), default=0)
    return fields.count(fields[0]) / len(fields), common / len(fields), fields[0]


def _some(syntax: Syntax, lines: bytes, encoding: str) -> Iterator[Record]:
    for count, record in enumerate(records(io.BytesIO(lines), 0, syntax, encoding=encoding, most=len(lines))):
        if count == HEAD_RECORDS:
            return
        yield record


def _in_single_quotes(syntax: Syntax, lines: bytes, encoding: str) -> bool:
    """Whether single quotes part the fields better, or stand around every value of a column."""
    single = replace(syntax, quote="'")
    edge = re.escape(syntax.separator.encode())
    wrapped = len(re.findall(rb"(?:^|%s)'[^'\n]*'(?=%s|\r?$)" % (edge, edge), lines, re.MULTILINE))
    if wrapped <= lines.count(b'"'):
        return False
    if _alike(single, lines, encoding)[0] > _alike(syntax, lines, encoding)[0]:
        return True
    rows = [one.fields for one in _some(syntax, lines, encoding) if one.fields is not None][1:]
    columns = [[field for field in column if field] for column in zip(*rows, strict=False)]
    return any(column and all(len(one) > 1 and one[0] == one[-1] == "'" for one in column) for column in columns)


def _header(
    file: InputFile, syntax: Syntax, encoding: str, *, lines: bytes
) -> tuple[tuple[str, ...], tuple[str, ...], int]:
    """The columns' names, those that were changed, and where the first row begins behind the first line's start."""
    first = next(records(io.BytesIO(lines), 0, syntax, encoding=encoding, most=HEADER_MOST_BYTES), None)
    if first is None:
        if isinstance(file.csv.header, tuple):
            return file.csv.header, (), 0
        # A file without a byte has no rows; so has a header alone.
        return (), (), 0
    header = file.csv.header
    if first.fields is None:
        if isinstance(header, tuple):
            return header, (), 0
        raise InputError(
            f"the first line cannot be read: {first.problem}",
            where=name_of(file),
            hint="it names the columns; `csv: {separator, quote, encoding, header}` in the job says how it is written",
        )
    if isinstance(header, tuple):
        return header, (), 0
    if header is False:
        return tuple(f"column_{at}" for at in range(1, len(first.fields) + 1)), (), 0
    names, renamed = unique_names(first.fields)
    return names, renamed, first.offset + first.length


def unique_names(given: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Names for columns, each another one: one that stands again gets a number, an empty one its place.

    The second value tells what was changed, a phrase each.
    """
    names: list[str] = []
    renamed: list[str] = []
    stripped = [name.strip() for name in given]
    taken = set(stripped)
    for place, name in enumerate(stripped, 1):
        made, number = name or f"column_{place}", 2
        while made in names or (made != name and made in taken):
            made, number = f"{name or f'column_{place}'}_{number}", number + 1
        if made != name:
            renamed.append(f"column {place}{f' {name!r}' if name else ''} is {made}")
        names.append(made)
    return tuple(names), tuple(renamed)


def _example(lines: bytes, encoding: str) -> str | None:
    """The first word that is not in ASCII, by which people see whether the encoding is right."""
    found = re.search(rb"[^\x00-\x7f]", lines)
    if found is None:
        return None
    text = lines[max(0, found.start() - 64) : found.start() + 64].decode(encoding, "ignore")
    word = re.search(r"\w*[^\x00-\x7f]\w*", text)
    return word.group()[:24] if word else None

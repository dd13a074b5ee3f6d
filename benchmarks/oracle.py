"""Oracle: estimated tokens against Gemma's own tokenizer, on texts that the fit never saw, fetched by `make oracle`."""

from __future__ import annotations

import json
import random
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

from benchmarks.measure import ROOT
from benchmarks.token_texts import UNSEEN, kinds
from rowmill.tasks.forecast.tokens import by_script

TOKENIZER = ROOT / ".bench" / "gemma" / "package" / "models" / "tokenizer.json"
COUNTS = ROOT / "tests" / "forecast" / "token_counts.json"
TEXTS_EACH = 200
OBSERVED, DRAWS, NEAR = 10, 100, 0.05
# What the tests keep of each kind: so many texts of so many bytes; and rows of the kinds that the fit misses most.
KEPT_TEXTS, KEPT_BYTES = 12, 115
MISSED = ("guarani", "mongolian", "pashto")
MISSED_TEXTS, MISSED_BYTES = 30, 450
SEED = 20


@dataclass(slots=True)
class Kind:
    """What was found of one kind of text, by source."""

    errors: dict[str, float] = field(default_factory=dict)
    near: list[bool] = field(default_factory=list)
    quarters: list[float] = field(default_factory=list)


def counter() -> Callable[[list[str]], list[int]]:
    """The tokenizer's counts of many texts."""
    from tokenizers import Tokenizer

    tokenizer = Tokenizer.from_file(str(TOKENIZER))
    return lambda texts: [len(one.ids) for one in tokenizer.encode_batch(texts, add_special_tokens=False)]


def main() -> None:
    """The tables of docs/forecast.md; ends with 1 where a count in the tests is not the tokenizer's."""
    count = counter()
    for name, texts in json.loads(COUNTS.read_text()).items():
        if count([text for text, _ in texts]) != [told for _, told in texts]:
            raise SystemExit(f"{name}: the counts in {COUNTS.name} are not this tokenizer's")
    found = _measured(count)
    for title, names in (("text", [name for name in found if name not in UNSEEN]), ("unseen", list(UNSEEN))):
        print(f"| {title} | estimated | worst source | within 5 % after ten rows | characters / 4 |")
        print("| --- | --- | --- | --- | --- |")
        for name in names:
            kind = found[name]
            worst = max(kind.errors, key=lambda source: abs(kind.errors[source]))
            print(
                f"| {name} | {np.mean(list(kind.errors.values())):+.1%} | {kind.errors[worst]:+.0%} {worst} "
                f"| {np.mean(kind.near):.0%} | {np.mean(kind.quarters):+.0%} |"
            )
        errors = np.array([error for name in names for error in found[name].errors.values()])
        whole = np.array([np.mean(list(found[name].errors.values())) for name in names])
        near = np.mean([one for name in names for one in found[name].near])
        print(
            f"\n{len(names)} kinds: {np.sum(abs(whole) <= 0.15)} within 15 %; {len(errors)} sources: "
            f"{np.sum(abs(errors) <= 0.15)} within 15 %, on average {np.mean(abs(errors)):.1%} off; "
            f"after ten rows within 5 % in {near:.0%} of draws\n"
        )


def _measured(count: Callable[[list[str]], list[int]]) -> dict[str, Kind]:
    found: dict[str, Kind] = defaultdict(Kind)
    rng = np.random.default_rng(SEED)
    for name, source, texts in kinds(held_out=True, many=TEXTS_EACH):
        real = np.array(count(texts), float)
        estimated = np.array([by_script(text) for text in texts])
        kind = found[name]
        kind.errors[source] = estimated.sum() / real.sum() - 1
        kind.quarters.append(sum(map(len, texts)) / 4 / real.sum() - 1)
        for _ in range(DRAWS):
            seen = np.zeros(len(texts), bool)
            seen[rng.choice(len(texts), OBSERVED, replace=False)] = True
            ratio = real[seen].sum() / estimated[seen].sum()
            kind.near.append(bool(abs(ratio * estimated[~seen].sum() / real[~seen].sum() - 1) <= NEAR))
    return found


def fit() -> None:
    """Fits the costs anew and keeps a few held-out texts with their counts for the tests."""
    from benchmarks import token_fit

    count = counter()
    token_fit.write(token_fit.fit(count))
    store(count)


def store(count: Callable[[list[str]], list[int]]) -> None:
    """The tests' texts: of each kind that the fit knows, from its sources in turn, and of three that it misses."""
    pools: dict[str, list[list[str]]] = defaultdict(list)
    for name, source, texts in kinds(held_out=True, many=TEXTS_EACH):
        if (name not in UNSEEN or name in MISSED) and source != "letters":
            pools[name].append(texts)
    kept = {}
    for name, sources in pools.items():
        rng = random.Random(name)
        many, room = (MISSED_TEXTS, MISSED_BYTES) if name in MISSED else (KEPT_TEXTS, KEPT_BYTES)
        drawn = (rng.choice(sources[number % len(sources)]) for number in range(many))
        texts = [text.encode()[:room].decode(errors="ignore").strip() for text in drawn]
        kept[name] = [[text, told] for text, told in zip(texts, count(texts), strict=True)]
    COUNTS.write_text(json.dumps(kept, ensure_ascii=False, indent=0, separators=(",", ":")) + "\n")

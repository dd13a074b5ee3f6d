"""Oracle: the estimated tokens of the tests' texts against Gemma's own tokenizer, fetched by `make oracle`."""

from __future__ import annotations

import json

from benchmarks.measure import ROOT
from rowmill.tasks.forecast.tokens import by_script, by_tokenizer

TOKENIZER = ROOT / ".bench" / "gemma" / "package" / "models" / "tokenizer.json"
COUNTS = ROOT / "tests" / "forecast" / "token_counts.json"
OBSERVED = 10


def main() -> None:
    """The table of docs/forecast.md; ends with 1 where a count in the tests is not the tokenizer's."""
    count = by_tokenizer(TOKENIZER)
    for name, texts in json.loads(COUNTS.read_text()).items():
        if any(count(text) != told for text, told in texts):
            raise SystemExit(f"{name}: the counts in {COUNTS.name} are not this tokenizer's")
        estimated, real = [by_script(text) for text, _ in texts], [told for _, told in texts]
        ratio = sum(real[:OBSERVED]) / sum(estimated[:OBSERVED])
        after = ratio * sum(estimated[OBSERVED:]) / sum(real[OBSERVED:]) - 1
        quarter = sum(len(text) for text, _ in texts) / 4 / sum(real) - 1
        print(f"| {name} | {sum(estimated) / sum(real) - 1:+.1%} | {after:+.1%} | {quarter:+.0%} |")

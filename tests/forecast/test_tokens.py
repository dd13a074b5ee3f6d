"""Estimated token counts, held against a real tokenizer's."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rowmill.tasks.forecast.tokens import by_script, by_tokenizer

COUNTS = json.loads(Path(__file__).with_name("token_counts.json").read_text())


@pytest.mark.parametrize("name", COUNTS)
def test_tokens_by_script_are_near_a_real_tokenizers(name):
    """On each of two dozen kinds of text the estimate is within 15 % of what Gemma's tokenizer counts."""
    texts = COUNTS[name]
    estimated, counted = sum(by_script(text) for text, _ in texts), sum(count for _, count in texts)
    assert estimated == pytest.approx(counted, rel=0.15)


@pytest.mark.parametrize("name", COUNTS)
def test_ten_observed_rows_correct_the_rest(name):
    """With the ratio that ten rows showed, the others of their kind are within 5 %, or 10 % of short mixed ones."""
    texts = COUNTS[name]
    seen, rest = texts[:10], texts[10:]
    ratio = sum(count for _, count in seen) / sum(by_script(text) for text, _ in seen)
    estimated = ratio * sum(by_script(text) for text, _ in rest)
    assert estimated == pytest.approx(sum(count for _, count in rest), rel=0.10)


def test_an_empty_text_has_no_tokens_and_lone_surrogates_do_no_harm():
    """Any text has a number of tokens."""
    assert by_script("") == 0
    assert by_script("a\ud800b") > 0


def test_a_tokenizer_of_the_users_own_counts_exactly(tmp_path):
    """A file in the tokenizers package's format is used as it stands."""
    tokenizers = pytest.importorskip("tokenizers")
    made = tokenizers.Tokenizer(tokenizers.models.WordLevel({"a": 0, "b": 1, "[UNK]": 2}, unk_token="[UNK]"))
    made.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    made.save(str(tmp_path / "tokenizer.json"))
    assert by_tokenizer(tmp_path / "tokenizer.json")("a b a") == 3

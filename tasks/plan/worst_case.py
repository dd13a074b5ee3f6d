"""Worst case: the most that one call can use and cost, read from the body that is sent. Pure.

Every field that can make a call dearer stands in its protocol's table (`chat_demands`, `generate_demands`). What stands
in none has no known bound: under a cap such a body is refused before it is sent.
"""

from __future__ import annotations

from typing import Any, NamedTuple

from rowmill.schemas.catalogue import Model
from rowmill.schemas.media_tokens import MEDIA_MOST
from rowmill.tasks.gateway.protocols.demands import Demands, words
from rowmill.tasks.gateway.protocols.registry import PROTOCOLS

ANSWERS_MOST = 128


class WorstCase(NamedTuple):
    """The most tokens that a call may be billed for, and their price in 10⁻¹² USD (0 where the price is unknown)."""

    input_tokens: int
    output_tokens: int
    usd: int

    @property
    def tokens(self) -> int:
        return self.input_tokens + self.output_tokens


def worst_case(
    model: Model, body: dict[str, Any], size: int, *, output_tokens: int | None = None, media_most: int = 0
) -> WorstCase:
    """Worst case of a body that takes `size` bytes on the wire.

    No token is shorter than a byte. What a search, an address or a cached content brings along may fill the context
    window. Thoughts count within the limit of the answer (Google's `maxOutputTokens`); a thinking budget of the body's
    own is added to it. `output_tokens` stands in for the body's limit. `media_most` is what its media count for at the
    most, where they were looked at: a document of many pages takes few bytes.
    """
    demands = PROTOCOLS[model.protocol].demands(body)
    window = model.context_window
    input_tokens = window if demands.fills_window else min(size + max(MEDIA_MOST * demands.media, media_most), window)
    limit = output_tokens or _largest_limit(demands, model)
    for _, budget in demands.thinking:
        limit += _thinking_tokens(budget, model)
    answers = 1
    for _, count in demands.answers:
        answers = max(answers, count if _is_count(count) else 1)
    used_input, used_output, price = answers * input_tokens, answers * limit, model.price
    usd = price.most_usd(used_input, used_output) if price else 0
    return WorstCase(used_input, used_output, usd)


def refusal(model: Model, body: dict[str, Any], *, capped: bool) -> str | None:
    """Why a body must not be sent, naming the field; None where it may.

    A limit or a number of answers that is no positive whole number is always refused. Under a cap so is more than one
    answer, and each field whose cost has no known bound.
    """
    demands = PROTOCOLS[model.protocol].demands(body)
    for path, limit in demands.limits:
        name = words(path)
        if not _is_count(limit):
            return f"{name} must be a whole number above 0, not {limit!r}"
        if limit > model.max_output_tokens:
            return f"{name} is {limit:,}, and {model.name} gives at most {model.max_output_tokens:,} output tokens"
    for path, count in demands.answers:
        name = words(path)
        if not _is_count(count):
            return f"{name} must be a whole number above 0, not {count!r}"
        if count > ANSWERS_MOST:
            return f"{name} asks for {count:,} answers; at most {ANSWERS_MOST} are sent for"
        if count > 1 and capped:
            return f"{name} asks for {count:,} answers, which are all billed and of which one is kept: drop it"
    for path, budget in demands.thinking:
        name = words(path)
        if not (_is_whole(budget) and -1 <= budget <= model.context_window):
            return f"{name} must be a whole number of tokens, not {budget!r}"
    if capped and demands.unknown:
        name = words(demands.unknown[0])
        return f"what {name} costs at most is not known, so the cap could be passed: drop it or the cap"
    return None


def _is_whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: Any) -> bool:
    return _is_whole(value) and value > 0


def _largest_limit(demands: Demands, model: Model) -> int:
    """The largest of several limits, since nobody knows which one is obeyed."""
    limits = [limit for _, limit in demands.limits if _is_count(limit)]
    return max(limits) if limits and len(limits) == len(demands.limits) else model.max_output_tokens


def _thinking_tokens(budget: Any, model: Model) -> int:
    return budget if _is_whole(budget) and budget >= 0 else model.max_output_tokens

"""Usage is split as each provider means it."""

from __future__ import annotations

import pytest

from rowmill.schemas.usage import Usage, split_usage
from rowmill.tasks.gateway.protocols.chat_answers import usage as chat_usage
from rowmill.tasks.gateway.protocols.generated_answers import usage as generated_usage


@pytest.mark.parametrize(
    ("prompt", "completion", "thoughts", "total", "inside", "expected"),
    [
        (12, 18, 55, 85, False, Usage(12, 18, 55)),  # the Flash page's example: beside
        (12, 86, 0, 98, True, Usage(12, 86, 0)),  # the Pro page's example
        (12, 86, 50, 98, True, Usage(12, 36, 50)),  # inside the completion, as OpenAI defines it
        (12, 86, 50, 148, True, Usage(12, 86, 50)),  # beside, told by the total, against the protocol's definition
        (12, 73, 55, 85, False, Usage(12, 18, 55)),  # inside, told by the total, against the protocol's definition
        (12, 86, 0, 150, True, Usage(12, 86, 52)),  # reasoning that only the total holds
        (12, 86, 50, None, True, Usage(12, 36, 50)),  # no total: the protocol's definition
        (12, 18, 55, None, False, Usage(12, 18, 55)),
        (12, 18, 55, None, True, Usage(12, 18, 55)),  # more thoughts than completion cannot be inside
        (12, 0, 0, 12, False, Usage(12, 0, 0)),  # a blocked prompt
    ],
)
def test_thoughts_inside_or_beside_the_completion(prompt, completion, thoughts, total, inside, expected):
    """Thoughts are counted once, wherever the provider's usage puts them."""
    assert split_usage(prompt, completion, thoughts, total=total, inside=inside) == expected


@pytest.mark.parametrize(
    ("read", "counts", "expected"),
    [
        (
            chat_usage,
            {"prompt_tokens": 100, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 60}},
            Usage(100, 5, 0, 60),
        ),
        (
            generated_usage,
            {"promptTokenCount": 100, "candidatesTokenCount": 5, "cachedContentTokenCount": 60},
            Usage(100, 5, 0, 60),
        ),
        (
            chat_usage,
            {"prompt_tokens": 3, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 60}},
            Usage(3, 5),
        ),
        (
            chat_usage,
            {"prompt_tokens": 3, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": "many"}},
            None,
        ),
    ],
)
def test_cached_tokens_are_a_part_of_the_input(read, counts, expected):
    """They are read where each protocol tells them; more than the prompt has are none of it; nonsense is unknown."""
    assert read(counts) == expected

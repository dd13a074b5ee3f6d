"""Python words: messages that name flags of the command line, said to somebody who calls rowmill from Python."""

from __future__ import annotations

import re

from rowmill.schemas.callers_frames import leave_out_ours
from rowmill.schemas.errors import RowmillError

# Each flag that a message may name, the more specific first, and what stands for it in Python. What has no keyword
# there is named as the command that has it.
_WORDS: tuple[tuple[re.Pattern[str], str], ...] = tuple(
    (re.compile(rf"{flag}(?![-\w])"), word)
    for flag, word in (
        (
            "`input` is relative to the job file, -i to the working directory",
            "`input` is relative to the working directory, or to the job file that was loaded",
        ),
        ("rowmill estimate --pilot auto", 'rowmill.estimate(job, pilot="auto")'),
        ("--pilot auto", 'pilot="auto"'),
        ("--pilot", "pilot="),
        ("(?<!JOB )--fresh-part", "rowmill run JOB --fresh-part"),
        ("--fresh", "fresh=True"),
        ("--retry-failed", 'retry_failed="any"'),
        ("--max-run-cost", "max_run_cost_usd"),
        ("it with --max-cost", "max_cost_usd"),
        ("--max-cost", "max_cost_usd"),
        ("--sandbox", "sandbox=True"),
        ("--limit", "limit="),
        ("--gold-by NAME", 'gold_by="NAME"'),
        ("--gold-by", "gold_by="),
        ("--gold FILE", 'gold="FILE"'),
        ("--gold", "gold="),
        ("--catalogue", "catalogue="),
        ("(?<=[Rr])un the same command again", "un it again"),
    )
)


def in_python(text: str) -> str:
    """The same message with flags as the keywords that stand for them."""
    for flag, word in _WORDS:
        text = flag.sub(word, text)
    return text


class ToldInPython:
    """Errors raised inside say what to do in Python's words, and where they were met without rowmill's own frames."""

    def __enter__(self) -> None:
        return

    def __exit__(self, _: object, error: BaseException | None, __: object) -> None:
        if isinstance(error, RowmillError):
            # `where` is a flag or a place of the user's own; what happened is told in no one's words.
            if error.where.startswith("--"):
                error.where = error.where.removeprefix("--").replace("-", "_")
            error.hint = in_python(error.hint)
            leave_out_ours(error)

"""Pack sizes: which number of rows in a call gold rows show to be no worse than one, by a paired test."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import NormalDist

import msgspec

from rowmill.schemas.display_text import counted
from rowmill.schemas.pack_trial import PackDecision, PackTrial
from rowmill.tasks.labelling.scored_rows import Scored, measure
from rowmill.tasks.output.manifest_file import read_manifest
from rowmill.tasks.system.durable import write_file

SIZES = (1, 5, 10, 20)
# So much less often right is no worse; the test's chance to call what is worse than that no worse is 5 %.
MARGIN = 0.05
Z_ONE_SIDED = NormalDist().inv_cdf(0.95)
# With fewer gold rows nothing is shown; with more, nothing that matters.
ROWS_LEAST, ROWS_MOST = 40, 200
DECISION = "pack_size.json"


def worse_by(alone: Mapping[int, Scored], together: Mapping[int, Scored]) -> float | None:
    """How much less often rows are right together than alone, at the most (one-sided 95 %); None for too few rows."""
    differences = [alone[row].right - together[row].right for row in alone.keys() & together.keys()]
    count = len(differences)
    if count < ROWS_LEAST:
        return None
    mean = sum(differences) / count
    # One row more that differs than were seen: rows that all agree do not show that none ever would differ.
    spread = sum((one - mean) ** 2 for one in differences) + 1
    return mean + Z_ONE_SIDED * math.sqrt(spread) / count


def trial_of(size: int, alone: Mapping[int, Scored], together: Mapping[int, Scored]) -> PackTrial:
    """What the gold rows say of a size."""
    told = measure(list(together.values()))
    worst = 0.0 if size == 1 else worse_by(alone, together)
    is_no_worse = worst is not None and worst < MARGIN
    return PackTrial(size, told.rows, told.accuracy, told.usd_per_1000_rows, worst, is_no_worse)


def decide(job: str, trials: Sequence[PackTrial]) -> PackDecision:
    """The largest size that is no worse. Sizes were tried in order until one was not, so that no trial counts twice."""
    chosen = max((one.rows_per_call for one in trials if one.is_no_worse), default=1)
    if trials and trials[0].rows < ROWS_LEAST:
        reason = f"{trials[0].rows} gold rows show nothing: {ROWS_LEAST} would be the fewest"
    elif chosen == 1:
        reason = "no number of rows in a call was shown to be no worse than one"
    else:
        [alone, *_], best = trials, next(one for one in trials if one.rows_per_call == chosen)
        reason = (
            f"{best.accuracy:.1%} right of {counted(best.rows, 'gold row')}, {alone.accuracy:.1%} with one row "
            f"a call: worse by "
            f"less than {MARGIN:.0%} (95 % sure)"
        )
        if best.usd_per_1000_rows and alone.usd_per_1000_rows:
            reason += f", for {best.usd_per_1000_rows / alone.usd_per_1000_rows:.0%} of the price"
    return PackDecision(job, chosen, MARGIN, reason, list(trials))


def read_decision(output: Path, job: str) -> PackDecision | None:
    """What was decided for this job in this output, by trials or by the run that began it."""
    try:
        found = msgspec.json.decode((output / DECISION).read_bytes(), type=PackDecision)
    except (OSError, msgspec.MsgspecError):
        found = None
    return found if found is not None and found.job == job else None


def begun_with(output: Path) -> int | None:
    """How many rows shared a call in the run that an output holds; None where it holds none, or tells only of trials
    before it.
    """
    manifest = read_manifest(output)
    if manifest is None or not manifest.is_begun:
        return None
    told = manifest.job.get("rows_per_call", 1)
    return told if isinstance(told, int) else 1


def write_decision(output: Path, decision: PackDecision) -> None:
    """Keep it beside the results: a later run goes on with it. Raises StorageError."""
    write_file(output / DECISION, msgspec.json.format(msgspec.json.encode(decision), indent=1))

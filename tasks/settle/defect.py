"""Defect: a fault of rowmill's own that one row meets. It costs this row; its neighbours go on."""

from __future__ import annotations

import logging
import traceback
from pathlib import Path

from rowmill.schemas.attempt import Failure, FailureKind
from rowmill.schemas.errors import InputError
from rowmill.schemas.outcome import Outcome, Status
from rowmill.schemas.request import Request
from rowmill.schemas.row import Row
from rowmill.tasks.plan.planner import Planner

log = logging.getLogger("rowmill")


def defect(error: Exception, row_id: str) -> Failure:
    """The failure that an unexpected error is. It is named by its place: its words could hold what the row holds."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    place = f"{type(error).__name__} at {Path(frame.filename).name}:{frame.lineno}"
    log.error("row %s met a defect of rowmill (%s): please report it", row_id, place)
    log.debug("the defect in full", exc_info=error)
    return Failure(FailureKind.DEFECT, f"a defect of rowmill: {place}")


def plan_row(planner: Planner, row: Row, run_id: str) -> Request | Outcome:
    """The row's plan, or its outcome where planning it met a defect. Raises InputError."""
    try:
        return planner.plan(row)
    except InputError:
        # What the row needs cannot be had now, and that is not the row's fault.
        raise
    except Exception as error:
        failure = defect(error, row.row_id)
        return Outcome(
            row.row_id,
            row.index,
            Status.FAILED,
            error_kind=failure.kind.value,
            error_message=failure.message,
            failures={failure.kind.value: 1},
            run_id=run_id,
        )

"""Callers' frames: of a traceback the frames of who called rowmill, without those of rowmill itself."""

from __future__ import annotations

import sys
import traceback
from types import TracebackType

PACKAGE = __name__.partition(".")[0]


def callers_frames(frames: TracebackType | None) -> TracebackType | None:
    """The frames up to where rowmill was called; all of them where nobody called it from without."""
    outside = []
    here = frames
    while here is not None and not _is_ours(here):
        outside.append(here)
        here = here.tb_next
    found: TracebackType | None = None
    for one in reversed(outside):
        found = TracebackType(found, one.tb_frame, one.tb_lasti, one.tb_lineno)
    return found or frames


def _is_ours(frame: TracebackType) -> bool:
    name = str(frame.tb_frame.f_globals.get("__name__", ""))
    return name == PACKAGE or name.startswith(PACKAGE + ".")


def shown_in_a_notebook(error: BaseException) -> list[str]:
    """What IPython shows of an error: where it was met in the user's own cells, and what it says.

    An error that another one lies beneath is shown whole: it may be a defect.
    """
    frames = error.__traceback__ if _lies_on_another(error) else callers_frames(error.__traceback__)
    ipython = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    if shell is None:
        return "".join(traceback.format_exception(type(error), error, frames)).splitlines()
    shown: list[str] = shell.InteractiveTB.structured_traceback(
        type(error), error, frames, tb_offset=shell.InteractiveTB.tb_offset
    )
    return shown


def _lies_on_another(error: BaseException) -> bool:
    return error.__cause__ is not None or (error.__context__ is not None and not error.__suppress_context__)


def leave_out_ours(error: BaseException) -> None:
    """Forget the frames that an error has passed so far, so that it begins where it is raised on. One that another
    lies beneath keeps them.
    """
    if not _lies_on_another(error):
        error.__traceback__ = None

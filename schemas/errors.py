"""Errors a user can cause. Each tells what happened, where, and what to do; the command line shows one line."""

from __future__ import annotations

from enum import IntEnum

from rowmill.schemas.callers_frames import shown_in_a_notebook
from rowmill.schemas.display_text import one_line


class ExitCode(IntEnum):
    """Exit codes of every command (see the README)."""

    OK = 0
    DEFECT = 1
    REFUSED = 2
    ROWS_NOT_OK = 3
    MONEY = 4
    GATEWAY_REFUSES = 5
    OUTAGE = 6
    INTERRUPTED = 130


class RowmillError(Exception):
    """What happened, where, and what to do: all three are asked for. Never a traceback for a user's mistake."""

    exit_code = ExitCode.REFUSED

    def __init__(self, what: str, *, where: str, hint: str) -> None:
        self.what, self.where, self.hint = what, where, hint
        super().__init__(what)

    def __str__(self) -> str:
        place = f"{self.where}: " if self.where else ""
        end = "" if self.what.endswith(("?", "!", ".")) else "."
        way_out = f"{end} {self.hint[0].upper()}{self.hint[1:]}" if self.hint else ""
        return one_line(f"{place}{self.what}{way_out}")

    def _render_traceback_(self) -> list[str]:
        """What IPython shows in place of a traceback: the cell and the message, and no line of rowmill's own."""
        return shown_in_a_notebook(self)

    def __reduce__(self) -> tuple[object, ...]:
        return _rebuild, (type(self), self.what, self.where, self.hint)


def _rebuild(kind: type[RowmillError], what: str, where: str, *, hint: str) -> RowmillError:
    return kind(what, where=where, hint=hint)


class JobError(RowmillError):
    """The job file or a flag is wrong, or asks for an impossible combination."""


class BudgetError(RowmillError):
    """A forecast or a pilot met a limit of money before the run began."""

    exit_code = ExitCode.MONEY


class CatalogueError(RowmillError):
    """A catalogue of models and prices is wrong, or does not know the model."""


class SchemaError(RowmillError):
    """The job's JSON Schema is missing or is no schema."""


class InputError(RowmillError):
    """The input as a whole cannot be used (a single bad line is no error: its row is `unreadable`)."""


class OutputError(RowmillError):
    """The output folder cannot be used, belongs to another job, or is in use."""


class DamageError(RowmillError):
    """A file that rowmill wrote was changed or cut by something else; nothing is guessed."""


class StorageError(RowmillError):
    """The disk refused a write or a sync. What was acknowledged before stands."""


def first_line(error: BaseException) -> str:
    """The beginning of what another library's error says, or its kind where it says nothing."""
    return (str(error).strip().splitlines() or [""])[0][:300] or type(error).__name__

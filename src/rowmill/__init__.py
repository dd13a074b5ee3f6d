"""Ask a language model about every row of a file: once, with an answer of a fixed shape, within a budget.

The public API. Names are imported when they are first used, so `import rowmill` costs nothing; importing rowmill
changes no environment variable and no setting of Prefect's.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rowmill.flows.api import Job as Job
    from rowmill.flows.api import estimate as estimate
    from rowmill.flows.api import estimate_async as estimate_async
    from rowmill.flows.api import run as run
    from rowmill.flows.api import run_async as run_async
    from rowmill.flows.dataframe import extract as extract
    from rowmill.flows.dataframe import extract_async as extract_async
    from rowmill.flows.dataframe import label as label
    from rowmill.flows.dataframe import label_async as label_async
    from rowmill.flows.orchestration.approval import Bill as Bill
    from rowmill.flows.result import Result as Result
    from rowmill.flows.result import Stopped as Stopped
    from rowmill.schemas.errors import RowmillError as RowmillError

    __version__: str

_HOMES = {
    "Bill": "rowmill.flows.orchestration.approval",
    "Job": "rowmill.flows.api",
    "Result": "rowmill.flows.result",
    "RowmillError": "rowmill.schemas.errors",
    "Stopped": "rowmill.flows.result",
    "estimate": "rowmill.flows.api",
    "estimate_async": "rowmill.flows.api",
    "extract": "rowmill.flows.dataframe",
    "extract_async": "rowmill.flows.dataframe",
    "label": "rowmill.flows.dataframe",
    "label_async": "rowmill.flows.dataframe",
    "run": "rowmill.flows.api",
    "run_async": "rowmill.flows.api",
}
__all__ = [
    "Bill",
    "Job",
    "Result",
    "RowmillError",
    "Stopped",
    "__version__",
    "estimate",
    "estimate_async",
    "extract",
    "extract_async",
    "label",
    "label_async",
    "run",
    "run_async",
]


def __getattr__(name: str) -> Any:
    if name == "__version__":
        return _version()
    if (home := _HOMES.get(name)) is None:
        raise AttributeError(f"module 'rowmill' has no attribute {name!r}")
    return getattr(import_module(home), name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _version() -> str:
    """The installed distribution's version; `unknown` in a checkout that is not installed."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("rowmill")
    except PackageNotFoundError:
        return "unknown"

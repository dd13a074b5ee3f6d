"""Ask a language model about every row of a file: once, with an answer of a fixed shape, within a budget.

The public API. Names are imported when they are first used, so `import rowmill` costs nothing; importing rowmill
changes no environment variable and no setting of Prefect's.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rowmill.schemas.errors import RowmillError as RowmillError
    from rowmill.schemas.job import Job as Job

    __version__: str

_HOMES = {
    "Job": "rowmill.schemas.job",
    "RowmillError": "rowmill.schemas.errors",
}
__all__ = ["Job", "RowmillError", "__version__"]


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

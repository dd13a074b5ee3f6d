"""Variables: keys of a job whose values people keep in Prefect, such as caps."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prefect.variables import Variable

from rowmill.schemas.errors import JobError


async def with_variables(
    overrides: Mapping[str, Any] | None, variables: Mapping[str, str] | None
) -> Mapping[str, Any] | None:
    """Overrides of a job file and, over them, the values of Prefect Variables: key of the job → name of the Variable.

    They are read when the run starts. Raises JobError for a Variable that is not there.
    """
    if not variables:
        return overrides
    values = dict(overrides or {})
    for key, name in variables.items():
        value = await Variable.aget(name)
        if value is None:
            raise JobError(
                f"there is no Prefect Variable {name!r} for {key}",
                where="variables",
                hint=f"prefect variable set {name} VALUE",
            )
        values[key] = value
    return values

"""Gateway access: where a run in this process calls, and with which key: the environment's, a Secret block's, or a
sandbox's that lives as long as the run.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import AsyncIterator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from rowmill.schemas.catalogue import Model, builtin_catalogue, find_model
from rowmill.schemas.errors import JobError
from rowmill.schemas.job import Job
from rowmill.tasks.gateway.credentials import SANDBOX_KEY, Gateway, gateway_from
from rowmill.tasks.job.job_file import catalogue_of

if TYPE_CHECKING:
    from rowmill.sandbox.settings import Settings


@asynccontextmanager
async def open_gateway(job: Job, *, sandbox: bool, known: Gateway | None = None) -> AsyncIterator[Gateway]:
    """Address and key for a run, unless they are known; `sandbox` starts one, and ends it with the block.

    Raises JobError without a key.
    """
    if known is not None:
        yield known
        return

    stack = ExitStack()
    try:
        # A sandbox takes a second to start, and half of one to end: others on this event loop go on meanwhile.
        gateway = await asyncio.to_thread(stack.enter_context, gateway_for(job, sandbox=sandbox, settings=None))
        yield gateway or await gateway_of(job)
    finally:
        await asyncio.to_thread(stack.close)


@contextmanager
def gateway_for(job: Job, *, sandbox: bool, settings: str | None) -> Iterator[Gateway | None]:
    """Address and key; None if only a block of the job's knows them. A sandbox lives as long as its run.

    Raises JobError for sandbox settings that cannot be read.
    """
    if sandbox:
        from rowmill.sandbox.process import spawn

        with spawn(_with_own_models(_sandbox_settings(settings), job)) as running:
            catalogue, redis_url = (os.environ.get(name) for name in ("ROWMILL_CATALOGUE", "ROWMILL_REDIS_URL"))
            yield Gateway(running.base_url, SANDBOX_KEY, catalogue, redis_url)
    elif job.gateway_block is not None:
        yield None
    elif not needs_key(job):
        yield gateway_from(os.environ, needs_key=False)
    elif job.api_key_block and not os.environ.get("ROWMILL_API_KEY"):
        yield None
    else:
        yield gateway_from(os.environ)


def needs_key(job: Job) -> bool:
    """Whether any model that the job may ask is on a server that asks for a key. Raises CatalogueError."""
    return any(model.auth != "none" for model in _models_of(job))


def _models_of(job: Job) -> list[Model]:
    catalogue = catalogue_of(job, os.environ.get("ROWMILL_CATALOGUE"))
    stronger = job.label.escalate.model if job.label is not None and job.label.escalate is not None else None
    return [find_model(name, catalogue) for name in (job.model, stronger) if name is not None]


def _with_own_models(settings: Settings, job: Job) -> Settings:
    """The sandbox also plays the models of the user's own catalogue."""
    own = {model.wire_name: model.protocol for model in _models_of(job) if model.name not in builtin_catalogue()}
    return replace(settings, models={**own, **settings.models})


def _sandbox_settings(file: str | None) -> Settings:
    from rowmill.sandbox.settings import Settings, changed

    if file is None:
        return Settings()
    try:
        return changed(Settings(), json.loads(Path(file).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError) as error:
        raise JobError(
            f"not the settings of a sandbox: {error}", where=file, hint="see rowmill sandbox --help"
        ) from None


async def gateway_of(job: Job) -> Gateway:
    """Address and key: those of the block that the job names (`gateway_block`), both together; else the environment's,
    whose key may come from a Secret block. Raises JobError for neither.
    """
    if job.gateway_block is not None:
        return await _of_block(job.gateway_block)
    if not needs_key(job):
        return gateway_from(os.environ, needs_key=False)
    if job.api_key_block and not os.environ.get("ROWMILL_API_KEY"):
        from prefect.blocks.system import Secret

        try:
            secret: Secret[str] = await Secret.aload(job.api_key_block)
        except ValueError:
            raise JobError(
                f"there is no Secret block {job.api_key_block!r}",
                where="api_key_block",
                hint="create it in Prefect, or set ROWMILL_API_KEY",
            ) from None
        return gateway_from({**os.environ, "ROWMILL_API_KEY": str(secret.get())})
    return gateway_from(os.environ)


async def _of_block(name: str) -> Gateway:
    from rowmill.flows.gateway_block import RowmillGateway

    try:
        block: RowmillGateway = await RowmillGateway.aload(name)
    except ValueError:
        raise JobError(
            f"there is no block {name!r} of the type Rowmill Gateway",
            where="gateway_block",
            hint="prefect block register --module rowmill.flows.gateway_block, then prefect block create "
            "rowmill-gateway",
        ) from None
    try:
        return block.gateway()
    except JobError as error:
        raise JobError(error.what, where=f"gateway_block {name}", hint="mend the block in Prefect") from None

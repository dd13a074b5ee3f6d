"""Gateway access: where a run in this process calls, and with which key: the environment's, a Secret block's, or a
sandbox's that lives as long as the run.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager

from rowmill.schemas.errors import JobError
from rowmill.schemas.job import Job
from rowmill.tasks.gateway.credentials import Gateway, gateway_from


@asynccontextmanager
async def open_gateway(job: Job, *, sandbox: bool, known: Gateway | None = None) -> AsyncIterator[Gateway]:
    """Address and key for a run, unless they are known; `sandbox` starts one, and ends it with the block.

    Raises JobError without a key.
    """
    from rowmill.flows.commands.run import gateway_for

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


async def gateway_of(job: Job) -> Gateway:
    """Address and key: those of the block that the job names (`gateway_block`), both together; else the environment's,
    whose key may come from a Secret block. Raises JobError for neither.
    """
    from rowmill.flows.commands.run import needs_key

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

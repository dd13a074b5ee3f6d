"""Asset: the output of a run as Prefect knows data: what it is, how many rows it has, and what it cost."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any
from urllib.parse import quote

import httpx
from prefect.assets import Asset, AssetProperties, materialize
from prefect.cache_policies import NO_CACHE
from prefect.exceptions import PrefectException

from rowmill.schemas.display_text import one_line
from rowmill.schemas.manifest import Manifest

KEY_MOST = 512
log = logging.getLogger("rowmill")


def asset_key(output: str) -> str:
    """The address of an output as an asset's key: s3://bucket/folder, or file:///folder."""
    address = output if "://" in output else f"file://{Path(output).absolute().as_posix()}"
    scheme, _, rest = address.partition("://")
    # Prefect takes neither % nor what it stands for.
    return f"{scheme}://{quote(rest, safe='/:.@+~').replace('%', '_')}"[:KEY_MOST]


async def materialize_output(manifest: Manifest, output: str) -> None:
    """Tell Prefect that this output was written, by a task run of that name. A refusal is a warning and no more."""
    asset = Asset(
        key=asset_key(output),
        properties=AssetProperties(
            name=one_line(manifest.name), description=f"Rows answered by {manifest.model}, written by rowmill"
        ),
    )

    @materialize(
        asset,
        by="rowmill",
        name="write-output",
        task_run_name="output",
        retries=0,
        persist_result=False,
        cache_policy=NO_CACHE,
    )
    async def write_output() -> None:
        asset.add_metadata(asset_metadata(manifest))

    try:
        await write_output()
    except (PrefectException, httpx.HTTPError, OSError, ValueError) as error:
        log.warning("Prefect took no asset: %s", error)


def asset_metadata(manifest: Manifest) -> dict[str, Any]:
    """What stands beside the asset: rows by status, cost, and how the run ended."""
    totals = manifest.totals
    return {
        "rows": manifest.ledger.by_name(),
        "cost_usd": totals.cost_usd,
        "cost_beside_usd": manifest.beside.cost_usd,
        "calls": totals.calls,
        "model": manifest.model,
        "run_id": manifest.run_id,
        "end": manifest.kind,
    }

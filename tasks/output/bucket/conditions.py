"""Conditions: what is done about a bucket whose server does not hold to the conditions of a write."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping

from rowmill.schemas.errors import OutputError
from rowmill.tasks.output.bucket.lease import HINT
from rowmill.tasks.output.bucket.objects import Objects
from rowmill.tasks.output.bucket.probe import probe
from rowmill.tasks.output.bucket.redis_lease import VARIABLE, RedisLease

log = logging.getLogger("rowmill")
VERSIONED = (
    "the bucket keeps old versions, and a run writes over its lock every 5 s and deletes its journal: add a lifecycle "
    "rule that lets noncurrent versions below this address expire"
)


def arbiter_for(objects: Objects, environment: Mapping[str, str] = os.environ) -> RedisLease | None:
    """The Redis that keeps the lease on an output whose server does not hold to conditions; None where it does.

    Raises OutputError where neither can be, or where the bucket cannot be used.
    """
    try:
        found = probe(objects)
    except OSError as error:
        raise OutputError(str(error.strerror), where=objects.url, hint=HINT) from None
    if found.lags:
        raise OutputError(
            "its server does not list an object that was just written, so answers that were paid for could be missed",
            where=objects.url,
            hint="name a bucket whose listing is consistent (Amazon S3, Google, Azure, MinIO, R2, Ceph)",
        )
    if found.keeps_versions:
        log.warning("%s: %s", objects.url, VERSIONED)
    if found.ignored is None:
        return None
    url = environment.get(VARIABLE)
    if not url:
        raise OutputError(
            f"its server does not hold to {found.ignored}, so two machines could pay for the same rows",
            where=objects.url,
            hint=f"set {VARIABLE} to a Redis that all machines reach, which then keeps the lease; or name a bucket "
            "whose server has conditional writes (Amazon S3, MinIO, R2, Ceph)",
        )
    arbiter = RedisLease(url, objects.url)
    objects.conditional = False
    log.warning(
        "%s: its server does not hold to %s: the lease on this output is in Redis (%s)",
        objects.url, found.ignored, arbiter.address,
    )  # fmt: skip
    return arbiter

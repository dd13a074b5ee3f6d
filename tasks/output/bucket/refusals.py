"""Refusals: what an object store's refusal means to its user, and the way out, by the code in its answer.

`{rights}`, `{key}` and `{region}` stand for the store's own words.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

_CODE = re.compile(r"<Code>(\w+)</Code>|\"(?:reason|code)\":\s*\"(\w+)\"")
_REGION = re.compile(r"<(?:Region|BucketRegion)>([\w-]+)</|x-amz-bucket-region[\"':\s]+([\w-]+)|expecting '([\w-]+)'")
_ELSEWHERE = "the bucket is in another region{region}: set AWS_REGION to its own"
_WRONG_KEY = "it does not know these credentials, or their secret is another: look at {key}"
_NO_RIGHT = (
    "these credentials have no right to it: below the output's address they need to read, write, list and delete "
    "({rights})"
)
_NO_KEY = "it knows no credentials, or they have expired: set {key}"
_RETAINED = (
    "the bucket keeps each object for some time (retention policy or hold), and a run writes over its lock and deletes "
    "its journal: name a bucket without one"
)
_LOCKED = (
    "the bucket is object-locked and asks for a checksum with each object: set AWS_CHECKSUM_ALGORITHM=SHA256, or name "
    "a bucket without object lock"
)
MEANINGS: Mapping[str, str] = {
    "RequestTimeTooSkewed": "this machine's clock and the server's are too far apart: set this machine's clock (NTP)",
    "PermanentRedirect": _ELSEWHERE,
    "AuthorizationHeaderMalformed": _ELSEWHERE,
    "IllegalLocationConstraintException": _ELSEWHERE,
    "NoSuchBucket": "there is no such bucket: make it, or name another",
    "InvalidAccessKeyId": _WRONG_KEY,
    "SignatureDoesNotMatch": _WRONG_KEY,
    "ExpiredToken": "the credentials have expired: get new ones",
    "AuthenticationRequired": _NO_KEY,
    "RetentionPolicyNotMet": _RETAINED,
    "retentionPolicyNotMet": _RETAINED,
    "ObjectUnderActiveHold": _RETAINED,
    "objectUnderActiveHold": _RETAINED,
    "UserProjectMissing": "its requests are paid by who asks, which is not supported: name another bucket",
    "AccessDenied": _NO_RIGHT,
    "AllAccessDisabled": _NO_RIGHT,
    "AuthorizationFailure": _NO_RIGHT,
    "AuthorizationPermissionMismatch": _NO_RIGHT,
    "forbidden": _NO_RIGHT,
    "ObjectLocked": "an object there is locked and cannot be replaced: name a bucket without retention",
}


def meaning(told: str, *, rights: str, key: str) -> str | None:
    """What a client's error text says to its user, in the words of its store; None where its own have to do."""
    if "Error performing token request" in told:
        return _NO_KEY.format(key=key)
    if "Received redirect without LOCATION" in told:
        return _ELSEWHERE.format(region=_region(told))
    codes = {one or other for one, other in _CODE.findall(told)}
    if codes & {"InvalidRequest", "MissingContentMD5"} and re.search("content-md5|checksum", told, re.I):
        return _LOCKED
    found = next((MEANINGS[code] for code in MEANINGS if code in codes), None)
    if found is None and "403 Forbidden" in told:
        found = _NO_RIGHT
    if found is None and "401 Unauthorized" in told:
        found = _NO_KEY
    return None if found is None else found.format(region=_region(told), rights=rights, key=key)


def _region(told: str) -> str:
    found = _REGION.search(told)
    return f", {next(filter(None, found.groups()))}" if found else ""

"""Access: where to call and with which key, from the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rowmill.schemas.errors import JobError

# The key of a sandbox that a command starts for itself.
SANDBOX_KEY = "sk-sandbox-only-0000"
DEFAULT_BASE_URL = "https://api.aivideoapi.ai"


@dataclass(frozen=True, slots=True)
class Gateway:
    """Where to call and with which key; never part of a job, a flow's parameters or a file."""

    base_url: str
    api_key: str
    catalogue: str | None = None
    redis_url: str | None = None

    def __repr__(self) -> str:
        return f"Gateway({self.base_url!r})"


def gateway_from(environment: Mapping[str, str], *, needs_key: bool = True) -> Gateway:
    """Address and key from ROWMILL_BASE_URL and ROWMILL_API_KEY. Raises JobError where a key is needed and missing.

    Where no model that is asked needs one, no key is read and none can be sent.
    """
    key = _key_in(environment) if needs_key else ""
    return Gateway(
        environment.get("ROWMILL_BASE_URL") or DEFAULT_BASE_URL,
        key,
        environment.get("ROWMILL_CATALOGUE") or None,
        environment.get("ROWMILL_REDIS_URL") or None,
    )


def _key_in(environment: Mapping[str, str]) -> str:
    key = environment.get("ROWMILL_API_KEY", "").strip()
    if not key or not key.isascii() or any(char.isspace() for char in key):
        raise JobError(
            "the API key is missing" if not key else "the API key holds characters that no key has",
            where="ROWMILL_API_KEY",
            hint="set it in the environment, name a Secret block (api_key_block), or try the job with --sandbox",
        )
    return key

"""Gateway block: where a job calls and with which key, kept in Prefect. The entry point `prefect.collections` names it.

Prefect imports this module whenever it loads its collections: it imports no more of rowmill than a value.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prefect.blocks.core import Block
from pydantic import Field, SecretStr

if TYPE_CHECKING:
    from rowmill.tasks.gateway.credentials import Gateway


class RowmillGateway(Block):
    """A gateway that rowmill may ask: its address, its key, and the models it serves.

    Example:
        A job asks it by its name: `gateway_block: NAME`. From Python:
        ```python
        from rowmill.flows.gateway_block import RowmillGateway

        await RowmillGateway(api_key="sk-...").save("rowmill-gateway")
        job = rowmill.Job(gateway_block="rowmill-gateway", ...)
        ```
    """

    _block_type_name = "Rowmill Gateway"
    _block_type_slug = "rowmill-gateway"
    _description = "Address, API key and models of a gateway that rowmill asks."

    base_url: str = Field(
        "https://api.aivideoapi.ai", title="Address", description="As https://host, without a path; /v1/... is added"
    )
    api_key: SecretStr | None = Field(
        None, title="API key", description="What the gateway bills; none for servers that ask for no key"
    )
    catalogue: str | None = Field(
        None, title="Catalogue", description="TOML file with models and prices, on the machine that runs"
    )

    def gateway(self) -> Gateway:
        """The address and the key as a run takes them. Raises JobError where they cannot be used."""
        from rowmill.tasks.gateway.credentials import gateway_of_block

        key = self.api_key.get_secret_value() if self.api_key is not None else None
        return gateway_of_block(self.base_url, key, self.catalogue)

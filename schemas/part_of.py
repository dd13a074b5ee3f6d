"""Part of: what makes a job one of several into which a larger one was split."""

from __future__ import annotations

from pydantic import Field

from rowmill.schemas.section import Part


class InputPlace(Part):
    """Where a row of the input stands. `digest` is that of its raw content: who begins there looks whether it is so."""

    file: str = Field(description="File, as it is named in run.json")
    offset: int = Field(0, ge=0, description="Where the row begins in it, decompressed; in Parquet its position")
    line: int = Field(0, ge=0, description="Rows before it in the file")
    digest: str | None = Field(None, description="blake2b-128 of the row; none at a file's beginning")


class PartOf(Part):
    """One part of a larger job: a contiguous range of its rows. Written by `rowmill split`, not by hand."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_-]{0,63}$", description="The same in all parts of one job")
    output: str = Field(description="Output of the whole job")
    part: int = Field(ge=1, description="Which part this is, from 1 on in the order of the input")
    parts: int = Field(ge=1, description="How many there are")
    first: InputPlace | None = Field(None, description="Where it begins; else at the input's beginning")
    end: InputPlace | None = Field(None, description="Where the next one begins; else it has all that follows")

    @property
    def title(self) -> str:
        """The part as people call it."""
        return f"part {self.part} of {self.parts}"

"""The names that every layer uses."""

from enum import StrEnum
from typing import NewType, TypeAlias

WorkerId = NewType("WorkerId", str)
"""`host:port` (plus the path prefix, if any) of a worker's base URL, and `#rank` for a data-parallel rank but the first."""

BlockKey: TypeAlias = int
"""Chained 64-bit hash of a prompt up to the end of one block (see `router.prompt.blocks`)."""


class Tier(StrEnum):
    """Where a worker finds blocks: in its own memory, or further away."""

    GPU = "gpu"
    CPU = "cpu"
    DISK = "disk"
    REMOTE = "remote"


Headers: TypeAlias = list[tuple[bytes, bytes]]
"""HTTP header fields in the order received; names are lower case."""

"""The names that every layer uses."""

from typing import NewType, TypeAlias

WorkerId = NewType("WorkerId", str)
"""`host:port` (plus the path prefix, if any) of a worker's base URL."""

BlockKey: TypeAlias = int
"""Chained 64-bit hash of a prompt up to the end of one block (see `router.prompt.blocks`)."""

Headers: TypeAlias = list[tuple[bytes, bytes]]
"""HTTP header fields in the order received; names are lower case."""

"""How things are named and written in the store (pure).

Each name begins with the namespace and the format's version. A block's name is its key, the bytes that tell its segment
first and in braces: a cluster keeps a segment in one slot.
"""

import struct
import sys
from array import array
from collections.abc import Iterable, Iterator, Sequence
from itertools import groupby

from router.ids import BlockKey
from router.prompt.segments import SEGMENT
from router.shared.base import Holder

VERSION = 1

_RUN = struct.Struct(">HI")


class Names:
    """The names of one namespace."""

    def __init__(self, namespace: str) -> None:
        self.base = f"{namespace}:{VERSION}:".encode()
        self.board = self.base + b"{board}:"

    def of_board(self, *names: str) -> list[bytes]:
        """Names of what is kept beside the blocks, all in one slot."""
        return [self.board + name.encode() for name in names]

    def blocks(self, epoch: bytes) -> bytes:
        """What the names of blocks begin with."""
        return self.base + epoch


def slot(prefix: bytes, key: BlockKey) -> bytes:
    """A name in the slot of the block's segment."""
    return prefix + b"{" + key.to_bytes(8, "big")[2:4] + b"}"


def packed(keys: Iterable[BlockKey]) -> bytes:
    """Keys in network order, as scripts take them."""
    out = array("Q", keys)
    if sys.byteorder == "little":
        out.byteswap()
    return out.tobytes()


def segments(keys: Sequence[BlockKey]) -> Iterator[list[BlockKey]]:
    """Runs of keys that are in one segment."""
    for _, run in groupby(keys, SEGMENT.__and__):
        yield list(run)


def runs(reply: bytes) -> dict[Holder, int]:
    """What the lookup script says: leading blocks, by holder."""
    return dict(_RUN.iter_unpack(reply))

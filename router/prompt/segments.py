"""Segments of chains, for a store that is spread over many servers (pure).

Sixteen bits in the middle of a key name the segment that it is in: the store keeps a segment in one place, and finds
it by any of its keys. Starts of prompts are shared by many, and their ends are not: so a chain's segments are short at
first, and each is twice as long as the one before.
"""

from collections.abc import Iterator, Sequence
from itertools import count

from router.ids import BlockKey

SEGMENT = 0xFFFF << 32
HASH = ~SEGMENT
"""The bits of a key that are the hash of its block."""

_NAMED = 0x8 << 44
"""Set in all names of segments, so that their first byte is none of ASCII's."""
_LEVEL = 44
_LAST_LEVEL = 7
_PLACE = 0xFFF << 32
_FIRST_BY_PLACE = 8


def segment_start(digest: int, level: int = 0) -> BlockKey:
    """The key of a block, or of a seed, that begins a segment."""
    return digest & HASH | _NAMED | level << _LEVEL | digest << 16 & _PLACE


def behind(digest: int, parent: BlockKey, bits: int) -> BlockKey:
    """The key of a block behind `parent`: in its segment, or the first of the next one.

    The content of a block decides that, so that whoever sees it alone decides alike. The first segment of a chain has
    `2**bits` blocks, on average.
    """
    level = parent >> _LEVEL & _LAST_LEVEL
    if digest & ((1 << bits + level) - 1):
        return digest & HASH | parent & SEGMENT
    return segment_start(digest, min(level + 1, _LAST_LEVEL))


def by_place(keys: Sequence[BlockKey]) -> list[BlockKey]:
    """Keys of a whole prompt that name no segments, as keys that do: the first segment has 8 blocks."""
    return [key for part in _parts(keys) for key in part]


def _parts(keys: Sequence[BlockKey]) -> Iterator[list[BlockKey]]:
    start = 0
    for level in count():
        if start >= len(keys):
            return
        first = segment_start(keys[start], min(level, _LAST_LEVEL))
        name = first & SEGMENT
        end = start + (_FIRST_BY_PLACE << level)
        yield [key & HASH | name for key in keys[start:end]]
        start = end

"""Block keys over token ids: an engine's blocks, named by a chain of the router's own (pure).

A key is the xxh3 of the block's token ids and extra keys, seeded with the key before it; the chain starts at a seed
of the block size. What an engine announces and what a prompt consists of get the same keys, whatever the engine's
hash algorithm and seed are.
"""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from typing import NamedTuple, TypeAlias

import msgspec
import xxhash

from router.ids import BlockKey
from router.prompt.blocks import chain_seed
from router.prompt.segments import HASH, SEGMENT, behind, segment_start

Extra: TypeAlias = Sequence[object] | None
"""What besides its tokens goes into a block, in vLLM's order: the adapter's name, (digest, offset) of each medium that
overlaps the block, the cache salt in the first block, a digest of prompt embeddings. None: nothing.
"""

_ID_BYTES = array("I").itemsize
_SEGMENT_BITS = 5
_SEGMENT_MASK = (1 << _SEGMENT_BITS) - 1
"""Segments have 32 blocks at first, on average."""


class Media(NamedTuple):
    """An image, a clip: what vLLM knows it by, and the tokens that stand for it."""

    digest: str
    offset: int
    length: int


@lru_cache(maxsize=64)
def token_seed(block_size: int) -> BlockKey:
    """Where chains of blocks of `block_size` tokens, less than 2^32, start."""
    return segment_start(chain_seed(b"tokens", block_size.to_bytes(4, "little")))


def pack(tokens: Iterable[int]) -> bytes:
    """Token ids as bytes; raises OverflowError or TypeError for what is none."""
    return array("I", tokens).tobytes()


def block_contents(packed: bytes, block_size: int, extras: Sequence[Extra]) -> Iterator[bytes]:
    """What each full block consists of; `extras` has an entry for every block, or none at all."""
    step = block_size * _ID_BYTES
    for place, end in enumerate(range(step, len(packed) + 1, step)):
        extra = extras[place] if extras else None
        content = packed[end - step : end]
        yield content + msgspec.msgpack.encode(extra) if extra else content


def next_key(parent: BlockKey, content: bytes) -> BlockKey:
    """The key of the block with this content behind `parent`."""
    digest = xxhash.xxh3_64_intdigest(content, parent)
    if digest & _SEGMENT_MASK:  # as `behind` says, but faster
        return digest & HASH | parent & SEGMENT
    return behind(digest, parent, _SEGMENT_BITS)


def token_keys(
    tokens: Iterable[int], block_size: int, extras: Sequence[Extra] = ()
) -> list[BlockKey]:
    """The keys of a prompt's full blocks, first to last."""
    key, keys = token_seed(block_size), []
    for content in block_contents(pack(tokens), block_size, extras):
        key = next_key(key, content)
        keys.append(key)
    return keys


def prompt_extras(
    blocks: int,
    block_size: int,
    *,
    adapter: str | None = None,
    salt: str | None = None,
    media: Sequence[Media] = (),
) -> list[Extra]:
    """The extra keys of a prompt's `blocks` full blocks, as vLLM puts them together; `media` by their offsets."""
    if not (adapter or salt or media):
        return []
    extras: list[Extra] = []
    for place in range(blocks):
        start, end = place * block_size, (place + 1) * block_size
        extra: list[object] = [adapter] if adapter else []
        extra += [
            (item.digest, item.offset - start)
            for item in media
            if item.offset < end and item.offset + item.length > start
        ]
        if salt and place == 0:
            extra.append(salt)
        extras.append(extra or None)
    return extras

"""Block keys: what makes two prompts share a prefix, as chained 64-bit hashes (pure).

A key stands for everything up to the end of its block, so equal keys mean equal prefixes. In the text
space a prompt is the raw JSON of its content. Blocks are small at the start, where prompts part, and
larger further on: the cost stays near one hash per KiB and the resolution near 1/32 of the position.
"""

import xxhash

from router.ids import BlockKey

_STEPS = ((4096, 128), (8192, 256), (16384, 512))
"""(up to this offset, block size), bytes. Beyond: `_LARGE`."""
_LARGE = 1024


def _small_blocks() -> tuple[tuple[int, int], ...]:
    edges, start = [], 0
    for limit, size in _STEPS:
        while start < limit:
            edges.append((start, start + size))
            start += size
    return tuple(edges)


_SMALL = _small_blocks()
_SMALL_ENDS = tuple(end for _, end in _SMALL)
_SMALL_END = _SMALL_ENDS[-1]


def chain_seed(*parts: bytes, start: BlockKey = 0) -> BlockKey:
    """Where a chain starts: everything that separates caches (model, LoRA, salt, template arguments)."""
    seed = start
    for part in parts:
        seed = xxhash.xxh3_64_intdigest(part, seed)
    return seed


def text_keys(prompt: bytes, seed: BlockKey) -> list[BlockKey]:
    """The keys of the full blocks of `prompt`, first to last."""
    digest = xxhash.xxh3_64_intdigest
    keys: list[BlockKey] = []
    key = seed
    size = len(prompt)
    for start, end in _SMALL:
        if end > size:
            return keys
        key = digest(prompt[start:end], key)
        keys.append(key)
    for end in range(_SMALL_END + _LARGE, size + 1, _LARGE):
        key = digest(prompt[end - _LARGE : end], key)
        keys.append(key)
    return keys


def covered_bytes(blocks: int) -> int:
    """How many bytes of a prompt its first `blocks` keys stand for."""
    if blocks <= 0:
        return 0
    if blocks <= len(_SMALL_ENDS):
        return _SMALL_ENDS[blocks - 1]
    return _SMALL_END + _LARGE * (blocks - len(_SMALL_ENDS))

"""The chunks of a prompt as LMCache names them: hashes over token ids, each chained to the one before.

Source: LMCache 0.5.6, `v1/multiprocess/token_hasher.py` (`blake3`, the default algorithm) and `v1/distributed/api.py`.
"""

import sys
from array import array
from collections.abc import Sequence

import msgspec

_ROOT = bytes(8 + 4)  # LMCache hashes "chunk 0, token 0" for what comes before the first chunk
_SALT_FORBIDDEN = frozenset("@/\\\0")
_SALT_LIMIT = 128


class Chunks(msgspec.Struct, frozen=True, gc=False):
    """The full chunks of a prompt, first to last, of `size` tokens each.

    `model` is the path or name that the engine loaded the model from (`root` in `/v1/models`), not what clients call
    it.
    """

    size: int
    hashes: list[bytes]
    model: str
    salt: str = ""


class Chunker:
    """Cuts prompts into chunks of `size` tokens (LMCache's `--chunk-size`); what comes after `limit` tokens is left out.

    Raises ImportError, saying what to install, when there is no BLAKE3.
    """

    def __init__(self, size: int = 256, limit: int = 131_072) -> None:
        try:
            from blake3 import blake3  # noqa: PLC0415 - only who uses LMCache needs it
        except ImportError as error:
            raise ImportError(
                "LMCache's chunk hashes need the package blake3: pip install 'prefix-router[lmcache]'"
            ) from error
        self.size = size
        self._limit = limit
        self._blake3 = blake3

    def chunks(self, ids: Sequence[int], model: str, salt: str = "") -> Chunks:
        """The chunks of the prompt with these token ids; none when LMCache would not store them."""
        hashes = self._hashes(ids) if _storable(model, salt) else []
        return Chunks(self.size, hashes, model, salt)

    def _hashes(self, ids: Sequence[int]) -> list[bytes]:
        size = self.size
        full = min(len(ids), self._limit) // size * size
        tokens = array("I", ids[:full])
        if sys.byteorder == "little":
            tokens.byteswap()
        data, width = memoryview(tokens).cast("B"), size * tokens.itemsize
        digest, hashes = self._blake3(_ROOT).digest(), []
        for start in range(0, len(data), width):
            digest = self._blake3(digest + data[start : start + width]).digest()
            hashes.append(digest)
        return hashes


def kv_ranks(world_size: int) -> list[int]:
    """How LMCache numbers the workers of one engine (tensor times pipeline parallel): each has its part of a chunk."""
    return [
        world_size << 24 | rank << 16 | world_size << 8 | rank  # global, then within the node
        for rank in range(world_size)
    ]


def store_key(chunks: Chunks, place: int, kv_rank: int) -> str:
    """What one worker's part of the chunk at `place` is called in Redis and its kin (object group 0)."""
    key = f"{chunks.model}@{kv_rank:08x}@0@{chunks.hashes[place].hex()}"
    return f"{key}@{chunks.salt}" if chunks.salt else key


def _storable(model: str, salt: str) -> bool:
    """LMCache refuses names that its keys could not be parsed with."""
    return "@" not in model and len(salt) <= _SALT_LIMIT and _SALT_FORBIDDEN.isdisjoint(salt)

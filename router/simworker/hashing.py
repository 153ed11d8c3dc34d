"""vLLM's block hashes (its default, sha256 over a pickle), chained from the start of the prompt."""

import hashlib
import pickle
from collections.abc import Sequence
from dataclasses import dataclass


def _digest(value: object) -> bytes:
    return hashlib.sha256(pickle.dumps(value, protocol=5)).digest()


ROOT = _digest("vllm-none-hash")


@dataclass(frozen=True, slots=True)
class ChainKey:
    """What besides tokens goes into a chain: the adapter in every block, the salt in the first."""

    lora_name: str | None = None
    lora_path: str | None = None
    cache_salt: str | None = None

    def block_extra(self, index: int) -> tuple[object, ...] | None:
        """Extra keys of block `index`, None for none."""
        keys: tuple[object, ...] = ()
        if self.lora_name is not None:
            keys += (("lora", self.lora_name, self.lora_path),)
        if self.cache_salt and index == 0:
            keys += (("cache_salt", self.cache_salt),)
        return keys or None

    def event_extra(self, index: int) -> list[str] | None:
        """The same as cache events show it: names without their kind."""
        names = [self.lora_name] if self.lora_name is not None else []
        if self.cache_salt and index == 0:
            names.append(self.cache_salt)
        return names or None


def extend_chain(
    hashes: list[bytes], tokens: Sequence[int], block_size: int, key: ChainKey
) -> None:
    """Append to `hashes` those of the full blocks of `tokens` that it lacks."""
    parent = hashes[-1] if hashes else ROOT
    for index in range(len(hashes), len(tokens) // block_size):
        block = tuple(tokens[index * block_size : (index + 1) * block_size])
        parent = _digest((parent, block, key.block_extra(index)))
        hashes.append(parent)


def event_id(digest: bytes) -> int:
    """A hash as cache events carry it: the low 64 bits, unsigned."""
    return int.from_bytes(digest[-8:], "big")

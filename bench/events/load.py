"""Batches of events as a busy engine publishes them: its pool is full, so that every block costs another one."""

import random
from collections import deque
from collections.abc import Iterator

import msgspec

VOCABULARY = 150_000


class Pool:
    """Blocks of `block` tokens; the oldest go first. `seed` makes another engine's text."""

    def __init__(self, blocks: int, block: int, seed: int = 1) -> None:
        self._block = block
        self._random = random.Random(seed)
        self._held: deque[int] = deque()
        self.blocks = blocks
        self.number = 0

    def prefill(self, blocks: int) -> bytes:
        """A prompt of so many new blocks, in one store."""
        return self._batch([*self._removals(blocks), self._store(blocks)], blocks)

    def decode(self, requests: int) -> bytes:
        """A step in which so many requests fill a block each."""
        removals = list(self._removals(requests))
        return self._batch([*removals, *(self._store(1) for _ in range(requests))], requests)

    def steps(self, prompt_blocks: int) -> Iterator[bytes]:
        """Prefills and decodes by turns, for ever."""
        while True:
            yield self.prefill(prompt_blocks)
            yield self.decode(4)

    def _batch(self, events: list[dict[str, object]], blocks: int) -> bytes:
        self.number += blocks
        return msgspec.msgpack.encode([1.0 + self.number, events, 0])

    def _removals(self, blocks: int) -> Iterator[dict[str, object]]:
        for _ in range(max(0, len(self._held) + blocks - self.blocks)):
            name = self._held.popleft()
            yield {"type": "BlockRemoved", "block_hashes": [name], "medium": "GPU", "group_idx": 0}

    def _store(self, blocks: int) -> dict[str, object]:
        names = [self._random.getrandbits(64) for _ in range(blocks)]
        self._held += names
        return {
            "type": "BlockStored",
            "block_hashes": names,
            "parent_block_hash": None,
            "token_ids": self._random.choices(range(VOCABULARY), k=blocks * self._block),
            "block_size": self._block,
            "lora_id": None,
            "medium": "GPU",
            "lora_name": None,
            "extra_keys": [None] * blocks,
            "group_idx": 0,
            "kv_cache_spec_kind": "full_attention",
        }


def block_events(payload: bytes) -> int:
    """Blocks that were stored or removed."""
    return sum(
        len(event["block_hashes"])
        for event in msgspec.msgpack.decode(payload)[1]
        if "block_hashes" in event
    )

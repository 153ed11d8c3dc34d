"""KV cache events in vLLM's wire format: collected by the engine, encoded as one message a step (pure)."""

from typing import Any

import msgspec

from router.simworker.hashing import event_id
from router.simworker.sequence import Sequence


class KVEvents:
    """Events of a rank since the last message, oldest first."""

    def __init__(self, block_size: int, rank: int = 0) -> None:
        self._block_size = block_size
        self._rank = rank
        self.pending: list[dict[str, Any]] = []

    def stored(self, sequence: Sequence, first: int, last: int) -> None:
        """Blocks `first` to `last` (exclusive) of a sequence are findable."""
        size, key = self._block_size, sequence.key
        self.pending.append(
            {
                "type": "BlockStored",
                "block_hashes": [event_id(digest) for digest in sequence.hashes[first:last]],
                "parent_block_hash": event_id(sequence.hashes[first - 1]) if first else None,
                "token_ids": sequence.tokens[first * size : last * size],
                "block_size": size,
                "lora_id": 1 if key.lora_name else None,
                "medium": "GPU",
                "lora_name": key.lora_name,
                "extra_keys": [key.event_extra(index) for index in range(first, last)],
                "group_idx": 0,
                "kv_cache_spec_kind": "full_attention",
            }
        )

    def removed(self, digest: bytes) -> None:
        """One copy of a block is gone; vLLM sends one event for each."""
        self.pending.append(
            {
                "type": "BlockRemoved",
                "block_hashes": [event_id(digest)],
                "medium": "GPU",
                "group_idx": 0,
            }
        )

    def cleared(self) -> None:
        """Every block is gone."""
        self.pending.append({"type": "AllBlocksCleared"})

    def take(self, timestamp: float) -> bytes:
        """Encode and forget what is pending; `timestamp` is in Unix seconds."""
        payload = msgspec.msgpack.encode([timestamp, self.pending, self._rank])
        self.pending = []
        return payload

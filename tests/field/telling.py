"""A scripted worker that says what its cache holds, as engines do that publish KV events."""

from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Any

from tests.fakes.kv_publisher import KvPublisher
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker

BLOCK = 4
PROMPT = tuple(range(1000, 1065))
"""Token ids: 16 blocks and one more."""


class Telling(FakeWorker):
    """Publishes the blocks that a test says it stored; its hashes depend on `seed`, as an engine's may."""

    def __init__(self, publisher: KvPublisher, seed: int = 0, **arguments: Any) -> None:
        super().__init__(**arguments)
        self.publisher = publisher
        self._seed = seed
        self.routes["/kv_event_sources"] = self._sources

    def store(self, tokens: Sequence[int]) -> None:
        """The prompt's whole blocks are in the cache."""
        count = len(tokens) // BLOCK
        hashes = self._hashes(tokens)
        self.publisher.publish(
            {
                "type": "BlockStored",
                "block_hashes": hashes,
                "parent_block_hash": None,
                "token_ids": list(tokens[: count * BLOCK]),
                "block_size": BLOCK,
                "lora_id": None,
                "medium": "GPU",
                "lora_name": None,
                "group_idx": 0,
            }
        )

    def evict(self, tokens: Sequence[int]) -> None:
        """None of them is any more."""
        gone = [
            {"type": "BlockRemoved", "block_hashes": [each], "medium": "GPU", "group_idx": 0}
            for each in self._hashes(tokens)
        ]
        self.publisher.publish(*gone)

    def _hashes(self, tokens: Sequence[int]) -> list[int]:
        """Of each prefix of whole blocks."""
        ends = range(BLOCK, len(tokens) + 1, BLOCK)
        return [hash((self._seed, *tokens[:end])) % (1 << 64) for end in ends]

    async def _sources(self, request: Request, wire: Wire) -> None:
        own = self.publisher
        await wire.json(
            {
                "0": {
                    "endpoint": f"tcp://*:{own.port}",
                    "replay_endpoint": f"tcp://*:{own.replay_port}",
                }
            }
        )


async def telling_worker(stack: AsyncExitStack, seed: int = 0, **arguments: Any) -> Telling:
    """Started; ends with `stack`."""
    publisher = await stack.enter_async_context(KvPublisher())
    return await stack.enter_async_context(Telling(publisher, seed, **arguments))

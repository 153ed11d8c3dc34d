"""What the tests of events share: an index that only remembers, events in short, recordings of real vLLM 0.32."""

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from router.events.counters import Counters
from router.events.ledger import Ledger
from router.events.wire import BlockRemoved, BlockStored, Event, Hash
from router.ids import BlockKey, WorkerId

RECORDED = Path(__file__).parent / "recorded"
A = WorkerId("a:8000")
SIZE = 4


class SetIndex:
    """Takes reports (`tier.BlockSink`) and insists that each says something new."""

    def __init__(self) -> None:
        self.held: dict[WorkerId, set[BlockKey]] = {}
        self.reports = 0

    def stored(self, worker: WorkerId, keys: Collection[BlockKey]) -> None:
        held, new = self.held.setdefault(worker, set()), set(keys)
        assert new
        assert not new & held
        held |= new
        self.reports += 1

    def removed(self, worker: WorkerId, keys: Collection[BlockKey]) -> None:
        held, gone = self.held.setdefault(worker, set()), set(keys)
        assert gone
        assert gone <= held
        held -= gone
        self.reports += 1


class Book:
    """A ledger with an index for the engine's pool and one for the host's memory."""

    def __init__(self) -> None:
        self.gpu, self.cpu = SetIndex(), SetIndex()
        self.counters = Counters()
        self.ledger = Ledger(A, {"GPU": self.gpu, "CPU": self.cpu}, self.counters)

    def apply(self, *events: Event) -> int:
        """Apply all; returns the number of pauses."""
        return sum(1 for _ in self.ledger.apply(events))

    @property
    def held(self) -> set[BlockKey]:
        return self.gpu.held.get(A, set())

    @property
    def held_on_cpu(self) -> set[BlockKey]:
        return self.cpu.held.get(A, set())


def tokens(first: int, blocks: int = 1, size: int = SIZE) -> list[int]:
    """Token ids of some blocks; equal `first`, equal text."""
    return list(range(first, first + blocks * size))


def stored(*names: Hash, text: list[int], parent: Hash | None = None, **more: Any) -> BlockStored:
    size = more.pop("block_size", len(text) // len(names))
    return BlockStored(
        block_hashes=list(names),
        parent_block_hash=parent,
        token_ids=text,
        block_size=size,
        medium=more.pop("medium", "GPU"),
        group_idx=more.pop("group_idx", 0),
        **more,
    )


def removed(*names: Hash, medium: str | None = "GPU", group: int | None = 0) -> BlockRemoved:
    return BlockRemoved(block_hashes=list(names), medium=medium, group_idx=group)


def recorded(name: str) -> Iterator[dict[str, Any]]:
    """Lines of a recording."""
    for line in (RECORDED / name).read_text().splitlines():
        yield json.loads(line)


def recorded_frames() -> list[list[bytes]]:
    """(topic, number, payload) as they came."""
    return [[bytes.fromhex(frame) for frame in line["frames"]] for line in recorded("frames.jsonl")]

"""What one source holds in one medium, and what its index has to be told about it (pure)."""

from collections.abc import Collection, Iterator
from typing import Protocol

from router.events.counters import Counters
from router.events.shelf import Shelf
from router.events.wire import Hash
from router.ids import BlockKey, WorkerId
from router.index.shards import Shards

MAX_BLOCKS = 2_000_000
"""What is remembered at most: engines evict, but not every connector says so."""


class BlockSink(Protocol):
    """An index that takes reports (`index.union.UnionIndex` is one)."""

    def stored(self, worker: WorkerId, keys: Collection[BlockKey]) -> None:
        """`worker` holds these."""

    def removed(self, worker: WorkerId, keys: Collection[BlockKey]) -> None:
        """`worker` does not hold these any more."""


class Tier:
    """Keys are held as long as any of their names is: an adapter that was loaded anew under its old name gives
    equal keys to different blocks, and so do the groups of a model.
    """

    __slots__ = (
        "_blocks",
        "_counters",
        "_gone",
        "_holder",
        "_names",
        "_new",
        "_sink",
        "block_sizes",
        "shelves",
    )

    def __init__(self, holder: WorkerId, sink: BlockSink, counters: Counters) -> None:
        self.shelves: dict[int | None, Shelf] = {}
        self.block_sizes: set[int] = set()
        self._holder = holder
        self._sink = sink
        self._counters = counters
        self._names: Shards[BlockKey, int] = Shards()
        self._blocks = 0
        self._new: dict[BlockKey, None] = {}
        self._gone: dict[BlockKey, None] = {}

    @property
    def blocks(self) -> int:
        """How many different ones are held."""
        return self._blocks

    def shelf(self, group: int | None) -> Shelf:
        """The blocks of a KV cache group."""
        shelf = self.shelves.get(group)
        if shelf is None:
            shelf = self.shelves[group] = Shelf()
        return shelf

    def find(self, name: Hash) -> BlockKey | None:
        """The key of a block of any group."""
        for shelf in self.shelves.values():
            key = shelf.keys.get(name)
            if key is not None:
                return key
        return None

    def hold(self, shelf: Shelf, name: Hash, key: BlockKey, *, adds: bool) -> None:
        """A block is held under this name; `adds`: it is one more copy, if it was held already."""
        if adds:
            shelf.copy(name)
        if name in shelf.keys:
            return
        if self._blocks >= MAX_BLOCKS:
            self._counters.refused += 1
        else:
            for new in shelf.put(name, key):
                self._named(new)

    def drop(self, shelf: Shelf, name: Hash) -> None:
        """One copy less."""
        key = shelf.take(name)
        if key is None:
            return
        part = self._names.part(key)
        names = part.pop(key) - 1
        if names:
            part[key] = names
            return
        self._blocks -= 1
        if key in self._new:
            del self._new[key]
        else:
            self._gone[key] = None

    def _named(self, key: BlockKey) -> None:
        part = self._names.part(key)
        names = part.get(key, 0)
        part[key] = names + 1
        if names:
            return
        self._blocks += 1
        if key in self._gone:
            del self._gone[key]
        else:
            self._new[key] = None

    def tell(self) -> None:
        """Report what changed since the last time."""
        if self._gone:
            self._sink.removed(self._holder, self._gone)
            self._gone = {}
        if self._new:
            self._sink.stored(self._holder, self._new)
            self._new = {}

    def empty(self, portion: int) -> Iterator[None]:
        """Nothing is held any more; reports it in portions, after each of which it pauses."""
        self.tell()
        names, self._names = self._names, Shards()
        shelves, self.shelves = self.shelves, {}
        self._blocks = 0
        while keys := [key for key, _ in names.pop_some(portion)]:
            self._sink.removed(self._holder, keys)
            yield
        for shelf in shelves.values():  # a million entries are not thrown away in one go
            while shelf.keys.pop_some(portion):
                yield

"""Who holds which block, and how many each: whoever holds none any more gives its place away."""

from collections.abc import Collection, Iterator

from router.ids import BlockKey, WorkerId
from router.index.holders import SHIFT, Holders

_STEP = 16
"""Parts of the table that are looked through in one go."""


class Tally(Holders):
    """Blocks that lie behind one another have the same holders, as a rule: they share one int that says so."""

    __slots__ = ("_counts",)

    def __init__(self) -> None:
        super().__init__()
        self._counts: dict[WorkerId, int] = {}

    def count(self, worker: WorkerId) -> int:
        """How many blocks `worker` holds."""
        return self._counts.get(worker, 0)

    def put(self, worker: WorkerId, keys: Collection[BlockKey]) -> list[BlockKey]:
        """`worker` holds these from now on; returns those that it did hold."""
        if not keys:
            return []
        parts, bit = self.parts, self._place(worker)
        before, after = None, bit
        known = []
        for key in keys:
            part = parts[key >> SHIFT]
            held = part.get(key)
            if held is not before:
                if held is not None and held & bit:
                    known.append(key)
                    continue
                before, after = held, bit if held is None else held | bit
            part[key] = after
        self._counts[worker] = self.count(worker) + len(keys) - len(known)
        return known

    def take(self, worker: WorkerId, keys: Collection[BlockKey]) -> None:
        """`worker` does not hold these any more."""
        parts, bit = self.parts, self._taken.get(worker, 0)
        left, before, after = self.count(worker), 0, 0
        for key in keys:
            part = parts[key >> SHIFT]
            held = part.get(key, 0)
            if held is not before:
                if not held & bit:
                    continue
                before, after = held, held ^ bit
            elif not held:
                continue
            left -= 1
            if after:
                part[key] = after
            else:
                del part[key]
        self._counts[worker] = left
        if not left:
            del self._counts[worker]
            self.free(worker)

    def keys(self, worker: WorkerId) -> list[BlockKey]:
        """All that `worker` holds: looks through the blocks of everybody."""
        return [key for keys in self.walk(worker) for key in keys]

    def walk(self, worker: WorkerId) -> Iterator[list[BlockKey]]:
        """The same, a part of it at a time; blocks may come and go meanwhile."""
        for start in range(0, len(self.parts), _STEP):
            bit = self._taken.get(worker, 0)
            parts = self.parts[start : start + _STEP]
            keys = [key for part in parts for key, held in part.items() if held & bit]
            if keys:
                yield keys

    def hide(self, worker: WorkerId) -> None:
        """`worker` is not found any more, until it is given a block again. What it holds must be taken from it."""
        bit = self._taken.get(worker, 0)
        if bit:
            self._slots[bit.bit_length() - 1] = None

    def _place(self, worker: WorkerId) -> int:
        bit = self.bit_of(worker)
        self._slots[bit.bit_length() - 1] = worker
        return bit

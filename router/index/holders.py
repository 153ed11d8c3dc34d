"""Who holds which block: a set of workers per block key, as the bits of an int.

So the deepest match over all workers is found by bisection over the prompt's keys, whatever their number: what
a worker holds is prefix-closed, evictions take tails first.
"""

from collections.abc import Mapping

from router.ids import BlockKey, WorkerId


class Holders:
    """`bits` has, per block key, the workers that hold it; `bit_of` gives a worker its place there."""

    __slots__ = ("_slots", "_taken", "bits")

    def __init__(self) -> None:
        self.bits: dict[BlockKey, int] = {}
        self._slots: list[WorkerId | None] = []
        self._taken: dict[WorkerId, int] = {}

    def bit_of(self, worker: WorkerId) -> int:
        """The worker's bit; it gets one when it has none."""
        bit = self._taken.get(worker)
        if bit is None:
            slot = self._slots.index(None) if None in self._slots else len(self._slots)
            self._slots[slot : slot + 1] = [worker]
            bit = self._taken[worker] = 1 << slot
        return bit

    def free(self, worker: WorkerId) -> None:
        """The worker is gone, and no block is held by it any more: its bit can be another's."""
        bit = self._taken.pop(worker, 0)
        if bit:
            self._slots[bit.bit_length() - 1] = None

    def add(self, key: BlockKey, bit: int) -> None:
        """One more holds it."""
        self.bits[key] = self.bits.get(key, 0) | bit

    def drop(self, key: BlockKey, bit: int) -> None:
        """One does not hold it any more."""
        left = self.bits.get(key, 0) & ~bit
        if left:
            self.bits[key] = left
        else:
            self.bits.pop(key, None)

    def lookup(self, keys: list[BlockKey]) -> Mapping[WorkerId, int]:
        """How many leading blocks each worker holds; workers that hold none are left out."""
        found: dict[WorkerId, int] = {}
        bits, slots, seen = self.bits, self._slots, 0
        depth = self._deepest(keys, len(keys), seen)
        while depth:
            new = bits[keys[depth - 1]] & ~seen
            seen |= new
            while new:
                low = new & -new
                new ^= low
                worker = slots[low.bit_length() - 1]
                if worker is not None:
                    found[worker] = depth
            depth = self._deepest(keys, depth - 1, seen)
        return found

    def _deepest(self, keys: list[BlockKey], limit: int, seen: int) -> int:
        """The most leading blocks, up to `limit`, that some worker outside `seen` holds."""
        get, unseen = self.bits.get, ~seen
        if not limit or not get(keys[0], 0) & unseen:
            return 0
        low, high = 1, limit
        while low < high:
            middle = (low + high + 1) // 2
            if get(keys[middle - 1], 0) & unseen:
                low = middle
            else:
                high = middle - 1
        return low

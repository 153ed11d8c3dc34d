"""Who holds which block: a set of workers per block key, as the bits of an int.

What a worker holds is prefix-closed (evictions take tails first), so that its depth in a prompt is found by
bisection. Workers are bisected together for as long as they go the same way: no key is asked for twice.
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
        get = self.bits.get
        holders = get(keys[0], 0) if keys else 0
        ranges = [(1, len(keys), holders)] if holders else []
        while ranges:
            low, high, group = ranges.pop()  # all of the group hold `low` blocks and at most `high`
            while low < high:
                middle = (low + high + 1) // 2
                deeper = get(keys[middle - 1], 0) & group
                if not deeper:
                    high = middle - 1
                    continue
                if deeper != group:
                    ranges.append((low, middle - 1, group ^ deeper))
                    group = deeper
                low = middle
            self._note(found, group, low)
        return found

    def _note(self, found: dict[WorkerId, int], group: int, depth: int) -> None:
        slots = self._slots
        while group:
            bit = group & -group
            group ^= bit
            worker = slots[bit.bit_length() - 1]
            if worker is not None:
                found[worker] = depth

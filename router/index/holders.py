"""Who holds which block: a set of workers per block key, as the bits of an int.

What a worker holds is prefix-closed (evictions take tails first), so that its depth in a prompt is found by
bisection. Workers are bisected together for as long as they go the same way: no key is asked for twice.
"""

from router.ids import BlockKey, WorkerId

SHIFT = 54
"""What remains of a key's 64 bits behind it is the number of its part."""

_PARTS = 1 << (64 - SHIFT)


class Holders:
    """`bit_of` gives a worker its place in the sets. They are kept in `parts`: those of `key` in `parts[key >> SHIFT]`.

    Python rebuilds a dict that has grown in one go, 85 ms for a million blocks. Parts are rebuilt one at a time.
    """

    __slots__ = ("_free", "_slots", "_taken", "parts")

    def __init__(self) -> None:
        self.parts: list[dict[BlockKey, int]] = [{} for _ in range(_PARTS)]
        self._slots: list[WorkerId | None] = []
        self._taken: dict[WorkerId, int] = {}
        self._free: list[int] = []

    def __len__(self) -> int:
        """How many blocks are held by anybody."""
        return sum(map(len, self.parts))

    def bit_of(self, worker: WorkerId) -> int:
        """The worker's bit; it gets one when it has none."""
        bit = self._taken.get(worker)
        if bit is None:
            if self._free:
                slot = self._free.pop()
                self._slots[slot] = worker
            else:
                slot = len(self._slots)
                self._slots.append(worker)
            bit = self._taken[worker] = 1 << slot
        return bit

    def free(self, worker: WorkerId) -> None:
        """The worker is gone, and no block is held by it any more: its bit can be another's."""
        bit = self._taken.pop(worker, 0)
        if bit:
            slot = bit.bit_length() - 1
            self._slots[slot] = None
            self._free.append(slot)

    def add(self, key: BlockKey, bit: int) -> None:
        """One more holds it."""
        part = self.parts[key >> SHIFT]
        held = part.get(key)
        part[key] = bit if held is None else held | bit  # one int for all that it alone holds

    def drop(self, key: BlockKey, bit: int) -> None:
        """One does not hold it any more."""
        part = self.parts[key >> SHIFT]
        left = part.get(key, 0) & ~bit
        if left:
            part[key] = left
        else:
            part.pop(key, None)

    def lookup(self, keys: list[BlockKey]) -> dict[WorkerId, int]:
        """How many leading blocks each worker holds; workers that hold none are left out."""
        found: dict[WorkerId, int] = {}
        parts = self.parts
        holders = parts[keys[0] >> SHIFT].get(keys[0], 0) if keys else 0
        ranges = [(1, len(keys), holders)] if holders else []
        while ranges:
            low, high, group = ranges.pop()  # all of the group hold `low` blocks and at most `high`
            while low < high:
                middle = (low + high + 1) // 2
                key = keys[middle - 1]
                deeper = parts[key >> SHIFT].get(key, 0) & group
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

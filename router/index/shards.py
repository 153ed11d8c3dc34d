"""A dict in parts, for millions of entries (pure).

Python rebuilds a dict in one go when it has grown, and now and then when entries come and go: 7 ms for 60,000 of them,
85 ms for a million, in which the event loop stands still. Many small dicts are rebuilt one at a time.
"""

from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")

PARTS = 256
_MASK = PARTS - 1


class Shards(Generic[K, V]):
    """What is done often is done to the `part` that a key belongs to."""

    __slots__ = ("_parts",)

    def __init__(self) -> None:
        self._parts: list[dict[K, V]] = [{} for _ in range(PARTS)]

    def __len__(self) -> int:
        return sum(map(len, self._parts))

    def __contains__(self, key: K) -> bool:
        return key in self._parts[hash(key) & _MASK]

    def part(self, key: K) -> dict[K, V]:
        """The dict that `key` belongs to."""
        return self._parts[hash(key) & _MASK]

    def get(self, key: K) -> V | None:
        """The entry, None if there is none."""
        return self._parts[hash(key) & _MASK].get(key)

    def pop_some(self, count: int) -> list[tuple[K, V]]:
        """Take out `count` entries, fewer only when there are no more."""
        found: list[tuple[K, V]] = []
        for part in filter(None, self._parts):
            while part and len(found) < count:
                found.append(part.popitem())
            if not part:
                part.clear()  # its memory is given back now, not that of all parts in the end
            if len(found) == count:
                break
        return found

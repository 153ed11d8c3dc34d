"""Virtual time for what schedules."""

from collections.abc import Callable
from heapq import heappop, heappush
from typing import Any


class Clock:
    """Calls what was scheduled, in order."""

    def __init__(self) -> None:
        self._heap: list[tuple[float, int, Callable[..., None], tuple[Any, ...]]] = []
        self._number = 0

    def at(self, when: float, action: Callable[..., None], *arguments: Any) -> None:
        self._number += 1
        heappush(self._heap, (when, self._number, action, arguments))

    def until(self, now: float) -> None:
        while self._heap and self._heap[0][0] <= now:
            _, _, action, arguments = heappop(self._heap)
            action(*arguments)

"""A timer wheel for many streams with one pace: each tick serves the streams of one slot."""

from __future__ import annotations

import asyncio
import time
from typing import Protocol


class Beating(Protocol):
    """What hangs on the wheel."""

    def beat(self) -> bool:
        """Do one step; False to be taken off the wheel. It must not add to the wheel."""
        ...


class Wheel:
    """`interval_s` per turn, `tick_s` per slot. A late wheel makes up for missed slots at once."""

    def __init__(self, interval_s: float, tick_s: float, now: float) -> None:
        self._slots: list[list[Beating]] = [[] for _ in range(max(1, round(interval_s / tick_s)))]
        self._tick_s = interval_s / len(self._slots)
        self._start = now
        self._served = 0  # slots served since the start

    def add(self, item: Beating) -> None:
        """First beat after one whole turn (less than a tick early)."""
        self._slots[(self._served - 1) % len(self._slots)].append(item)

    def advance(self, now: float) -> None:
        """Serve every slot that is due at `now`."""
        due = int((now - self._start) / self._tick_s)
        while self._served < due:
            at = self._served % len(self._slots)
            self._served += 1
            slot = self._slots[at]
            if slot:
                self._slots[at] = [item for item in slot if item.beat()]

    def next_due(self) -> float:
        """When the next slot is due, on the clock that `advance` is given."""
        return self._start + (self._served + 1) * self._tick_s

    async def run(self) -> None:
        """Advance for ever."""
        while True:
            await asyncio.sleep(max(0.0, self.next_due() - time.monotonic()))
            self.advance(time.monotonic())

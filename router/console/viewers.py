"""Who watches: each has events that wait to be sent to it, and never many."""

import asyncio

from router.errors import RouterError, Source

_RETRY_S = 5


class Viewer:
    """One who watches. When it reads too slowly for `limit` bytes, its events are dropped and it is `behind`: it needs
    to be told everything anew.
    """

    def __init__(self, limit: int) -> None:
        self.behind = False
        self.over = False
        self._limit = limit
        self._events: list[bytes] = []
        self._bytes = 0
        self._news = asyncio.Event()

    def push(self, event: bytes) -> None:
        """Have it sent."""
        self._bytes += len(event)
        if self._bytes > self._limit:
            self.behind = True
        if self.behind:
            self._events.clear()
            self._bytes = 0
        else:
            self._events.append(event)
        self._news.set()

    def end(self) -> None:
        """Nothing more will come."""
        self.over = True
        self._news.set()

    async def wait(self) -> bytes | None:
        """The events that came together, as soon as there are some; None: it is behind."""
        await self._news.wait()
        behind, events = self.behind, self.drop()
        return None if behind else b"".join(events)

    def drop(self) -> list[bytes]:
        """Nothing waits any more: what did."""
        events, self._events, self._bytes = self._events, [], 0
        self.behind = False
        if not self.over:
            self._news.clear()
        return events


class Viewers:
    """All of them, `most` at a time."""

    def __init__(self, most: int = 32, limit: int = 1 << 20) -> None:
        self._most = most
        self._limit = limit
        self._all: set[Viewer] = set()

    def __len__(self) -> int:
        return len(self._all)

    def join(self) -> Viewer:
        """One more; raises `RouterError`, 503, when there are too many."""
        if len(self._all) >= self._most:
            raise RouterError(
                503,
                "too_many_viewers",
                f"{self._most} pages watch this router already, which is as many as may. Close one of them.",
                source=Source.CLIENT,
                retry_after_s=_RETRY_S,
            )
        viewer = Viewer(self._limit)
        self._all.add(viewer)
        return viewer

    def leave(self, viewer: Viewer) -> None:
        """It watches no longer."""
        self._all.discard(viewer)

    def push(self, event: bytes) -> None:
        """Have it sent to everybody."""
        for viewer in self._all:
            viewer.push(event)

    def end(self) -> None:
        """Nothing more will come for anybody."""
        for viewer in self._all:
            viewer.end()

"""A client that writes bytes as they are and takes answers by their letter."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import cast

from tests.fuzz.answers import Answer, split

PATIENCE_S = 5.0
"""For what must come; generous, for busy machines."""


class Talk(asyncio.Protocol):
    """One connection to a router. Keeps what came before a reset."""

    def __init__(self) -> None:
        self.data = b""
        self.closed = False
        self._news = asyncio.Event()
        self._transport = asyncio.Transport()

    # -- asyncio.Protocol ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass

    def data_received(self, data: bytes) -> None:
        self.data += data
        self._news.set()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed = True
        self._news.set()

    # -- what tests do -------------------------------------------------------------------------

    async def send(self, pieces: Iterable[bytes]) -> None:
        """Write piece after piece, so that each is a read of its own, mostly."""
        for piece in pieces:
            if self.closed or self._transport.is_closing():
                return
            self._transport.write(piece)
            await asyncio.sleep(0)

    def hang_up(self) -> None:
        """No more will be sent."""
        if not self.closed and not self._transport.is_closing():
            self._transport.write_eof()

    def answers(self) -> list[Answer]:
        """Whole final answers so far."""
        return [each for each in split(self.data, closed=self.closed)[0] if each.status >= 200]

    async def read(self, timeout_s: float) -> bool:
        """Wait for bytes or the end; False: nothing came in that time."""
        if self.closed:
            return False
        self._news.clear()
        try:
            await asyncio.wait_for(self._news.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    async def until(self, count: int) -> None:
        """Wait for `count` answers or the connection's end."""
        while len(self.answers()) < count and not self.closed:
            assert await self.read(PATIENCE_S), f"no answer, no end: {self.data!r}"

    async def until_closed(self) -> None:
        """Wait for the connection's end."""
        while not self.closed:
            assert await self.read(PATIENCE_S), f"the connection stays open: {self.data!r}"

    def leave(self) -> None:
        """Close at once."""
        self._transport.abort()


@asynccontextmanager
async def talking(port: int) -> AsyncIterator[Talk]:
    """A connection to loopback."""
    _, talk = await asyncio.get_running_loop().create_connection(Talk, "127.0.0.1", port)
    try:
        yield talk
    finally:
        talk.leave()
        await asyncio.sleep(0)

"""Many streams at once: each connection asks once and reads to the end; how old each event is when it comes."""

from __future__ import annotations

import asyncio
import re
import time
from array import array
from dataclasses import dataclass, field
from typing import cast

from bench.dataplane.http1 import AnswerReader
from bench.streams.mock import DIGITS

_STAMP = re.compile(rb'"content":"(\d{%d})"' % DIGITS)
_FURTHER_EVENTS = 2  # usage and [DONE]
_TAIL = 64 + DIGITS  # longer than what a read boundary may cut


@dataclass(slots=True)
class Tally:
    """What came of all streams. `ages_s`: of events that came while `measuring`."""

    open: int = 0
    ended: int = 0
    chunks: int = 0
    failures: dict[str, int] = field(default_factory=dict)
    ages_s: array[float] = field(default_factory=lambda: array("d"))
    measuring: bool = False

    def fail(self, why: str) -> None:
        """One stream did not go well."""
        self.failures[why] = self.failures.get(why, 0) + 1


class StreamClient(asyncio.Protocol):
    """One stream."""

    def __init__(self, request: bytes, tokens: int, tally: Tally) -> None:
        self._request, self._tokens, self._tally = request, tokens, tally
        self._reader = AnswerReader()
        self._tail = b""
        self._over = False
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Ask."""
        self._transport = cast("asyncio.Transport", transport)
        self._tally.open += 1
        self._transport.write(self._request)

    def data_received(self, data: bytes) -> None:
        """Take the times of the events, look for the end."""
        now_ns = time.monotonic_ns()
        joined = self._tail + data
        last = 0
        for found in _STAMP.finditer(joined):
            last = found.end()
            self._note(now_ns - int(found[1]))
        self._tail = joined[max(last, len(joined) - _TAIL) :]
        if self._reader.feed(data):
            self._end()

    def _note(self, age_ns: int) -> None:
        self._tally.chunks += 1
        if self._tally.measuring:
            self._tally.ages_s.append(age_ns / 1e9)

    def _end(self) -> None:
        self._over = True
        reader, tally = self._reader, self._tally
        if reader.status != 200 or not reader.done:
            tally.fail(f"status {reader.status}, [DONE]: {reader.done}")
        elif reader.events != self._tokens + _FURTHER_EVENTS:
            tally.fail(f"{reader.events - _FURTHER_EVENTS} tokens instead of {self._tokens}")
        else:
            tally.ended += 1
        assert self._transport is not None
        self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:
        """Before its end that is a failure."""
        self._tally.open -= 1
        if not self._over:
            self._tally.fail(f"connection lost: {exc or 'closed'}")


async def open_streams(
    port: int, requests: list[bytes], tokens: int, ramp_s: float, tally: Tally
) -> None:
    """Open a stream for each request, evenly over `ramp_s`."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    async with asyncio.TaskGroup() as group:
        for number, request in enumerate(requests):
            await asyncio.sleep(max(0.0, start + ramp_s * number / len(requests) - loop.time()))
            group.create_task(_open(port, StreamClient(request, tokens, tally), tally))


async def _open(port: int, client: StreamClient, tally: Tally) -> None:
    loop = asyncio.get_running_loop()
    try:
        await loop.create_connection(lambda: client, "127.0.0.1", port)
    except OSError as error:
        tally.fail(str(error))

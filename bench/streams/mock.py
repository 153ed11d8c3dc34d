"""A mock worker whose events say when they were written: `python -m bench.streams.mock --port 18711 --interval-ms 1000`."""

from __future__ import annotations

import argparse
import asyncio
import time
from functools import partial

import uvloop

from bench.dataplane import harness
from bench.dataplane.backend import Connection, Stream
from bench.dataplane.mockworker import Worker, sse_event
from bench.dataplane.wheel import Beating, Wheel

DIGITS = 19
_TICK_S = 0.001


def _template() -> tuple[bytes, bytes]:
    """A token's event before and after its time."""
    hole = "@" * DIGITS
    choice = {"index": 0, "delta": {"content": hole}, "logprobs": None, "finish_reason": None}
    before, after = sse_event("chatcmpl-stream", [choice]).split(hole.encode())
    return before, after


_BEFORE, _AFTER = _template()


def stamped_event(now_ns: int) -> bytes:
    """A token's event that was written at `now_ns`."""
    return b"%b%019d%b" % (_BEFORE, now_ns, _AFTER)


class _Stamped:
    """A stream whose next event is made when it is due."""

    __slots__ = ("_stream",)

    def __init__(self, stream: Stream) -> None:
        self._stream = stream

    def beat(self) -> bool:
        self._stream._event = stamped_event(time.monotonic_ns())
        return self._stream.beat()


class StampingWheel(Wheel):
    """A wheel for streams that are stamped."""

    def add(self, item: Beating) -> None:
        """As `Wheel.add`."""
        super().add(_Stamped(item) if isinstance(item, Stream) else item)


async def serve(port: int, interval_s: float) -> None:
    """Serve until cancelled."""
    wheel = StampingWheel(interval_s, _TICK_S, time.monotonic())
    loop = asyncio.get_running_loop()
    server = await loop.create_server(
        partial(Connection, Worker(port), wheel), "127.0.0.1", port, backlog=4096
    )
    async with server:
        await wheel.run()


def main() -> None:
    """Read the flags and serve."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--interval-ms", type=float, default=1000)
    args = parser.parse_args()
    harness.prepare()
    uvloop.run(serve(args.port, args.interval_ms / 1e3))


if __name__ == "__main__":
    main()

"""Mock vLLM workers, several ports in one process, cheap enough to share a core with the client.

    python -m bench.dataplane.backend --ports 18311,18312 --itl-ms 20

A streamed answer sends one SSE event of about 250 bytes per write, one every `itl`; all streams
hang on one timer wheel, so a tick costs one timer and not one per stream. Other answers come at once.
"""

from __future__ import annotations

import argparse
import asyncio
import re
import time
from collections.abc import Callable
from functools import partial
from typing import cast

import uvloop

from bench.dataplane.http1 import HEAD_END, dechunk, message_end
from bench.dataplane.mockworker import Worker, answer, chunk, sse_event, token_event, usage_of
from bench.dataplane.wheel import Wheel

EDGE_BYTES = 512  # the members we look for are near one end of a body, whoever serialised it
_MAX_TOKENS = re.compile(rb'"max_tokens"\s*:\s*(\d+)')
_STREAM = re.compile(rb'"stream"\s*:\s*true')
_USAGE = re.compile(rb'"include_usage"\s*:\s*true')
_INFERENCE = (b"/v1/chat/completions", b"/v1/completions")
_SSE_HEAD = (
    b"HTTP/1.1 200 OK\r\nserver: uvicorn\r\ncontent-type: text/event-stream; charset=utf-8\r\n"
    b"transfer-encoding: chunked\r\n\r\n"
)


class Stream:
    """One streamed answer on the wheel; `beat` sends its next event."""

    __slots__ = ("_event", "_last", "_left", "_on_end", "_transport")

    def __init__(
        self,
        transport: asyncio.WriteTransport,
        event: bytes,
        last: bytes,
        tokens: int,
        on_end: Callable[[], None],
    ) -> None:
        self._transport = transport
        self._event, self._last, self._left, self._on_end = event, last, tokens, on_end

    def cut(self) -> None:
        """The client went away."""
        self._left = 0

    def beat(self) -> bool:
        """Send the next event; False when it was the last one or nobody listens."""
        left = self._left = self._left - 1
        if left > 0:
            self._transport.write(self._event)
            return True
        if left == 0:
            self._transport.write(self._last)
            self._on_end()
        return False


class Connection(asyncio.Protocol):
    """Serves the requests of one client connection in turn."""

    def __init__(self, worker: Worker, wheel: Wheel) -> None:
        self._worker, self._wheel = worker, wheel
        self._buffer = bytearray()
        self._need = 0
        self._stream: Stream | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Remember where answers go."""
        self._transport = cast("asyncio.Transport", transport)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stop what still runs for this client."""
        del exc
        if self._stream:
            self._stream.cut()
            self._stream = None
            self._worker.running -= 1
            self._worker.aborted += 1

    def data_received(self, data: bytes) -> None:
        """Collect bytes until a request is whole, then answer it."""
        if self._buffer:
            self._buffer += data
            if len(self._buffer) < self._need:
                return
            data = bytes(self._buffer)
            self._buffer.clear()
        while data:
            head_end, end = message_end(data)
            if len(data) < end:
                self._buffer += data
                self._need = end
                return
            self._request(data[:head_end], data[head_end + len(HEAD_END) : end])
            data = data[end:]

    def _request(self, head: bytes, body: bytes) -> None:
        path = head[: head.find(b"\r\n")].split(b" ")[1].partition(b"?")[0]
        if body and b"\r\ntransfer-encoding:" in head.lower():
            body = dechunk(body)
        if path not in _INFERENCE:
            self._transport.write(self._worker.other(path, body))
        elif not (body.startswith(b"{") and body.endswith(b"}")):
            self._worker.bad += 1
            self._transport.write(answer(b'{"error":{"message":"bad body"}}', b"400 Bad Request"))
        else:
            self._complete(body)

    def _complete(self, body: bytes) -> None:
        edges = body if len(body) < 2 * EDGE_BYTES else body[:EDGE_BYTES] + body[-EDGE_BYTES:]
        found = _MAX_TOKENS.search(edges)
        tokens = int(found[1]) if found else 16
        if not _STREAM.search(edges):
            self._transport.write(self._worker.completion(body, tokens))
            return
        stream_id = self._worker.next_id()
        last = token_event(stream_id, "stop")
        if _USAGE.search(edges):
            last += sse_event(stream_id, [], usage_of(body, tokens))
        last += chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"
        self._stream = Stream(self._transport, token_event(stream_id), last, tokens, self._ended)
        self._worker.running += 1
        self._transport.write(_SSE_HEAD)
        self._wheel.add(self._stream)

    def _ended(self) -> None:
        self._stream = None
        self._worker.running -= 1


async def serve(ports: list[int], itl_s: float, tick_s: float) -> None:
    """Serve all ports until cancelled."""
    loop = asyncio.get_running_loop()
    wheel = Wheel(itl_s, tick_s, time.monotonic())
    for port in ports:
        worker = Worker(port)
        await loop.create_server(
            partial(Connection, worker, wheel), "127.0.0.1", port, backlog=4096
        )
    await wheel.run()


def main() -> None:
    """Read the flags and serve."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--ports", required=True, help="comma-separated, one worker each")
    parser.add_argument(
        "--itl-ms", type=float, default=20, help="time between the events of a stream"
    )
    parser.add_argument("--tick-ms", type=float, default=1, help="resolution of the timer wheel")
    args = parser.parse_args()
    uvloop.run(
        serve([int(p) for p in args.ports.split(",")], args.itl_ms / 1e3, args.tick_ms / 1e3)
    )


if __name__ == "__main__":
    main()

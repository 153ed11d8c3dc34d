"""One connection of a scripted worker: requests parsed and recorded, answers written as a script says."""

import asyncio
import json
import socket
import struct
from collections.abc import Awaitable, Callable, Iterable, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from time import perf_counter
from typing import Any, Protocol, TypeAlias, cast

import httptools

Fields: TypeAlias = Sequence[tuple[str, str]]
Script: TypeAlias = Callable[["Request", "Wire"], Awaitable[None]]

_RST_ON_CLOSE = struct.pack("ii", 1, 0)


class WireClosedError(Exception):
    """The router closed the connection while a script was writing to it."""


@dataclass(slots=True, eq=False)
class Request:
    """A request as it came over the wire; header names keep their case and order."""

    method: str
    target: str
    version: str
    headers: list[tuple[str, str]]
    wire: "Wire"
    body: bytes = b""
    arrived_at: float = field(default_factory=perf_counter)

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def all(self, name: str) -> list[str]:
        """Every value of a header field."""
        return [value for known, value in self.headers if known.lower() == name.lower()]

    def header(self, name: str) -> str | None:
        """The only value of a header field; fails when it came more than once."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times: {values}"
        return values[0] if values else None

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


class Host(Protocol):
    """The worker that a connection belongs to."""

    def opened(self, wire: "Wire") -> None:
        """A connection was accepted."""

    def closed(self, wire: "Wire") -> None:
        """A connection is gone."""

    def head_received(self, method: str, wire: "Wire") -> None:
        """A request's head is complete, its body is not."""

    def received(self, request: Request) -> None:
        """A request is complete."""

    async def answer(self, request: Request, wire: "Wire") -> None:
        """Answer it."""

    def broken(self, error: BaseException) -> None:
        """A script failed, or what came was not HTTP."""


class Wire(asyncio.Protocol):
    """A connection accepted by a worker.

    `closed_at` (`perf_counter`) and `closed` tell when the router closed it, `written` how many bytes
    have been given to the socket, `stalled` whether the router does not read at the moment.
    """

    def __init__(self, host: Host) -> None:
        self.closed = asyncio.Event()
        self.closed_at: float | None = None
        self.served = 0
        self.written = 0
        self._host = host
        self._parser = httptools.HttpRequestParser(self)
        self._transport: asyncio.Transport | None = None
        self._queue: asyncio.Queue[Request] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._writable = asyncio.Event()
        self._writable.set()
        self._url = b""
        self._headers: list[tuple[str, str]] = []
        self._body: list[bytes] = []
        self._chunked = False

    @property
    def target(self) -> str:
        """What is asked for by the request that is being read."""
        return self._url.decode("latin-1")

    @property
    def stalled(self) -> bool:
        """The router does not read: the socket's buffer and ours are full."""
        return not self._writable.is_set()

    @property
    def buffered(self) -> int:
        """Bytes written by the script that the socket has not taken yet."""
        return self._transport.get_write_buffer_size() if self._transport else 0

    # -- answers -------------------------------------------------------------------------------

    async def raw(self, data: bytes) -> None:
        """Write bytes as they are; waits while the router does not read."""
        if self._transport is None or self._transport.is_closing():
            raise WireClosedError
        self._transport.write(data)
        self.written += len(data)
        if self.stalled:
            await self._writable.wait()
        if self.closed.is_set():
            raise WireClosedError

    def answer_early(self, data: bytes) -> None:
        """Write bytes before the request is whole, and read no more of it."""
        assert self._transport is not None
        self._transport.write(data)
        self.pause()

    async def reply(self, status: int = 200, headers: Fields = (), body: bytes = b"") -> None:
        """A whole answer with its length."""
        await self.raw(head(status, [*headers, ("Content-Length", str(len(body)))]) + body)

    async def json(self, value: Any, status: int = 200, headers: Fields = ()) -> None:
        """A whole JSON answer."""
        body = json.dumps(value).encode()
        await self.reply(status, [("Content-Type", "application/json"), *headers], body)

    async def start(self, status: int = 200, headers: Fields = ()) -> None:
        """Begin a chunked answer; `chunk` and `end` go on."""
        await self.raw(head(status, [*headers, ("Transfer-Encoding", "chunked")]))

    async def chunk(self, data: bytes) -> None:
        """One chunk of the body."""
        await self.raw(b"%x\r\n%b\r\n" % (len(data), data))

    async def end(self, trailers: Fields = ()) -> None:
        """End a chunked answer."""
        fields = "".join(f"{name}: {value}\r\n" for name, value in trailers)
        await self.raw(b"0\r\n" + fields.encode("latin-1") + b"\r\n")

    async def stream(
        self,
        pieces: Iterable[bytes],
        *,
        delay_s: float = 0.0,
        headers: Fields = (),
        end: bool = True,
    ) -> None:
        """An event stream, a chunk for each piece, `delay_s` between them."""
        await self.start(200, [("Content-Type", "text/event-stream; charset=utf-8"), *headers])
        for number, piece in enumerate(pieces):
            if number and delay_s:
                await asyncio.sleep(delay_s)
            await self.chunk(piece)
        if end:
            await self.end()

    async def hang(self) -> None:
        """Say nothing until the router closes the connection."""
        await self.closed.wait()

    def pause(self) -> None:
        """Read nothing more, until `resume`."""
        if self._transport is not None:
            self._transport.pause_reading()

    def resume(self) -> None:
        """Read on."""
        if self._transport is not None:
            self._transport.resume_reading()

    def close(self) -> None:
        """Close in the ordinary way, after what has been written."""
        if self._transport is not None:
            self._transport.close()

    def reset(self) -> None:
        """Close with a reset, as a process that dies does."""
        if self._transport is None:
            return
        sock = cast(socket.socket, self._transport.get_extra_info("socket"))
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RST_ON_CLOSE)
        self._transport.abort()

    # -- asyncio.Protocol ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._task = asyncio.get_running_loop().create_task(self._work())
        self._host.opened(self)

    def data_received(self, data: bytes) -> None:
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserError as error:
            self._host.broken(error)
            self.reset()

    def connection_lost(self, exc: Exception | None) -> None:
        self.closed_at = perf_counter()
        self._transport = None
        self.closed.set()
        self._writable.set()
        self._host.closed(self)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    # -- requests ------------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        self._url, self._headers, self._body = b"", [], []

    def on_url(self, url: bytes) -> None:
        self._url += url

    def on_header(self, name: bytes, value: bytes) -> None:
        self._headers.append((name.decode("latin-1"), value.decode("latin-1")))

    def on_headers_complete(self) -> None:
        self._host.head_received(self._parser.get_method().decode("ascii"), self)

    def on_body(self, body: bytes) -> None:
        self._body.append(body)

    def on_message_complete(self) -> None:
        request = Request(
            method=self._parser.get_method().decode("ascii"),
            target=self.target,
            version=self._parser.get_http_version(),
            headers=self._headers,
            wire=self,
            body=b"".join(self._body),
        )
        self._host.received(request)
        self._queue.put_nowait(request)

    async def _work(self) -> None:
        """Answer requests, one after the other."""
        while not self.closed.is_set():
            request = await self._queue.get()
            try:
                await self._host.answer(request, self)
            except WireClosedError:
                return
            except Exception as error:  # a script's defect must fail the test, not hang it
                self._host.broken(error)
                self.reset()
                raise
            self.served += 1

    async def stop(self) -> None:
        """Drop the connection and its script."""
        if self._transport is not None:
            self._transport.abort()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)


def head(status: int, headers: Fields) -> bytes:
    """An answer's head, blank line included."""
    lines = [f"HTTP/1.1 {status} {HTTPStatus(status).phrase}"]
    lines += [f"{name}: {value}" for name, value in headers]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")

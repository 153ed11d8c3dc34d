"""One request on an HTTP/1 connection of uvicorn's, answered by writing to its transport."""

import asyncio
from typing import Protocol

from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from router.edge.exchange import BODILESS, EdgeServices, Exchange, Target
from router.ids import Headers
from router.prompt.endpoints import Endpoint

_LINGER_S = 2.0
"""How long a refused upload is read on: closing at once would reset the answer away."""


class Wire(Protocol):
    """The connection, as its exchanges see it."""

    transport: asyncio.Transport
    loop: asyncio.AbstractEventLoop
    tasks: set[asyncio.Task[None]]

    def exchange_complete(self, exchange: "HttpExchange") -> None:
        """The answer has been written; the next request may begin."""


class _NoEvent:
    """Stands where uvicorn's own cycle has its asyncio.Event."""

    def set(self) -> None:
        pass


class HttpExchange(Exchange):
    """Also has the few attributes that uvicorn's connection class reads of its own request cycles:
    `response_complete`, `disconnected`, `keep_alive`, `message_event`.
    """

    message_event = _NoEvent()

    def __init__(
        self,
        wire: Wire,
        services: EdgeServices,
        endpoint: Endpoint,
        target: Target,
        head: tuple[bytes, Headers, str],
        *,
        keep_alive: bool,
    ) -> None:
        super().__init__(services, endpoint, target)
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = keep_alive
        self._wire = wire
        self._method, self._headers, self._version = head
        self._chunked = False
        self._silent = self._method == b"HEAD"
        self._out: list[bytes] = []
        self._body: list[bytes] = []
        self._body_bytes = 0
        self._whole = False
        self._active = False
        self._expects_continue = False
        self._task: asyncio.Task[None] | None = None

    # -- the request comes in ------------------------------------------------------------------

    def begin(self) -> None:
        """It is this request's turn on the connection."""
        self._active = True
        self._read_expectations()
        if self._whole and not self.response_complete:
            self._launch()

    def _read_expectations(self) -> None:
        for name, value in self._headers:
            if name == b"content-length" and int(value) > self._services.body_limit:
                self._refuse_body()
                return
            if name == b"expect" and value.lower() == b"100-continue":
                self._expects_continue = True
        if self._expects_continue and self._version != "1.0" and not self._whole:
            self._wire.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def receive(self, data: bytes) -> None:
        """A part of the body."""
        if self.response_complete:
            return
        self._body.append(data)
        self._body_bytes += len(data)
        if self._body_bytes > self._services.body_limit:
            self._refuse_body()

    def received(self) -> None:
        """The body is complete."""
        self._whole = True
        if self.response_complete:
            self._wire.transport.close()
        elif self._active:
            self._launch()

    def _refuse_body(self) -> None:
        self._body.clear()
        if not self._active:  # an answer before it must come first; nothing fair can be said
            self._wire.transport.abort()
            return
        self.keep_alive = False
        self.refuse(self.record(self._method, self._headers, b""))

    def _launch(self) -> None:
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        record = self.record(self._method, self._headers, body)
        wire = self._wire
        self._task = wire.loop.create_task(self.serve(record))
        wire.tasks.add(self._task)
        self._task.add_done_callback(wire.tasks.discard)

    # -- the answer goes out -------------------------------------------------------------------

    def inform(self, status: int, headers: Headers) -> None:
        if self._version != "1.0" and status != 100:
            self._wire.transport.write(_head(status, headers) + b"\r\n")

    def start(self, status: int, headers: Headers, length: int | None) -> None:
        self._note_start(headers)
        self._silent = self._silent or status in BODILESS
        framing = self._framing(length)
        if not self.keep_alive:
            framing += b"connection: close\r\n"
        self._out += (_head(status, headers), framing, b"\r\n")

    def _framing(self, length: int | None) -> bytes:
        if length is not None:
            return b"content-length: %d\r\n" % length
        if self._silent:
            return b""
        if self._version == "1.0":
            self.keep_alive = False
            return b""
        self._chunked = True
        return b"transfer-encoding: chunked\r\n"

    def write(self, data: bytes) -> None:
        if self._silent or not data:
            return
        if self._chunked:
            self._out += (b"%x\r\n" % len(data), data, b"\r\n")
        else:
            self._out.append(data)

    def flush(self) -> None:
        if self._out:
            out = self._out
            self._out = []
            if not self.disconnected:
                self._wire.transport.write(b"".join(out))

    def finish(self, trailers: Headers) -> None:
        if self._chunked:
            self._out.append(b"0\r\n")
            self._out += (b"%b: %b\r\n" % field for field in trailers)
            self._out.append(b"\r\n")
        self.flush()
        self._complete()

    def _complete(self) -> None:
        self.response_complete = True
        if not self.keep_alive:
            if self._whole:
                self._wire.transport.close()
            else:
                self._wire.loop.call_later(_LINGER_S, self._wire.transport.close)
        self._wire.exchange_complete(self)

    def abort(self) -> None:
        self.response_complete = True
        self._wire.transport.abort()

    # -- the client is slow or gone ------------------------------------------------------------

    def disconnect(self) -> None:
        """The client left: whatever runs for it is cancelled."""
        self.disconnected = True
        self._body.clear()
        if self._task is not None and not self.response_complete:
            self._task.cancel()


def _head(status: int, headers: Headers) -> bytes:
    parts = [STATUS_LINE.get(status) or b"HTTP/1.1 %d \r\n" % status]
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    return b"".join(parts)

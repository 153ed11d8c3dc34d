"""One request on an HTTP/1 connection of uvicorn's, answered by writing to its transport."""

import asyncio
from typing import Protocol

from uvicorn.protocols.http.flow_control import FlowControl
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from router.edge.cors import replaced
from router.edge.decoding import Decoder, decoder, without_coding
from router.edge.exchange import BODILESS, EdgeServices, Exchange, Route
from router.edge.http1 import LINGER_S
from router.errors import RouterError
from router.ids import Headers
from router.prompt.request import Incoming
from router.proxy.downstream import Source


class Wire(Protocol):
    """The connection, as its exchanges see it."""

    transport: asyncio.Transport
    flow: FlowControl
    loop: asyncio.AbstractEventLoop

    def exchange_complete(self) -> None:
        """The answer has been written; the next request may begin."""


class _NoEvent:
    """Stands where uvicorn's own cycle has its asyncio.Event."""

    def set(self) -> None:
        pass


class HttpExchange(Exchange):
    """Also has the attributes that uvicorn's connection class reads of its own request cycles:
    `response_complete`, `disconnected`, `keep_alive`, `message_event`.
    """

    __slots__ = (
        "_active",
        "_body",
        "_chunked",
        "_decoder",
        "_headers",
        "_method",
        "_out",
        "_silent",
        "_status_line",
        "_told_to_go_on",
        "_wire",
        "body_bytes",
        "disconnected",
        "keep_alive",
        "response_complete",
        "whole",
    )

    message_event = _NoEvent()

    def __init__(
        self,
        wire: Wire,
        services: EdgeServices,
        route: Route,
        head: tuple[bytes, Headers, str],
        *,
        keep_alive: bool,
    ) -> None:
        super().__init__(services, route)
        self.response_complete = False
        self.disconnected = False
        self.keep_alive = keep_alive
        self.whole = False
        self._wire = wire
        self._method, self._headers, self.version = head
        self._chunked = False
        self._silent = self._method == b"HEAD"
        self._out: list[bytes] = []
        self._status_line = b""
        self._body: list[bytes] = []
        self._decoder: Decoder | None = None
        self.body_bytes = 0
        self._active = False
        self._told_to_go_on = False

    # -- the request comes in ------------------------------------------------------------------

    def begin(self) -> None:
        """It is this request's turn on the connection."""
        self._active = True
        try:
            self.enter(self._method, self._headers)
        except RouterError as error:
            self.turn_away(error)
            return
        if self.whole:
            self._serve()

    def expect_more(self) -> None:
        """The body is not all there yet: turn away one that is announced as too large, answer `Expect`."""
        if self._told_to_go_on:
            return
        self._told_to_go_on = True
        fields = dict(self._headers)
        try:
            self.check_length(int(fields.get(b"content-length", b"0")))
            if b"content-encoding" in fields:
                self._begin_decoding()
        except RouterError as error:
            self.turn_away(error)
            return
        if (
            not self.response_complete
            and fields.get(b"expect", b"").lower() == b"100-continue"
            and self.version != "1.0"
            and not self.body_bytes
        ):
            self._wire.transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    def _begin_decoding(self) -> None:
        self._decoder = decoder(self._headers, self._services.limits.body_bytes)
        self._headers = without_coding(self._headers)
        if self._decoder is not None:
            came, self._body = self._body, []
            self.release()
            self._feed(self._decoder, b"".join(came))

    def receive(self, data: bytes) -> None:
        """A part of the body."""
        if self.response_complete:
            return
        size = len(data)
        self.body_bytes += size
        if self._decoder is not None:
            self._feed(self._decoder, data)
            return
        self._body.append(data)
        bodies = self._bodies
        bodies.held += size
        self._held += size
        if self.body_bytes > self._services.limits.body_bytes or bodies.held > bodies.limit:
            self.turn_away(self.too_much(self.body_bytes))

    def _feed(self, decoder: Decoder, data: bytes) -> None:
        try:
            for piece in decoder.feed(data):
                self.hold(len(piece))
                self._body.append(piece)
        except RouterError as error:
            self.turn_away(error)

    def received(self) -> None:
        """The body is complete."""
        self.whole = True
        if self.response_complete:
            self._wire.transport.close()
        elif self._active:
            self._serve()

    def turn_away(self, error: RouterError) -> None:
        """Answer a request that is not read to its end with an error."""
        self._body.clear()
        if not self._active:  # an answer before it must come first; nothing fair can be said
            self._wire.transport.abort()
            return
        self.keep_alive = False
        self.refuse(self._method, self._headers, error)

    def _serve(self) -> None:
        if self._decoder is not None:
            try:
                self._decoder.finish()
            except RouterError as error:
                self.turn_away(error)
                return
        body = self._body[0] if len(self._body) == 1 else b"".join(self._body)
        self._body.clear()
        self.serve(self._method, self._headers, body)

    def _refuse(self, incoming: Incoming, error: RouterError) -> None:
        self.keep_alive = False
        super()._refuse(incoming, error)

    # -- the answer goes out -------------------------------------------------------------------

    def inform(self, status: int, headers: Headers) -> None:
        if self.version != "1.0" and status != 100:
            self._wire.transport.write(b"".join((*_head(status, headers), b"\r\n")))

    def start(self, status: int, headers: Headers, length: int | None) -> None:
        self.started = True
        if status in BODILESS:
            self._silent = True
        if self.keep_alive and self._services.drain.active:
            self.keep_alive = False
        if self._cors_fields is not None:
            headers = replaced(headers, self._cors_fields)
        out = self._out = _head(status, headers)
        self._status_line = out[0]
        if length is not None:
            out.append(b"content-length: %d\r\n" % length)
        elif not self._silent:
            self._frame(out)
        out.append(b"\r\n" if self.keep_alive else b"connection: close\r\n\r\n")

    def _frame(self, out: list[bytes]) -> None:
        if self.version == "1.0":
            self.keep_alive = False
        else:
            self._chunked = True
            out.append(b"transfer-encoding: chunked\r\n")

    def write(self, data: bytes) -> None:
        if self._silent or not data:
            return
        self._out.append(b"%x\r\n%b\r\n" % (len(data), data) if self._chunked else data)

    def flush(self) -> None:
        out = self._out
        if out:
            data = out[0] if len(out) == 1 else b"".join(out)
            out.clear()
            if not self.disconnected:
                self._wire.transport.write(data)

    def take_back(self) -> bool:
        if not self._out or self._out[0] is not self._status_line:
            return False
        self._out.clear()
        self.started = self._chunked = False
        self._silent = self._method == b"HEAD"
        return True

    def finish(self, trailers: Headers) -> None:
        if self._chunked:
            if trailers:
                self._out.append(b"0\r\n")
                self._out += (b"%b: %b\r\n" % field for field in trailers)
                self._out.append(b"\r\n")
            else:
                self._out.append(b"0\r\n\r\n")
        self.flush()
        self.response_complete = True
        self.release()
        if not self.keep_alive:
            if self.whole:
                self._wire.transport.close()
            else:
                self._wire.loop.call_later(LINGER_S, self._wire.transport.close)
        self._wire.exchange_complete()

    def abort(self) -> None:
        self.release()
        self.response_complete = True
        self._wire.transport.abort()

    def feed_from(self, source: Source | None) -> None:
        super().feed_from(source)
        if source is not None and self._wire.flow.write_paused:  # by the answer before this one
            source.pause_reading()

    def disconnect(self) -> None:
        """The client left."""
        self.disconnected = True
        self.release()
        self._body.clear()
        self.cancel()


def _head(status: int, headers: Headers) -> list[bytes]:
    parts = [STATUS_LINE.get(status) or b"HTTP/1.1 %d \r\n" % status]
    for name, value in headers:
        parts += (name, b": ", value, b"\r\n")
    return parts

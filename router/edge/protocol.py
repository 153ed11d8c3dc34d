"""The data plane: uvicorn's HTTP/1 connection class, with inference requests taken out before ASGI.

Parsing, pipelining and shutdown are uvicorn's. Requests to inference endpoints become `HttpExchange`s; every
other one goes the ordinary way into the ASGI application. The methods overridden are uvicorn's internals: it
is pinned, and tests/component/test_uvicorn_contract.py guards each bump.
"""

import asyncio
from time import perf_counter
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from router.edge.envelope import error_body, error_headers
from router.edge.exchange import EdgeServices, Route
from router.edge.http_exchange import HttpExchange
from router.errors import RouterError, Source
from router.prompt.endpoints import Family

_INVALID = RouterError(
    400, "invalid_http_request", "The request is not valid HTTP.", source=Source.CLIENT
)


_MAX_PIPELINED = 16


class RouterProtocol(HttpToolsProtocol):
    """One client connection."""

    def __init__(
        self,
        services: EdgeServices,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._services = services
        self._current: HttpExchange | None = None
        self._idle_since = perf_counter()
        self._upgrading = False

    # -- the parser's callbacks ----------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade as offer:
            self._decline_upgrade(data[offer.args[0] :])
        except httptools.HttpParserError:
            self.send_400_response("")
        current = self._current
        if current is not None and not current.whole and not current.response_complete:
            current.expect_more()

    def on_message_begin(self) -> None:
        self.url = b""
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self.parser.should_upgrade():  # the parser would now skip the body: see _decline_upgrade
            self._upgrading = True
            return
        url = self.url
        route = self._services.routes.find(url if url[:1] == b"/" else _origin_form(url))
        if route is None:
            self._enter_asgi()
        else:
            self._enter_exchange(route)

    def _enter_asgi(self) -> None:
        """Catch up on what uvicorn does for its own requests."""
        url, headers = self.url, self.headers
        super().on_message_begin()
        self.url = url
        for name, value in headers:
            super().on_header(name, value)
        super().on_headers_complete()
        if self.pipeline:
            self._bound_pipeline()

    def _enter_exchange(self, route: Route) -> None:
        parser = self.parser
        version = parser.get_http_version()
        headers, self.headers = self.headers, []  # trailers of the request are not header fields
        exchange = HttpExchange(
            self,
            self._services,
            route,
            (parser.get_method(), headers, version),
            keep_alive=version != "1.0" and parser.should_keep_alive(),
        )
        previous: Any = self.cycle
        self.cycle = exchange  # type: ignore[assignment]
        if previous is None or previous.response_complete:
            self._current = exchange
            exchange.begin()
        else:
            self.pipeline.appendleft((self.cycle, self.app))
            self._bound_pipeline()

    def _bound_pipeline(self) -> None:
        """Read on while few requests wait, or a client's leaving would go unnoticed."""
        if len(self.pipeline) >= _MAX_PIPELINED:
            self.flow.pause_reading()
        else:
            self.flow.resume_reading()

    def _decline_upgrade(self, rest: bytes) -> None:
        """Clients offer h2c or WebSocket with an ordinary request; it is served as if they had not.

        The parser takes an offer for granted and leaves off after the head: the head without the offer, and
        what followed, is parsed anew.
        """
        self._upgrading = False
        method = self.parser.get_method()
        if method == b"CONNECT":
            self.send_400_response("")
            return
        fields = [
            f for f in self.headers if f[0] not in (b"connection", b"upgrade", b"http2-settings")
        ]
        lines = [b"%b: %b" % field for field in fields]
        head = b"\r\n".join((method + b" " + self.url + b" HTTP/1.1", *lines, b"\r\n"))
        self.parser = httptools.HttpRequestParser(self)
        self.data_received(head + rest)

    def on_body(self, body: bytes) -> None:
        cycle: Any = self.cycle
        if type(cycle) is HttpExchange:
            cycle.receive(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._upgrading:
            return
        cycle: Any = self.cycle
        if type(cycle) is HttpExchange:
            cycle.received()
        else:
            super().on_message_complete()

    def send_400_response(self, msg: str) -> None:
        """Answer what is not HTTP, unless it came behind a request whose answer is not complete."""
        if self._answering():
            self.transport.abort()
            return
        body = error_body(_INVALID, Family.OPENAI)
        head = b"".join(b"%b: %b\r\n" % field for field in error_headers(_INVALID, b""))
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\n%bcontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (head, len(body), body)
        )
        self.transport.close()

    def _answering(self) -> bool:
        """A request is complete and its answer is not."""
        if self._current is not None:
            return self._current.whole
        cycle: Any = self.cycle
        return cycle is not None and not cycle.response_complete

    # -- one exchange after another ------------------------------------------------------------

    def exchange_complete(self) -> None:
        """The answer has been written (`http_exchange.Wire`)."""
        self._current = None
        self.on_response_complete()

    def on_response_complete(self) -> None:
        """An answer is complete, ours or the ASGI application's. `close_if_idle` replaces uvicorn's timer."""
        self.server_state.total_requests += 1
        self._idle_since = perf_counter()
        if self.transport.is_closing():
            return
        self.flow.resume_reading()
        if self.pipeline:  # not at once: a long row of quick answers would become a deep stack
            self.loop.call_soon(self._start_waiting)

    def _start_waiting(self) -> None:
        if self.pipeline and self._current is None and not self.transport.is_closing():
            cycle, app = self.pipeline.pop()
            self._start_asgi_task(cycle, app)

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if type(cycle) is HttpExchange:
            self._current = cycle
            cycle.begin()
            if not cycle.whole:
                cycle.expect_more()
        else:
            super()._start_asgi_task(cycle, app)

    # -- the connection ------------------------------------------------------------------------

    def close_if_idle(self, now: float) -> None:
        """Close after the keep-alive time; called every so often instead of a timer per request."""
        cycle: Any = self.cycle
        waiting = cycle is None or cycle.response_complete
        if waiting and now - self._idle_since > self.timeout_keep_alive:
            self.transport.close()

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._current is not None and self._current.source is not None:
            self._current.source.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._current is not None and self._current.source is not None:
            self._current.source.resume_reading()

    def connection_lost(self, exc: Exception | None) -> None:
        if self._current is not None:
            self._current.disconnect()
        super().connection_lost(exc)

    def shutdown(self) -> None:
        if self._current is not None:
            self._current.keep_alive = False
        super().shutdown()


def protocol_factory(services: EdgeServices) -> type[asyncio.Protocol]:
    """The class to hand to uvicorn's `http=` option."""

    class Bound(RouterProtocol):
        def __init__(
            self,
            config: Config,
            server_state: ServerState,
            app_state: dict[str, Any],
            _loop: asyncio.AbstractEventLoop | None = None,
        ) -> None:
            super().__init__(services, config, server_state, app_state, _loop)

    return Bound


def _origin_form(url: bytes) -> bytes:
    """The path and query of an absolute-form target, as a proxy's client may send it."""
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        return b"*"
    path = parsed.path or b"/"
    return path + b"?" + parsed.query if parsed.query else path

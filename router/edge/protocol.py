"""The data plane: uvicorn's HTTP/1 connection class, with inference requests taken out before ASGI.

Parsing, pipelining and shutdown are uvicorn's. Requests to inference endpoints become `HttpExchange`s; every
other one goes the ordinary way into the ASGI application. The methods overridden are uvicorn's internals: it
is pinned, and tests/component/test_uvicorn_contract.py guards each bump.
"""

import asyncio
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.server import ServerState

from router.edge.exchange import EdgeServices, Route
from router.edge.http1 import (
    IGNORED,
    INVALID,
    MAX_HEAD_BYTES,
    check_fields,
    check_head,
    head_too_large,
    head_without_offer,
    origin_form,
)
from router.edge.http_exchange import HttpExchange
from router.edge.watched import WatchedProtocol
from router.errors import RouterError

_MAX_PIPELINED = 16
_MAX_WAITING_BYTES = 1 << 20
"""Of the bodies behind the request that is being answered."""


class RouterProtocol(WatchedProtocol):
    """One client connection."""

    def __init__(
        self,
        services: EdgeServices,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
    ) -> None:
        super().__init__(services, config, server_state, app_state)
        self._current: HttpExchange | None = None
        self._held_back = (
            False  # the next in the pipeline, until the client has read what it was sent
        )
        self._upgrading = False
        self._read_bytes = 0  # of the read that is being parsed
        # Of the reads since the parser last handed something over; -1: it did so in this one.
        self._held_bytes = 0
        self._waiting_bytes = 0

    # -- the parser's callbacks ----------------------------------------------------------------

    def data_received(self, data: bytes) -> None:
        self._read_bytes = len(data)
        try:
            try:
                self.parser.feed_data(data)
            except httptools.HttpParserUpgrade as offer:
                self._decline_upgrades(memoryview(data)[offer.args[0] :])
        except httptools.HttpParserError as error:
            cause = error.__context__
            self._turn_away(cause if isinstance(cause, RouterError) else INVALID)
            return
        self._held_bytes = self._held_bytes + len(data) if self._held_bytes >= 0 else 0
        if self._held_bytes > MAX_HEAD_BYTES:  # the parser collects a field until it is whole
            self._turn_away(head_too_large())
            return
        current = self._current
        if current is not None and not current.whole and not current.response_complete:
            current.expect_more()

    def on_message_begin(self) -> None:
        self._held_bytes = -1
        self._receiving_since = 0.0
        self._stirred = True
        self.url = b""
        self.headers = []

    def on_header(self, name: bytes, value: bytes) -> None:
        self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        if self._held_bytes >= 0 or self._read_bytes > MAX_HEAD_BYTES:
            check_head(self.url, self.headers)
        if self.parser.should_upgrade():
            self._upgrading = True  # the parser would now skip the body: see _decline_upgrades
            return
        url = self.url
        route = self._services.routes.find(url if url[:1] == b"/" else origin_form(url))
        if route is None:
            self._enter_asgi()
        else:
            self._enter_exchange(route)

    def _enter_asgi(self) -> None:
        """Catch up on what uvicorn does for its own requests."""
        url, headers = self.url, self.headers
        check_fields(headers, self.parser.get_http_version())
        super().on_message_begin()
        self.url = url
        for name, value in headers:
            super().on_header(name, value)
        super().on_headers_complete()
        if self._services.drain.active:
            self.cycle.keep_alive = False
        self.headers = IGNORED  # type: ignore[assignment]
        if self.pipeline:
            self._bound_pipeline()

    def _enter_exchange(self, route: Route) -> None:
        parser = self.parser
        version = parser.get_http_version()
        headers = self.headers
        self.headers = IGNORED  # type: ignore[assignment]  # trailers are not header fields
        exchange = HttpExchange(
            self,
            self._services,
            route,
            (parser.get_method(), headers, version),
            keep_alive=version != "1.0" and parser.should_keep_alive(),
        )
        previous: Any = self.cycle
        self.cycle = exchange  # type: ignore[assignment]
        if (previous is None or previous.response_complete) and not self.flow.write_paused:
            self._current = exchange
            exchange.begin()
        else:
            self._held_back = self._held_back or previous is None or previous.response_complete
            self.pipeline.appendleft((self.cycle, self.app))
            self._bound_pipeline()

    def _bound_pipeline(self) -> None:
        """Read on while little waits, or a client's leaving would go unnoticed."""
        if len(self.pipeline) >= _MAX_PIPELINED or self._waiting_bytes > _MAX_WAITING_BYTES:
            self.flow.pause_reading()
        else:
            self.flow.resume_reading()

    def _decline_upgrades(self, rest: memoryview) -> None:
        """Clients offer h2c or WebSocket with an ordinary request; it is served as if they had not.

        The parser takes an offer for granted and leaves off after the head: the head without the offer, and
        the `rest` that followed, is parsed anew.
        """
        while True:
            self._upgrading = False
            method, version = self.parser.get_method(), self.parser.get_http_version()
            if method == b"CONNECT":
                raise httptools.HttpParserError("there is no tunnel")
            head = head_without_offer(method, self.url, version, self.headers)
            self.parser = httptools.HttpRequestParser(self)
            self.parser.set_dangerous_leniencies(lenient_data_after_close=True)  # as uvicorn's
            self.parser.feed_data(head)
            try:
                self.parser.feed_data(rest)
            except httptools.HttpParserUpgrade as offer:
                rest = rest[offer.args[0] :]
            else:
                return

    def on_body(self, body: bytes) -> None:
        self._held_bytes = -1
        self._stirred = True
        cycle: Any = self.cycle
        if type(cycle) is HttpExchange:
            cycle.receive(body)
        else:
            super().on_body(body)
        if self.pipeline:  # the last in it is the one that is coming in
            self._waiting_bytes += len(body)
            self._bound_pipeline()

    def on_message_complete(self) -> None:
        self._receiving_since = -1.0
        if self._upgrading:
            return
        cycle: Any = self.cycle
        if type(cycle) is HttpExchange:
            cycle.received()
        else:
            super().on_message_complete()

    def _turn_away(self, error: RouterError) -> None:
        """Answer what cannot be read, unless it came behind a request whose answer is not complete."""
        cycle: Any = self.cycle
        if self.answering():
            self.transport.abort()
        elif cycle is not None and cycle.response_complete and not cycle.keep_alive:
            self.transport.close()
        elif not self.transport.is_closing():
            if cycle is not None:
                cycle.disconnected = True
            self.dismiss(error)

    def give_up(self, error: RouterError) -> None:
        if self._current is not None and not self._current.response_complete:
            self._current.turn_away(error)
        else:
            self._turn_away(error)

    def answering(self) -> bool:
        if self.pipeline:
            return True
        cycle: Any = self.cycle
        if cycle is None or cycle.response_complete:
            return False
        if type(cycle) is HttpExchange:
            return cycle.whole
        return cycle.response_started or not cycle.more_body

    # -- one exchange after another ------------------------------------------------------------

    def exchange_complete(self) -> None:
        """The answer has been written (`http_exchange.Wire`)."""
        self._current = None
        self.on_response_complete()

    def on_response_complete(self) -> None:
        """An answer is complete, ours or the ASGI application's. `sweep` replaces uvicorn's timer."""
        self.server_state.total_requests += 1
        self._stirred = True
        if self.transport.is_closing():
            return
        if self.pipeline:  # not at once: a long row of quick answers would become a deep stack
            self.loop.call_soon(self._start_waiting)
        else:
            self.flow.resume_reading()

    def _start_waiting(self) -> None:
        if self.flow.write_paused:
            self._held_back = True
        elif self.pipeline and self._current is None and not self.transport.is_closing():
            waiting: Any = self.pipeline.pop()
            cycle, app = waiting
            body_bytes = cycle.body_bytes if type(cycle) is HttpExchange else len(cycle.body)
            self._waiting_bytes -= body_bytes
            self._bound_pipeline()
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

    def pause_writing(self) -> None:
        super().pause_writing()
        if self._current is not None and self._current.source is not None:
            self._current.source.pause_reading()

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._current is not None and self._current.source is not None:
            self._current.source.resume_reading()
        if self._held_back:
            self._held_back = False
            self.loop.call_soon(self._start_waiting)

    def connection_lost(self, exc: Exception | None) -> None:
        try:
            if self._current is not None:
                self._current.disconnect()
        finally:
            pipeline: Any = self.pipeline
            for waiting, _ in pipeline:
                if type(waiting) is HttpExchange:
                    waiting.release()
            pipeline.clear()
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
            super().__init__(services, config, server_state, app_state)

    return Bound

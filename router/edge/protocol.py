"""The data plane: uvicorn's HTTP/1 connection class, with inference requests taken out before ASGI.

Parsing, keep-alive, pipelining and shutdown are uvicorn's. Requests to inference endpoints become
`HttpExchange`s; every other one goes the ordinary way into the ASGI application. The methods overridden are
uvicorn's internals: it is pinned, and tests/component/test_uvicorn_contract.py guards each bump.
"""

import asyncio
from typing import Any

import httptools
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from router.edge.envelope import error_body, error_headers
from router.edge.exchange import EdgeServices, Target
from router.edge.http_exchange import HttpExchange
from router.errors import RouterError, Source
from router.prompt.endpoints import Family

_INVALID = RouterError(
    400, "invalid_http_request", "The request is not valid HTTP.", source=Source.CLIENT
)


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

    # -- the parser's callbacks ----------------------------------------------------------------

    def on_headers_complete(self) -> None:
        target = Target.parse(_origin_form(self.url))
        endpoint = self._services.endpoints.resolve(target.path)
        if endpoint is None:
            super().on_headers_complete()
            return
        parser = self.parser
        version = parser.get_http_version()
        headers, self.headers = self.headers, []  # trailers of the request are not header fields
        exchange = HttpExchange(
            self,
            self._services,
            endpoint,
            target,
            (parser.get_method(), headers, version),
            keep_alive=version != "1.0" and parser.should_keep_alive(),
        )
        previous: Any = self.cycle
        self.cycle = exchange  # type: ignore[assignment]
        if previous is None or previous.response_complete:
            self._start_exchange(exchange)
        else:
            self.flow.pause_reading()
            self.pipeline.appendleft((self.cycle, self.app))

    def on_body(self, body: bytes) -> None:
        cycle: Any = self.cycle
        if type(cycle) is HttpExchange:
            cycle.receive(body)
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        cycle: Any = self.cycle
        if type(cycle) is HttpExchange:
            cycle.received()
        else:
            super().on_message_complete()

    def _start_asgi_task(self, cycle: Any, app: Any) -> None:
        if type(cycle) is HttpExchange:
            self._start_exchange(cycle)
        else:
            super()._start_asgi_task(cycle, app)

    def send_400_response(self, msg: str) -> None:
        body = error_body(_INVALID, Family.OPENAI)
        head = b"".join(b"%b: %b\r\n" % field for field in error_headers(_INVALID, "-"))
        self.transport.write(
            b"HTTP/1.1 400 Bad Request\r\n%bcontent-length: %d\r\nconnection: close\r\n\r\n%b"
            % (head, len(body), body)
        )
        self.transport.close()

    # -- one exchange after another ------------------------------------------------------------

    def _start_exchange(self, exchange: HttpExchange) -> None:
        self._current = exchange
        exchange.begin()

    def exchange_complete(self, exchange: HttpExchange) -> None:
        """The answer has been written (`http_exchange.Wire`)."""
        self._current = None
        if self.transport.is_closing():
            return
        self.on_response_complete()

    # -- the connection ------------------------------------------------------------------------

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
    """`url` as path and query: proxies' clients may send the absolute form."""
    if url.startswith(b"/"):
        return url
    parsed = httptools.parse_url(url)
    path = parsed.path or b"/"
    return path + b"?" + parsed.query if parsed.query else path

"""The same gateway behind plain ASGI: for any other server, and as the oracle the data plane is compared with."""

import asyncio

from router.edge.cors import replaced
from router.edge.exchange import EdgeServices, Exchange, Route
from router.edge.messages import AsgiApp, Message, Receive, Scope, Send
from router.errors import RouterError
from router.ids import Headers
from router.prompt.endpoints import canonical_path

_HIGH_WATER_BYTES = 65_536


class AsgiRouter:
    """An ASGI application: inference paths go to the gateway, everything else to `rest`."""

    def __init__(self, services: EdgeServices, rest: AsgiApp) -> None:
        self._services = services
        self._rest = rest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection scope."""
        route = self._services.routes.find(_url(scope)) if scope["type"] == "http" else None
        if route is None:
            await self._rest(_canonical(scope), receive, send)
        else:
            await self._serve(scope, receive, send, route)

    async def _serve(self, scope: Scope, receive: Receive, send: Send, route: Route) -> None:
        exchange = AsgiExchange(self._services, route, send)
        method, headers = scope["method"].encode("ascii"), list(scope["headers"])
        try:
            body = _entered(exchange, method, headers) or await _read_body(receive, exchange)
            if body is None:
                return
            if isinstance(body, RouterError):
                exchange.refuse(method, headers, body)
                await exchange.send_all()
                return
            exchange.serve(method, headers, body)
            async with asyncio.TaskGroup() as group:
                watching = group.create_task(_cancel_on_disconnect(receive, exchange))
                await exchange.send_all()
                watching.cancel()
        finally:  # the server may fail to send, or cancel this call
            exchange.disconnect()


class AsgiExchange(Exchange):
    """Collects the answer's messages; `send_all` sends them and slows the source down when that takes long."""

    def __init__(self, services: EdgeServices, route: Route, send: Send) -> None:
        super().__init__(services, route)
        self._send = send
        self._messages: list[Message] = []
        self._waiting_bytes = 0
        self._paused = False
        self._over = False
        self._aborted = False
        self._wake = asyncio.Event()

    def inform(self, status: int, headers: Headers) -> None:
        """ASGI has no interim answers."""

    def start(self, status: int, headers: Headers, length: int | None) -> None:
        self.started = True
        if self._cors_fields is not None:
            headers = replaced(headers, self._cors_fields)
        if length is not None:
            headers = [*headers, (b"content-length", b"%d" % length)]
        self._messages.append({"type": "http.response.start", "status": status, "headers": headers})

    def write(self, data: bytes) -> None:
        self._messages.append({"type": "http.response.body", "body": data, "more_body": True})
        self._waiting_bytes += len(data)
        if self._waiting_bytes > _HIGH_WATER_BYTES and self.source is not None:
            self._paused = True
            self.source.pause_reading()

    def flush(self) -> None:
        self._wake.set()

    def take_back(self) -> bool:
        if not self._messages or self._messages[0]["type"] != "http.response.start":
            return False
        self._messages.clear()
        self._waiting_bytes = 0
        self.started = False
        return True

    def finish(self, trailers: Headers) -> None:
        self._messages.append({"type": "http.response.body", "body": b"", "more_body": False})
        self._over = True
        self._wake.set()

    def abort(self) -> None:
        self._aborted = self._over = True
        self._wake.set()

    def disconnect(self) -> None:
        """Nothing more is sent: the client left, or has everything."""
        self.release()
        self._over = True
        self._messages.clear()
        self.cancel()
        self._wake.set()

    async def send_all(self) -> None:
        """Send messages as they come, until the answer is over."""
        while self._messages or not self._over:
            await self._wake.wait()
            self._wake.clear()
            messages, self._messages = self._messages, []
            for message in messages:
                await self._send(message)
            self._waiting_bytes = 0
            if self._paused and self.source is not None:
                self._paused = False
                self.source.resume_reading()
            if self._messages:
                self._wake.set()
        if self._aborted:
            raise ConnectionAbortedError("the worker's answer broke off")


def _canonical(scope: Scope) -> Scope:
    """The router's own paths are as forgiving as the workers'."""
    if scope["type"] != "http":
        return scope
    path: str = scope["path"]
    plain = canonical_path(path.encode()).decode()
    return scope if plain == path else {**scope, "path": plain, "raw_path": plain.encode()}


def _url(scope: Scope) -> bytes:
    path: bytes = scope.get("raw_path") or scope["path"].encode()
    query: bytes = scope["query_string"]
    return path + b"?" + query if query else path


def _entered(exchange: AsgiExchange, method: bytes, headers: Headers) -> RouterError | None:
    try:
        exchange.enter(method, headers)
    except RouterError as error:
        return error
    return None


async def _read_body(receive: Receive, exchange: AsgiExchange) -> bytes | RouterError | None:
    """The body, or why no more of it is read; None when the client left."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        try:
            exchange.check_length(size)
            exchange.hold(len(parts[-1]))
        except RouterError as error:
            return error
        if not message.get("more_body", False):
            return b"".join(parts)


async def _cancel_on_disconnect(receive: Receive, exchange: AsgiExchange) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
    exchange.disconnect()

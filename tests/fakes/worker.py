"""A scripted worker on loopback: a raw HTTP/1.1 server that records everything and answers as a test says.

    async with FakeWorker(models=("m",)) as worker:
        worker.script = my_script          # async def my_script(request, wire): await wire.json({...})
        ...
        assert worker.requests[0].json() == {...}

`/health`, `/v1/models`, `/metrics` and `/kv_event_sources` are answered by themselves (`routes` overrides any path) and
recorded in `probes`; all else goes to `script` and is recorded in `requests`.
"""

import asyncio
import json
import socket
import ssl
from collections.abc import Callable, Iterable
from types import TracebackType
from typing import Any, Self

from tests.fakes.wire import Request, Script, Wire

_SEND_BUFFER_BYTES = 64 * 1024


def held(release: asyncio.Event) -> Script:
    """Answers when told to, and not before."""

    async def script(request: Request, wire: Wire) -> None:
        await release.wait()
        await wire.json({})

    return script


async def echo(request: Request, wire: Wire) -> None:
    """Answer with what came: method, target, header fields, and the body as text."""
    await wire.json(
        {
            "method": request.method,
            "target": request.target,
            "headers": request.headers,
            "body": request.body.decode("latin-1"),
        }
    )


def card(name: str, **fields: Any) -> dict[str, Any]:
    """A model's entry in `/v1/models`, with the fields that vLLM gives."""
    return {
        "id": name,
        "object": "model",
        "created": 1_700_000_000,
        "owned_by": "vllm",
        "root": name,
        "parent": None,
        "max_model_len": 8192,
        "permission": [{"id": f"modelperm-{name}", "object": "model_permission"}],
        **fields,
    }


class FakeWorker:
    """One worker. Change `script`, `routes`, `cards` at any time; `stop` and `start` keep the port."""

    def __init__(
        self,
        *,
        models: Iterable[str] = ("m",),
        script: Script = echo,
        host: str = "127.0.0.1",
        tls: ssl.SSLContext | None = None,
        prefix: str = "",
    ) -> None:
        self.script = script
        self.cards = [card(name) for name in models]
        self.metrics = b""
        self.routes: dict[str, Script] = {
            "/health": _health,
            "/v1/models": self._models,
            "/metrics": self._metrics,
            "/kv_event_sources": _not_there,
        }
        self.probed: dict[str, Script] = {"/is_paused": _not_there, "/detokenize": _health}
        """The same where only the router's probes are meant: clients may ask for these as well."""
        self.requests: list[Request] = []
        self.probes: list[Request] = []
        self.wires: list[Wire] = []
        """Open connections, oldest first."""
        self.accepted = 0
        self.errors: list[BaseException] = []
        self.on_head: Callable[[str, Wire], None] = _read_on
        """Called with method and connection before a request's body is read."""
        self.port = 0
        self._host = host
        self._tls = tls
        self._prefix = prefix
        self._server: asyncio.Server | None = None
        self._news = asyncio.Event()

    # -- address -------------------------------------------------------------------------------

    @property
    def id(self) -> str:
        """How the router calls it."""
        return self.authority + self._prefix

    @property
    def authority(self) -> str:
        """What `Host` must be."""
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{host}:{self.port}"

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"{'https' if self._tls else 'http'}://{self.authority}{self._prefix}"

    # -- life ----------------------------------------------------------------------------------

    async def start(self) -> Self:
        """Listen; again on the same port after a `stop`."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Wire(self), self._host, self.port, ssl=self._tls, reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Die: nothing listens any more, all connections are dropped."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        await self.drop()
        await server.wait_closed()

    async def drop(self) -> None:
        """Drop all connections, and go on listening."""
        for wire in list(self.wires):
            await wire.stop()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()

    # -- what tests wait for -------------------------------------------------------------------

    async def received_count(self, count: int, timeout_s: float = 5.0) -> list[Request]:
        """Wait until `count` requests (without probes) have come."""
        await self.until(lambda: len(self.requests) >= count, timeout_s)
        return self.requests

    async def until(self, condition: Callable[[], bool], timeout_s: float = 5.0) -> None:
        """Wait until `condition` holds; it is looked at whenever something happens here."""
        async with asyncio.timeout(timeout_s):
            while not condition():
                self._news.clear()
                await self._news.wait()

    # -- called by connections (`wire.Host`) ---------------------------------------------------

    def opened(self, wire: Wire) -> None:
        self.accepted += 1
        self.wires.append(wire)
        transport = wire._transport
        assert transport is not None
        sock = transport.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        self._news.set()

    def closed(self, wire: Wire) -> None:
        self.wires.remove(wire)
        self._news.set()

    def head_received(self, method: str, wire: Wire) -> None:
        self.on_head(method, wire)

    def received(self, request: Request) -> None:
        known = self._route(request) is not None
        (self.probes if known else self.requests).append(request)
        self._news.set()

    async def answer(self, request: Request, wire: Wire) -> None:
        script = self._route(request) or self.script
        await script(request, wire)

    def broken(self, error: BaseException) -> None:
        self.errors.append(error)
        self._news.set()

    def _route(self, request: Request) -> Script | None:
        path = request.path
        if not path.startswith(self._prefix):
            return None
        path = path.removeprefix(self._prefix)
        if ("x-request-id", "router-probe") in request.headers and path in self.probed:
            return self.probed[path]
        return self.routes.get(path)

    # -- default answers -----------------------------------------------------------------------

    async def _models(self, request: Request, wire: Wire) -> None:
        await wire.json({"object": "list", "data": self.cards})

    async def _metrics(self, request: Request, wire: Wire) -> None:
        await wire.reply(200, [("Content-Type", "text/plain")], self.metrics)


def _read_on(method: str, wire: Wire) -> None:
    """Wait for the body."""


async def _not_there(request: Request, wire: Wire) -> None:
    await wire.reply(404, body=b"{}")


async def _health(request: Request, wire: Wire) -> None:
    await wire.reply()


def sse(*values: Any, done: bool = True) -> list[bytes]:
    """Events, one for each value (bytes pass as they are), and `[DONE]`."""
    events = [
        value if isinstance(value, bytes) else b"data: " + json.dumps(value).encode() + b"\n\n"
        for value in values
    ]
    return [*events, b"data: [DONE]\n\n"] if done else events

"""The router on a real socket, inside the test's own event loop."""

import asyncio
import json
import logging
import socket
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from io import BytesIO
from time import perf_counter
from typing import Any

import uvicorn

from router import app as composition
from router.fleet.worker import Worker
from router.settings import Settings
from router.telemetry.logs import RequestLog
from tests.fakes.client import Client, Fields, Response, connect, request

CHAT = "/v1/chat/completions"
CLOSED_WITHIN_S = 1.0
"""Generous: a noisy machine. Undisturbed it is a few milliseconds."""


def chat(text: str = "hi", **fields: Any) -> dict[str, Any]:
    """The body of a chat request for model `m`."""
    return {"model": "m", "messages": [{"role": "user", "content": text}], **fields}


class Server(uvicorn.Server):
    """uvicorn's server without what only costs tests time: signals, ticks and grace."""

    def __init__(self, config: uvicorn.Config) -> None:
        super().__init__(config)
        self.up = asyncio.Event()
        self.stop = asyncio.Event()

    async def serve(self, sockets: list[socket.socket] | None = None) -> None:
        self.config.load()
        self.lifespan = self.config.lifespan_class(self.config)
        await self.startup(sockets)
        self.up.set()
        await self.stop.wait()
        for server in self.servers:
            server.close()
        for connection in list(self.server_state.connections):
            connection.transport.abort()
        state = self.server_state
        await eventually(lambda: not state.connections and not state.tasks)
        for server in self.servers:
            await server.wait_closed()


class RunningRouter:
    """A router that serves; what tests ask of it."""

    def __init__(
        self, app: composition.App, server: Server, log: BytesIO, tls: ssl.SSLContext | None
    ) -> None:
        self.app = app
        self.server = server
        self._log = log
        self._tls = tls

    @property
    def port(self) -> int:
        return int(self.server.servers[0].sockets[0].getsockname()[1])

    @property
    def url(self) -> str:
        """Base URL."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def connect(self, *, receive_buffer: int | None = None) -> AbstractAsyncContextManager[Client]:
        """A client's connection."""
        return connect("127.0.0.1", self.port, tls=self._tls, receive_buffer=receive_buffer)

    async def post(self, value: Any, target: str = CHAT, headers: Fields = ()) -> Response:
        """A JSON request on a connection of its own."""
        async with self.connect() as client:
            return await client.call(target, value, headers)

    async def get(self, target: str, headers: Fields = (), *, method: str = "GET") -> Response:
        """A request without a body, on a connection of its own."""
        async with self.connect() as client:
            await client.send(request(method, target, b"", headers))
            return await client.response(method=method)

    # -- inside --------------------------------------------------------------------------------

    @property
    def workers(self) -> list[Worker]:
        return list(self.app.fleet)

    @property
    def inflight(self) -> int:
        return sum(worker.load.own for worker in self.workers)

    @property
    def buffered(self) -> int:
        """Bytes waiting in the router for clients to read them."""
        connections = self.server.server_state.connections
        return sum(c.transport.get_write_buffer_size() for c in connections)

    def lines(self) -> list[dict[str, Any]]:
        """The request log so far."""
        self.app.reporter.settle()
        self.app.request_log.flush()
        return [json.loads(line) for line in self._log.getvalue().splitlines()]

    async def line(self, number: int = 0) -> dict[str, Any]:
        """One request's log line, when it is there."""
        await eventually(lambda: len(self.lines()) > number)
        return self.lines()[number]

    def samples(self, name: str) -> dict[tuple[tuple[str, str], ...], float]:
        """A metric's samples by their labels."""
        self.app.reporter.settle()
        return {
            tuple(sorted(sample.labels.items())): sample.value
            for family in self.app.metrics.collect()
            for sample in family.samples
            if sample.name == name
        }

    def total(self, name: str, **labels: str) -> float:
        """The sum of a metric's samples that have these labels."""
        wanted = set(labels.items())
        return sum(value for key, value in self.samples(name).items() if wanted <= set(key))


async def eventually(condition: Callable[[], bool], timeout_s: float = 5.0) -> float:
    """Wait until `condition` holds; the seconds it took. Fails after `timeout_s`."""
    started = perf_counter()
    while not condition():
        assert perf_counter() - started < timeout_s, "it did not happen in time"
        await asyncio.sleep(0.002)
    return perf_counter() - started


def asgi_config(app: composition.App) -> uvicorn.Config:
    """The plain ASGI twin under uvicorn's h11 server."""
    return uvicorn.Config(
        app.asgi, http="h11", ws="none", lifespan="off", log_config=None, access_log=False
    )


@asynccontextmanager
async def running(
    settings: Settings,
    *,
    configure: Callable[[composition.App], uvicorn.Config] = composition.server_config,
    tls: ssl.SSLContext | None = None,
) -> AsyncIterator[RunningRouter]:
    """Run a router. At its end no request may be counted as in flight."""
    log = BytesIO()
    app = composition.build(settings, RequestLog(log, json=True))
    server = Server(configure(app))
    listening = socket.create_server(("127.0.0.1", 0))
    task = asyncio.get_running_loop().create_task(composition.run(app, server, [listening]))
    try:
        await eventually(lambda: server.up.is_set() or task.done(), 15.0)
        if task.done():
            await task
        router = RunningRouter(app, server, log, tls)
        yield router
        await eventually(lambda: router.inflight == 0, 2.0)
    finally:
        server.stop.set()
        try:
            await asyncio.wait_for(task, 15.0)
        finally:
            listening.close()
            logging.getLogger("uvicorn").handlers.clear()

"""The servers of a router, and how they stop: first told, then deaf to newcomers, then over."""

import asyncio
import logging
import math
import socket
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager, nullcontext
from typing import Any

import uvicorn

from router.assembly import App
from router.edge.exchange import EdgeServices, aside
from router.edge.limits import Drain
from router.edge.messages import AsgiApp
from router.edge.protocol import RouterProtocol, protocol_factory

logger = logging.getLogger(__name__)

_TICK_S = 0.05


class Server(uvicorn.Server):
    """uvicorn's, with signals left to whoever runs it and an end that is told in the log.

    It stops when `should_exit` is set: no new connections, idle ones closed, and `timeout_graceful_shutdown` for
    answers under way; `force_exit`: none. `has_console`: it says where that is, once it listens.
    """

    def __init__(self, config: uvicorn.Config, *, has_console: bool = False) -> None:
        super().__init__(config)
        self._has_console = has_console

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self._has_console and self.started:
            port = self.servers[0].sockets[0].getsockname()[1]
            logger.info("console: %s/", local_url(self.config.host, port, tls=self.config.is_ssl))

    def capture_signals(self) -> AbstractContextManager[None]:  # type: ignore[override]
        return nullcontext()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        for listener in (*self.servers, *(sockets or ())):
            listener.close()
        state = self.server_state
        for connection in list(state.connections):
            connection.shutdown()
        seconds = self.config.timeout_graceful_shutdown or 0
        if answers := under_way([self]):
            logger.info(
                "stopping: no new connections; %d answers under way have %g s", answers, seconds
            )
        await _until(lambda: self.force_exit or not self._busy(), within_s=seconds)
        if answers := under_way([self]):
            logger.warning("stopping: %d answers are cut off", answers)
        for task in state.tasks:
            task.cancel()

    def _busy(self) -> bool:
        """Somebody is served. (Of TLS, a client that is idle may never confirm that its connection is closed.)"""
        state = self.server_state
        return bool(state.tasks) or any(
            not isinstance(connection, RouterProtocol) or connection.busy()
            for connection in state.connections
        )


def under_way(servers: Iterable[uvicorn.Server]) -> int:
    """How many requests have come in whose answers are not complete."""
    return sum(
        isinstance(connection, RouterProtocol) and connection.answering()
        for server in servers
        for connection in list(server.server_state.connections)
    )


async def stop_when_asked(drain: Drain, server: uvicorn.Server, grace_s: float) -> None:
    """Stop `server` once `drain` says so, after `grace_s` in which newcomers are still served."""
    await _until(lambda: drain.active)
    grace_s = grace_s if drain.graceful else 0.0
    logger.info(
        "draining: %d answers under way, new connections are taken for %g s",
        under_way([server]),
        grace_s,
    )
    await _until(lambda: drain.at_once, within_s=grace_s)
    server.should_exit = True
    await _until(lambda: drain.at_once)
    logger.warning("asked again: stopping at once")
    server.force_exit = True


async def let_go(servers: Iterable[uvicorn.Server], seconds: float) -> None:
    """Let clients have the errors that their answers were ended with; then cut whoever is left."""
    left = [server.server_state.connections for server in servers]
    await _until(lambda: not any(left), within_s=seconds)
    for connection in [connection for connections in left for connection in connections]:
        connection.transport.abort()


async def _until(condition: Callable[[], bool], within_s: float = math.inf) -> None:
    """Look every so often: signal handlers set what is looked at, and uvicorn tells of nothing."""
    loop = asyncio.get_running_loop()
    end = loop.time() + within_s
    while not condition() and loop.time() < end:  # noqa: ASYNC110
        await asyncio.sleep(_TICK_S)


def local_url(host: str, port: int, *, tls: bool = False) -> str:
    """Where a browser on this machine finds what listens on `host`; on all addresses: on loopback."""
    name = {"": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(host, host)  # noqa: S104
    name = f"[{name}]" if ":" in name and not name.startswith("[") else name
    return f"{'https' if tls else 'http'}://{name}:{port}"


def server_config(app: App) -> uvicorn.Config:
    """How uvicorn is to run `app`: our connection class takes inference requests out before ASGI."""
    settings = app.settings
    return _config(app, app.asgi, app.services, settings.host, settings.port)


def admin_server(app: App) -> Server | None:
    """What listens for the administrator alone."""
    settings = app.settings
    if settings.admin_port is None:
        return None
    services = aside(app.services)
    config = _config(app, app.admin, services, settings.admin_host, settings.admin_port)
    return Server(config, has_console=True)


def _config(
    app: App, asgi: AsgiApp, services: EdgeServices, host: str, port: int
) -> uvicorn.Config:
    settings, tls = app.settings, app.tls
    secured: dict[str, Any] = {} if tls is None else {"ssl_context_factory": lambda *_: tls}
    return uvicorn.Config(
        asgi,
        host=host,
        port=port,
        http=protocol_factory(services),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=math.ceil(settings.keep_alive_s),
        timeout_graceful_shutdown=math.ceil(settings.shutdown_timeout_s),
        backlog=4096,
        **secured,
    )

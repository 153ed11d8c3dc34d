"""Runs a router: the server, and every background task around it."""

import asyncio
import logging
import math
import signal
import socket
import sys
from functools import partial
from time import perf_counter
from types import FrameType

import uvicorn

from router.assembly import App, build
from router.edge.protocol import RouterProtocol, protocol_factory
from router.process import run_loop, spare_the_collector
from router.settings import Settings
from router.telemetry.logs import RequestLog, ThreadedSink
from router.telemetry.metrics import Metrics

__all__ = ["App", "build", "json_logs", "run", "serve", "server_config"]

logger = logging.getLogger(__name__)

_FIRST_PROBE_S = 3.0
_HOUSEKEEPING_S = 0.25
_LOG_DRAIN_S = 2.0


def serve(settings: Settings, sockets: list[socket.socket] | None = None) -> None:
    """Run until SIGTERM or SIGINT; running answers are given `shutdown_timeout_s` to end."""
    sink = ThreadedSink(sys.stdout.fileno())
    app = build(settings, RequestLog(sink, json=json_logs(settings)))
    sink.on_drop = partial(_count_dropped, app.metrics)
    server = uvicorn.Server(server_config(app))

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as signal calls it
        """Before uvicorn takes signals over, and after: it raises what it was stopped with once more."""
        server.should_exit = True

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    spare_the_collector()
    try:
        run_loop(run(app, server, sockets))
    finally:
        sink.close(_LOG_DRAIN_S)  # outside the loop: it may block


async def run(app: App, server: uvicorn.Server, sockets: list[socket.socket] | None = None) -> None:
    """Serve, with the background tasks around it."""
    async with asyncio.TaskGroup() as group:
        background = [
            group.create_task(app.health.run(), name="health"),
            group.create_task(app.poller.run(), name="metrics"),
            group.create_task(_housekeeping(app, server), name="housekeeping"),
            *(group.create_task(task, name=name) for name, task in app.insight.tasks()),
        ]
        try:
            await _first_probe(app, server)
            if not server.should_exit:
                await server.serve(sockets)
        finally:
            for task in background:
                task.cancel()
            app.gateway.close()
            await app.insight.close()
            app.fleet.close()
            app.reporter.settle()
            app.request_log.flush()


async def _first_probe(app: App, server: uvicorn.Server) -> None:
    """Know the workers before the first request, but never wait long for a dead one."""
    if not app.settings.workers:
        logger.warning("no workers are configured: give --worker URL, or `workers` in the file")
    waited = 0.0
    while (
        waited < _FIRST_PROBE_S
        and not server.should_exit
        and not all(worker.up for worker in app.fleet)
    ):
        await asyncio.sleep(0.05)
        waited += 0.05


async def _housekeeping(app: App, server: uvicorn.Server) -> None:
    while True:
        await asyncio.sleep(_HOUSEKEEPING_S)
        try:
            _keep_house(app, server)
        except Exception:  # nothing here is worth stopping the router for
            logger.exception("housekeeping failed")


def _keep_house(app: App, server: uvicorn.Server) -> None:
    app.reporter.settle()
    app.request_log.flush()
    app.fleet.sweep()
    app.rates.relax(_HOUSEKEEPING_S)
    now = perf_counter()
    app.insight.keep(now)
    app.dispatch.keep(now)
    for connection in list(server.server_state.connections):
        if isinstance(connection, RouterProtocol):
            connection.close_if_idle(now)


def server_config(app: App) -> uvicorn.Config:
    """How uvicorn is to run `app`: our connection class takes inference requests out before ASGI."""
    settings = app.settings
    return uvicorn.Config(
        app.asgi,
        host=settings.host,
        port=settings.port,
        http=protocol_factory(app.services),
        ws="none",
        lifespan="off",
        log_config=None,
        access_log=False,
        timeout_keep_alive=math.ceil(settings.keep_alive_s),
        timeout_graceful_shutdown=math.ceil(settings.shutdown_timeout_s),
        ssl_certfile=settings.tls_cert_file,
        ssl_keyfile=settings.tls_key_file,
        backlog=4096,
    )


def json_logs(settings: Settings) -> bool:
    """Whether log lines are JSON."""
    if settings.log_format == "auto":
        return not sys.stdout.isatty()
    return settings.log_format == "json"


def _count_dropped(metrics: Metrics, lines: int) -> None:
    metrics.degraded["log_dropped"] += lines

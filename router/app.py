"""Runs a router: its servers, and every background task around them."""

import asyncio
import logging
import signal
import socket
import sys
from functools import partial
from ipaddress import ip_address
from time import perf_counter
from types import FrameType

import uvicorn

from router.assembly import App, build
from router.edge.tls import refresh_all
from router.edge.watched import Sweeper
from router.process import raise_file_limit, run_loop, spare_the_collector
from router.servers import Server, admin_server, let_go, server_config, stop_when_asked
from router.settings import Settings
from router.telemetry.logs import RequestLog, ThreadedSink
from router.telemetry.metrics import Metrics

__all__ = ["App", "build", "json_logs", "run", "serve", "server_config"]

logger = logging.getLogger(__name__)

_FIRST_PROBE_S = 3.0
_HOUSEKEEPING_S = 0.25
_CERTIFICATES_S = 5.0
_LOG_DRAIN_S = 2.0
_LAST_WORDS_S = 1.0


def serve(settings: Settings, sockets: list[socket.socket] | None = None) -> None:
    """Run until SIGTERM or SIGINT, and then as `servers.stop_when_asked` says."""
    sink = ThreadedSink(sys.stdout.fileno())
    app = build(settings, RequestLog(sink, json=json_logs(settings)))
    sink.on_drop = partial(_count_dropped, app.metrics)

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as signal calls it
        app.services.drain.ask(graceful=number == signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    _warn_of(settings, raise_file_limit())
    spare_the_collector()
    try:
        run_loop(run(app, Server(server_config(app)), sockets, admin_server(app)))
    finally:
        sink.close(_LOG_DRAIN_S)  # outside the loop: it may block


async def run(
    app: App,
    server: uvicorn.Server,
    sockets: list[socket.socket] | None = None,
    admin: uvicorn.Server | None = None,
) -> None:
    """Serve, with the background tasks around it. The `admin`istrator's listener is there until the end."""
    servers = [server] if admin is None else [server, admin]
    drain, grace_s = app.services.drain, app.settings.drain_grace_s
    async with asyncio.TaskGroup() as group:
        background = [
            group.create_task(app.health.run(), name="health"),
            group.create_task(app.poller.run(), name="metrics"),
            group.create_task(_housekeeping(app, servers), name="housekeeping"),
            group.create_task(stop_when_asked(drain, server, grace_s), name="stopping"),
            *(group.create_task(task, name=name) for name, task in app.insight.tasks()),
            *(group.create_task(task, name=name) for name, task in app.tenancy.tasks()),
        ]
        if admin is not None:
            group.create_task(admin.serve(), name="admin")
        try:
            await _first_probe(app, server)
            if not (server.should_exit or drain.active):
                await server.serve(sockets)
        finally:
            for task in background:
                task.cancel()
            app.gateway.close()
            await app.insight.close()
            app.fleet.close()
            await let_go([server], _LAST_WORDS_S)
            if admin is not None:
                admin.should_exit = admin.force_exit = True
            app.reporter.settle()
            app.request_log.flush()


async def _first_probe(app: App, server: uvicorn.Server) -> None:
    """Know the workers before the first request, but never wait long for a dead one."""
    if not app.settings.workers:
        logger.warning("no workers are configured: give --worker URL, or `workers` in the file")
    waited = 0.0
    while (
        waited < _FIRST_PROBE_S
        and not (server.should_exit or app.services.drain.active)
        and not all(worker.up for worker in app.fleet)
    ):
        await asyncio.sleep(0.05)
        waited += 0.05


async def _housekeeping(app: App, servers: list[uvicorn.Server]) -> None:
    sweepers = [Sweeper(server.server_state) for server in servers]
    refreshed_at = perf_counter()
    while True:
        await asyncio.sleep(_HOUSEKEEPING_S)
        now = perf_counter()
        try:
            _keep_house(app, sweepers, now)
            if now - refreshed_at > _CERTIFICATES_S:
                refreshed_at = now
                refresh_all(app.credentials)
        except Exception:  # nothing here is worth stopping the router for
            logger.exception("housekeeping failed")


def _keep_house(app: App, sweepers: list[Sweeper], now: float) -> None:
    app.reporter.settle()
    app.request_log.flush()
    app.fleet.sweep()
    app.rates.relax(_HOUSEKEEPING_S)
    app.insight.keep(now)
    app.dispatch.keep(now)
    app.keep_alive.keep(now)
    for sweeper in sweepers:
        sweeper.sweep(now)


def json_logs(settings: Settings) -> bool:
    """Whether log lines are JSON."""
    if settings.log_format == "auto":
        return not sys.stdout.isatty()
    return settings.log_format == "json"


def _warn_of(settings: Settings, files: int | None) -> None:
    """Say what is configured and will not do."""
    if files is not None and settings.max_connections >= files:
        logger.warning(
            "max_connections is %d, but this process may only open %d files, workers' connections among them",
            settings.max_connections,
            files,
        )
    exposed = settings.admin_port is None and not _is_loopback(settings.host)
    keys = bool(settings.api_keys or settings.tenants_file)
    if keys and exposed and settings.admin_key is None:
        logger.warning(
            "clients need keys, but whoever reaches %s:%d may use the admin routes: set admin_key or admin_port",
            settings.host,
            settings.port,
        )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _count_dropped(metrics: Metrics, lines: int) -> None:
    metrics.degraded["log_dropped"] += lines

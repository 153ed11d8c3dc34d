"""Runs a router: its servers, and every background task around them."""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Collection
from functools import partial
from time import perf_counter
from types import FrameType

import uvicorn

from router.administration import guard_of
from router.assembly import App, build
from router.edge.operations import Guard
from router.edge.tls import refresh_all
from router.edge.watched import Sweeper
from router.process import raise_file_limit, run_loop, spare_the_collector
from router.reload import Origin, Reloader
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
_SPANS_S = 2.0
_AGAIN_S = 0.5


def serve(
    settings: Settings, sockets: list[socket.socket] | None = None, origin: Origin | None = None
) -> None:
    """Run until SIGTERM or SIGINT, and then as `servers.stop_when_asked` says. `origin`: where `settings` came from, and
    are read from again on SIGHUP or when their file has changed.
    """
    sink = ThreadedSink(sys.stdout.fileno())
    app = build(settings, RequestLog(sink, json=json_logs(settings)))
    sink.on_drop = partial(_count_dropped, app.metrics)

    def stop(number: int, frame: FrameType | None) -> None:  # noqa: ARG001 - as signal calls it
        app.services.drain.ask(graceful=number == signal.SIGTERM)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
    reloader = None if origin is None else Reloader(app, origin)
    if reloader is not None and hasattr(signal, "SIGHUP"):
        signal.signal(signal.SIGHUP, lambda *_: reloader.ask())
    _warn_of(settings, raise_file_limit())
    spare_the_collector()
    try:
        server = Server(server_config(app), has_console=settings.admin_port is None)
        run_loop(run(app, server, sockets, admin_server(app), reloader))
    finally:
        sink.close(_LOG_DRAIN_S)  # outside the loop: it may block


async def run(
    app: App,
    server: uvicorn.Server,
    sockets: list[socket.socket] | None = None,
    admin: uvicorn.Server | None = None,
    reloader: Reloader | None = None,
) -> None:
    """Serve, with the background tasks around it. The `admin`istrator's listener is there until the end."""
    servers = [server] if admin is None else [server, admin]
    drain, grace_s = app.services.drain, app.settings.drain_grace_s
    async with asyncio.TaskGroup() as group:
        background = [
            group.create_task(app.discovery.run(), name="discovery"),
            group.create_task(app.health.run(), name="health"),
            group.create_task(app.poller.run(), name="metrics"),
            group.create_task(_housekeeping(app, servers), name="housekeeping"),
            group.create_task(stop_when_asked(drain, server, grace_s), name="stopping"),
            *(group.create_task(task, name=name) for name, task in app.insight.tasks()),
            *(group.create_task(task, name=name) for name, task in app.tenancy.tasks()),
        ]
        if reloader is not None:
            background.append(group.create_task(reloader.run(), name="configuration"))
        if app.replicas is not None:
            background.append(group.create_task(app.replicas.run(), name="replicas"))
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
            if app.reporter.traces is not None:
                await asyncio.to_thread(app.reporter.traces.close, _SPANS_S)
            await _ended(background)


async def _ended(tasks: Collection["asyncio.Task[None]"]) -> None:
    """Cancel until they have: what they wait for may be a library's that loses a cancellation now and then."""
    while pending := [task for task in tasks if not task.done()]:
        for task in pending:
            task.cancel()
        await asyncio.wait(pending, timeout=_AGAIN_S)


async def _first_probe(app: App, server: uvicorn.Server) -> None:
    """Know the workers before the first request, but never wait long for a dead one."""
    if not app.settings.finds_workers:
        logger.warning("no workers are configured: give --worker URL, or say where they are found")
    waited = 0.0
    while (
        waited < _FIRST_PROBE_S
        and not (server.should_exit or app.services.drain.active)
        and not (app.discovery.heard and all(worker.up for worker in app.fleet))
    ):
        await asyncio.sleep(0.05)
        waited += 0.05


async def _housekeeping(app: App, servers: list[uvicorn.Server]) -> None:
    sweepers = [Sweeper(server.server_state) for server in servers]
    refreshed_at = perf_counter()
    while True:
        due = perf_counter() + _HOUSEKEEPING_S
        await asyncio.sleep(_HOUSEKEEPING_S)
        now = perf_counter()
        app.metrics.process.loop_lag.observe(max(0.0, now - due))
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
    app.discovery.keep(now)
    app.rates.relax(_HOUSEKEEPING_S)
    app.insight.keep(now)
    app.dispatch.keep(now)
    app.keep_alive.keep(now)
    for sweeper in sweepers:
        sweeper.sweep(now)
    app.console.keep(now)


def json_logs(settings: Settings) -> bool:
    """Whether log lines are JSON."""
    if settings.log_format == "auto":
        return not sys.stdout.isatty()
    return settings.log_format == "json"


def _warn_of(settings: Settings, files: int | None) -> None:
    """Say what is configured and will not do."""
    if files is not None and settings.max_connections >= files:
        wanted = "max_connections" in settings.model_fields_set
        logger.log(
            logging.WARNING if wanted else logging.INFO,
            "max_connections is %d, but this process may only open %d files, workers' connections among them: raise that "
            "limit (`ulimit -n`, LimitNOFILE of systemd), or set max_connections lower",
            settings.max_connections,
            files,
        )
    keys = bool(settings.api_keys or settings.tenants_file)
    if keys and guard_of(settings) is Guard.NONE:
        logger.warning(
            "clients need keys, but whoever reaches %s:%d may use the admin routes: set admin_key or admin_port",
            settings.host,
            settings.port,
        )


def _count_dropped(metrics: Metrics, lines: int) -> None:
    metrics.degraded["log_dropped"] += lines

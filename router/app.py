"""The composition root: settings in, a running server out. Builds everything, owns every background task."""

import asyncio
import logging
import math
import signal
import socket
import ssl
import sys
from dataclasses import dataclass
from functools import partial
from time import perf_counter
from types import FrameType

import uvicorn

from router.edge.admin import WorkerView, admin_app
from router.edge.asgi import AsgiRouter
from router.edge.exchange import EdgeServices, RequestIds, Routes
from router.edge.explain import add_explain
from router.edge.protocol import RouterProtocol, protocol_factory
from router.engines.vllm import VllmEngine
from router.fleet.fleet import Fleet
from router.fleet.health import HealthChecker
from router.fleet.poller import MetricsPoller
from router.gateway import Gateway
from router.index.memory import MemoryIndex
from router.index.predicted import PredictedIndex
from router.insight import Insight, insight
from router.process import installed_version, run_loop, spare_the_collector
from router.prompt.caller import Callers
from router.prompt.endpoints import EndpointTable
from router.prompt.identity import TextIdentity
from router.prompt.session import SessionKeys
from router.prompts import Prompts
from router.report import Reporter
from router.routing.affinity import ResponseHomes
from router.routing.chooser import Chooser, Immediate
from router.routing.cost import CostModel, Rates
from router.routing.dispatch import Dispatch
from router.routing.explain import Explainer
from router.routing.intake import Intake
from router.routing.learn import Learner
from router.routing.options import QueueOptions
from router.routing.policies import Tools, least_load
from router.routing.policy import Admission
from router.routing.registry import admission
from router.settings import Settings
from router.sharing import sharing
from router.telemetry.logs import RequestLog, ThreadedSink
from router.telemetry.metrics import Metrics
from router.wiring import tie

logger = logging.getLogger(__name__)

_FIRST_PROBE_S = 3.0
_HOUSEKEEPING_S = 0.25
_LOG_DRAIN_S = 2.0


@dataclass(frozen=True, slots=True)
class App:
    """Everything a running router consists of."""

    settings: Settings
    fleet: Fleet
    health: HealthChecker
    poller: MetricsPoller
    dispatch: Dispatch
    gateway: Gateway
    reporter: Reporter
    insight: Insight
    rates: Rates
    metrics: Metrics
    request_log: RequestLog
    services: EdgeServices
    asgi: AsgiRouter


def build(settings: Settings, log: RequestLog) -> App:
    """Make all objects and wire them; nothing runs yet."""
    metrics = Metrics()
    fleet = Fleet(
        _worker_tls(settings), connect_s=settings.connect_timeout_s, idle_s=settings.worker_idle_s
    )
    memory = MemoryIndex(
        capacity_tokens=settings.default_kv_tokens, max_blocks=settings.index_max_blocks
    )
    predicted = PredictedIndex(memory, default_kv_tokens=settings.default_kv_tokens)
    shared = sharing(settings, fleet, metrics)
    known = insight(settings, fleet, predicted, shared)
    index, prompts = known.knowledge, Prompts(known.exact, shared)
    cost, homes, identities = CostModel(Rates()), ResponseHomes(), TextIdentity()
    chooser = Chooser(index, cost, metrics.lookup)
    tools = Tools(cost, SessionKeys(settings.session_headers).key)
    waiting = admission(settings.policy, tools, chooser, fleet.candidates, _options(settings))
    dispatch = Dispatch(
        chooser, waiting, _aside(waiting, tools, chooser), Callers(settings.tenant_header)
    )
    learner = Learner(index, identities, cost, metrics)
    reporter = Reporter(fleet, learner, known.exact, homes, metrics, log)
    intake = Intake(fleet, identities, homes, chooser.look_up)
    gateway = Gateway(fleet, intake, prompts, index, dispatch, reporter)
    engine = VllmEngine(api_key=settings.worker_api_key, timeout_s=settings.health_timeout_s)
    health, poller = _health(fleet, engine, settings), _poller(fleet, engine, settings, dispatch)
    if shared is not None:
        homes.on_stored = shared.homes.remember
        health.probes = poller.probes = shared.looks_after
    tie(fleet, known, cost, dispatch, metrics)
    metrics.settle = reporter.settle
    fleet.set_workers(settings.workers)
    routes = Routes(EndpointTable(settings.allow_paths))
    services = EdgeServices(
        gateway, routes, RequestIds(), settings.body_limit, settings.keep_alive_s
    )
    admin = admin_app(fleet, WorkerView(known, cost.rates, waiting), metrics, installed_version())
    aloof = Intake(fleet, identities, homes, index.lookup)  # measures nothing
    explainer = Explainer(fleet, aloof, prompts.identity, dispatch, chooser, tools.random)
    add_explain(admin, services, explainer.explain)
    return App(
        settings=settings,
        fleet=fleet,
        health=health,
        poller=poller,
        dispatch=dispatch,
        gateway=gateway,
        reporter=reporter,
        insight=known,
        rates=cost.rates,
        metrics=metrics,
        request_log=log,
        services=services,
        asgi=AsgiRouter(services, admin),
    )


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


def _options(settings: Settings) -> QueueOptions:
    return QueueOptions(
        room_tokens=settings.room_tokens,
        max_inflight=settings.max_inflight,
        limit=settings.queue_limit,
        timeout_s=settings.queue_timeout_s,
    )


def _aside(waiting: Admission, tools: Tools, chooser: Chooser) -> Admission:
    """What requests that must not wait go through."""
    if isinstance(waiting, Immediate):
        return waiting
    return Immediate(waiting.name, least_load(tools), chooser)


def _health(fleet: Fleet, engine: VllmEngine, settings: Settings) -> HealthChecker:
    return HealthChecker(
        fleet,
        engine,
        interval_s=settings.health_interval_s,
        describe_s=settings.models_interval_s,
    )


def _poller(
    fleet: Fleet, engine: VllmEngine, settings: Settings, dispatch: Dispatch
) -> MetricsPoller:
    interval_s = settings.metrics_interval_s
    return MetricsPoller(fleet, engine, interval_s=interval_s, on_report=dispatch.stir)


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


def _worker_tls(settings: Settings) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=settings.worker_ca_file)


def json_logs(settings: Settings) -> bool:
    """Whether log lines are JSON."""
    if settings.log_format == "auto":
        return not sys.stdout.isatty()
    return settings.log_format == "json"


def _count_dropped(metrics: Metrics, lines: int) -> None:
    metrics.degraded["log_dropped"] += lines

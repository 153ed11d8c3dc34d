"""The composition root: settings in, every object wired to what it needs; nothing runs yet."""

import ssl
from dataclasses import dataclass

from router.attempts import Attempts
from router.edge.admin import WorkerView, admin_app
from router.edge.asgi import AsgiRouter
from router.edge.exchange import EdgeServices, RequestIds, Routes
from router.edge.explain import add_explain
from router.engines.vllm import VllmEngine
from router.fleet.fleet import Fleet
from router.fleet.health import HealthChecker
from router.fleet.poller import MetricsPoller
from router.gateway import Gateway
from router.index.memory import MemoryIndex
from router.index.predicted import PredictedIndex
from router.insight import Insight, insight
from router.passage import Passage
from router.process import installed_version
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
from router.telemetry.logs import RequestLog
from router.telemetry.metrics import Metrics
from router.wiring import tie


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
    passage = Passage(reporter)
    attempts = Attempts(fleet, intake, index, dispatch, reporter, passage)
    gateway = Gateway(intake, prompts, dispatch, reporter, attempts, passage)
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


def _worker_tls(settings: Settings) -> ssl.SSLContext:
    return ssl.create_default_context(cafile=settings.worker_ca_file)

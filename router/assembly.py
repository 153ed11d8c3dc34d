"""The composition root: settings in, every object wired to what it needs; nothing runs yet."""

import ssl
from collections.abc import Sequence
from dataclasses import dataclass

from msgspec.structs import replace

from router.access.tenants import Tenants
from router.administration import Subject, administration
from router.attempt_options import AttemptOptions
from router.attempts import Attempts
from router.console.console import Console
from router.discovery.registry import Discovery
from router.discovery.replicas import Replicas
from router.edge.admin import WorkerView
from router.edge.asgi import AsgiRouter
from router.edge.cors import Cors
from router.edge.exchange import EdgeServices, RequestIds, Routes
from router.edge.limits import BodyMemory, Drain, Limits
from router.edge.tls import Credentials, server_credentials, worker_credentials
from router.engines.vllm import VllmEngine
from router.finding import finding
from router.fleet.circuit import CircuitOptions
from router.fleet.fleet import Fleet
from router.fleet.health import HealthChecker
from router.fleet.passive import PassiveHealth
from router.fleet.poller import MetricsPoller
from router.gateway import Gateway
from router.index.memory import MemoryIndex
from router.index.predicted import PredictedIndex
from router.insight import Insight, insight
from router.keepalive import KeepAlive
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
from router.tenancy import Tenancy, tenancy
from router.tracing import tracing
from router.upstream.limits import TimeLimits
from router.wiring import tie


@dataclass(frozen=True, slots=True)
class App:
    """Everything a running router consists of."""

    settings: Settings
    fleet: Fleet
    discovery: Discovery
    health: HealthChecker
    poller: MetricsPoller
    admission: Admission
    dispatch: Dispatch
    attempts: Attempts
    gateway: Gateway
    keep_alive: KeepAlive
    reporter: Reporter
    insight: Insight
    tenancy: Tenancy
    console: Console
    replicas: Replicas | None
    rates: Rates
    metrics: Metrics
    request_log: RequestLog
    services: EdgeServices
    asgi: AsgiRouter
    admin: AsgiRouter
    """What the administrator's listener serves."""
    tls: ssl.SSLContext | None
    credentials: Sequence[Credentials]


def build(settings: Settings, log: RequestLog) -> App:
    """Make all objects and wire them; nothing runs yet."""
    metrics = Metrics(installed_version())
    worker_tls, shown = _worker_tls(settings)
    tls, own_credentials = _own_tls(settings)
    fleet = _fleet(settings, worker_tls)
    predicted = _predicted(settings)
    shared = sharing(settings, fleet, metrics)
    known = insight(settings, fleet, predicted, shared)
    index, prompts = known.knowledge, Prompts(known.exact, shared)
    cost, homes, identities = CostModel(Rates()), ResponseHomes(), TextIdentity()
    chooser = Chooser(index, cost, metrics.lookup)
    tools = Tools(cost, SessionKeys(settings.session_headers).key)
    waiting = admission(settings.policy, tools, chooser, fleet.candidates, queue_options(settings))
    dispatch = Dispatch(
        chooser, waiting, _aside(waiting, tools, chooser), Callers(settings.tenant_header)
    )
    learner = Learner(index, identities, cost, metrics)
    reporter = Reporter(fleet, learner, known.exact, homes, metrics, log)
    reporter.traces = tracing(settings, metrics)
    intake = Intake(fleet, identities, homes, chooser.look_up)
    passage = Passage(reporter)
    passive = PassiveHealth(fleet)
    attempts = Attempts(intake, index, dispatch, passage, passive, attempt_options(settings))
    keep_alive = KeepAlive(settings.sse_keep_alive_s, early=settings.sse_keep_alive_early)
    gateway = Gateway(intake, prompts, dispatch, attempts, passage, keep_alive)
    engine = VllmEngine(api_key=settings.worker_api_key, timeout_s=settings.health_timeout_s)
    health, poller = _health(fleet, engine, settings), _poller(fleet, engine, settings, dispatch)
    passive.on_suspect = fleet.on_added = health.suspect
    if shared is not None:
        homes.on_stored = shared.homes.remember
        health.probes = poller.probes = shared.looks_after
    tie(fleet, known, cost, dispatch, metrics)
    metrics.settle = reporter.settle
    discovery, replicas = finding(settings, fleet, metrics, shared)
    access = tenancy(settings, fleet, metrics, shared)
    services = _edge(settings, gateway, metrics, access.tenants)
    view = WorkerView(known, cost.rates, waiting, discovery.source_of)
    aloof = Intake(fleet, identities, homes, index.lookup)  # measures nothing
    explainer = Explainer(fleet, aloof, prompts.identity, dispatch, chooser, tools.random)
    subject = Subject(
        fleet, discovery, view, dispatch, metrics, explainer, access.tenants, replicas
    )
    admin = administration(settings, services, subject)
    reporter.on_line = admin.console.take
    return App(
        settings=settings,
        fleet=fleet,
        discovery=discovery,
        health=health,
        poller=poller,
        admission=waiting,
        dispatch=dispatch,
        attempts=attempts,
        gateway=gateway,
        keep_alive=keep_alive,
        reporter=reporter,
        insight=known,
        tenancy=access,
        console=admin.console,
        replicas=replicas,
        rates=cost.rates,
        metrics=metrics,
        request_log=log,
        services=services,
        asgi=admin.clients,
        admin=admin.own,
        tls=tls,
        credentials=(*own_credentials, *shown),
    )


def _fleet(settings: Settings, tls: ssl.SSLContext) -> Fleet:
    return Fleet(
        tls,
        connect_s=settings.connect_timeout_s,
        idle_s=settings.worker_idle_s,
        circuits=CircuitOptions(settings.eject_failures, settings.eject_s),
    )


def _predicted(settings: Settings) -> PredictedIndex:
    memory = MemoryIndex(
        capacity_tokens=settings.default_kv_tokens, max_blocks=settings.index_max_blocks
    )
    return PredictedIndex(memory, default_kv_tokens=settings.default_kv_tokens)


def _edge(
    settings: Settings, gateway: Gateway, metrics: Metrics, tenants: Tenants | None
) -> EdgeServices:
    drain = Drain()
    metrics.process.draining = lambda: drain.active
    return EdgeServices(
        gateway,
        Routes(EndpointTable(settings.allow_paths)),
        RequestIds(),
        Limits(
            body_bytes=settings.body_limit,
            connections=settings.max_connections,
            keep_alive_s=settings.keep_alive_s,
            receive_s=settings.receive_timeout_s,
            client_stall_s=settings.client_stall_timeout_s,
        ),
        BodyMemory(settings.body_memory_limit),
        drain,
        metrics.rejected,
        Cors(settings.cors_origins) if settings.cors_origins else None,
        tenants,
    )


def queue_options(settings: Settings) -> QueueOptions:
    """How requests wait."""
    return QueueOptions(
        room_tokens=settings.room_tokens,
        max_inflight=settings.max_inflight,
        limit=settings.queue_limit,
        timeout_s=settings.queue_timeout_s,
    )


def attempt_options(settings: Settings) -> AttemptOptions:
    """How requests are sent."""
    limits = TimeLimits(
        settings.first_byte_timeout_s, settings.idle_timeout_s, settings.total_timeout_s
    )
    by_endpoint = {
        endpoint: replace(limits, first_byte_s=seconds)
        for endpoint, seconds in settings.first_byte_timeouts.items()
    }
    return AttemptOptions(
        limits,
        by_endpoint,
        settings.retry_budget,
        settings.resume == "on",
        settings.finish_abandoned_s,
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


def _worker_tls(settings: Settings) -> tuple[ssl.SSLContext, Sequence[Credentials]]:
    return worker_credentials(
        settings.worker_ca_file, settings.worker_cert_file, settings.worker_key_file
    )


def _own_tls(settings: Settings) -> tuple[ssl.SSLContext | None, Sequence[Credentials]]:
    cert, key = settings.tls_cert_file, settings.tls_key_file
    if cert is None or key is None:
        return None, ()
    return server_credentials(cert, key, settings.tls_client_ca_file)

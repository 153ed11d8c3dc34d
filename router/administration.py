"""Builds what is served beside inference: the application of the administrator's routes, and who may see what of it."""

from dataclasses import dataclass

from router.access.tenants import Tenants
from router.console.console import Console, Sources
from router.discovery.registry import Discovery
from router.discovery.replicas import Replicas
from router.edge.admin import WorkerView, admin_app
from router.edge.asgi import AsgiRouter
from router.edge.console import add_console
from router.edge.exchange import EdgeServices, aside
from router.edge.explain import add_explain
from router.edge.gate import Gate
from router.edge.operations import Guard, Operations, add_operations
from router.fleet.fleet import Fleet
from router.process import installed_version
from router.routing.dispatch import Dispatch
from router.routing.explain import Explainer
from router.settings import Settings
from router.telemetry.metrics import Metrics
from router.upstream.pool import is_loopback


@dataclass(frozen=True, slots=True)
class Subject:
    """What is shown and changed there."""

    fleet: Fleet
    discovery: Discovery
    view: WorkerView
    dispatch: Dispatch
    metrics: Metrics
    explainer: Explainer
    tenants: Tenants | None
    replicas: Replicas | None


@dataclass(frozen=True, slots=True)
class Administration:
    """What clients' listener serves besides inference, and what the administrator's own does; `console` is part of both."""

    clients: AsgiRouter
    own: AsgiRouter
    console: Console


def administration(settings: Settings, services: EdgeServices, subject: Subject) -> Administration:
    """Build it."""
    fleet, view = subject.fleet, subject.view
    app = admin_app(
        fleet, view, subject.metrics, installed_version(), services.drain, subject.tenants
    )
    add_explain(app, services, subject.explainer.explain)
    operations = Operations(
        fleet, subject.discovery, view, subject.replicas, guard=guard_of(settings)
    )
    add_operations(app, operations)
    console = _console(settings, services, subject)
    add_console(app, console, installed_version())
    key = settings.admin_key
    elsewhere = settings.admin_port is not None
    return Administration(
        AsgiRouter(services, Gate(app, key=key, elsewhere=elsewhere, cors=services.cors)),
        AsgiRouter(aside(services), Gate(app, key=key)),
        console,
    )


def _console(settings: Settings, services: EdgeServices, subject: Subject) -> Console:
    watched = Sources(
        subject.fleet,
        subject.view,
        subject.metrics.route.token_gaps,
        subject.dispatch.__len__,
        subject.metrics.shared.sample,
        lambda: services.drain.active,
    )
    return Console(watched, _about(settings))


def _about(settings: Settings) -> dict[str, str | float | bool | None]:
    """What of the settings the console shows: what decides, nothing secret."""
    return {
        "version": installed_version(),
        "policy": settings.policy,
        "room_tokens": settings.room_tokens,
        "queue_limit": settings.queue_limit,
        "queue_timeout_s": settings.queue_timeout_s,
        "kv_events": settings.kv_events,
        "resume": settings.resume,
        "shared_redis": settings.redis_url is not None,
    }


def guard_of(settings: Settings) -> Guard:
    """What keeps who reaches the router from the administrator's routes."""
    own = settings.admin_port is not None
    if settings.admin_key is None and is_loopback(settings.admin_host if own else settings.host):
        return Guard.LOOPBACK
    return Guard.KEY_OR_PORT if settings.admin_key or own else Guard.NONE

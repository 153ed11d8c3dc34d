"""Builds what finds workers, as the configuration says."""

import ssl
from functools import partial

from router.discovery import targets_file
from router.discovery.base import Source
from router.discovery.dns import DnsWorkers
from router.discovery.file import WorkersFile
from router.discovery.kubernetes.account import Account
from router.discovery.kubernetes.source import kubernetes_routers, kubernetes_workers
from router.discovery.registry import Discovery
from router.discovery.replicas import Replicas
from router.fleet.fleet import Fleet
from router.fleet.target import Service, Target
from router.settings import Settings
from router.settings.discovery import DiscoverySettings, cluster_address
from router.settings.fallback import FallbackSettings
from router.shared.service import Shared
from router.telemetry.discovery import SourceSample
from router.telemetry.metrics import Metrics

DISCOVERY = frozenset((*DiscoverySettings.model_fields, *FallbackSettings.model_fields, "workers"))
"""Settings that say where workers are."""


def configured(settings: Settings) -> list[Target]:
    """Workers that are set, and what stands in for them."""
    targets = [Target(url=url) for url in settings.workers]
    if settings.fallback_url is not None:
        service = Service(settings.fallback_models, settings.fallback_api_key or "")
        targets.append(Target(url=_base(settings.fallback_url), name="fallback", service=service))
    return targets


def _base(url: str) -> str:
    """Without the `/v1` that clients' base URLs end with: it is part of every path here."""
    return url.rstrip("/").removesuffix("/v1")


def sources(settings: Settings) -> list[Source]:
    """What is to look for others. Raises `ConfigurationError`."""
    found: list[Source] = []
    if settings.workers_file is not None:
        found.append(WorkersFile(settings.workers_file))
    found += [
        DnsWorkers(
            name,
            settings.dns_interval_s,
            family=settings.dns_family,
            nameservers=settings.dns_nameservers,
        )
        for name in dict.fromkeys(settings.workers_dns)
    ]
    if settings.kubernetes_service or settings.kubernetes_selector:
        found += kubernetes_workers(
            _account(settings),
            service=settings.kubernetes_service,
            selector=settings.kubernetes_selector,
            namespaces=settings.kubernetes_namespaces,
            port=settings.kubernetes_port,
        )
    return found


def check(settings: Settings) -> None:
    """Raises `ConfigurationError` where workers could not be looked for, or the file of workers is wrong. One that is not
    there may come yet.
    """
    sources(settings)
    if settings.workers_file is not None and settings.workers_file.exists():
        targets_file.read(settings.workers_file)


def _account(settings: Settings) -> Account:
    host, port = cluster_address()
    return Account.find(
        settings.kubernetes_api,
        host=host,
        port=port,
        token_file=settings.kubernetes_token_file,
        ca_file=settings.kubernetes_ca_file,
    )


def _replicas(settings: Settings) -> Replicas | None:
    """The router's own pods, as far as an operator's changes can be passed on to them."""
    if settings.kubernetes_routers is None:
        return None
    own = settings.admin_port is not None
    secure = settings.tls_cert_file is not None
    pods = kubernetes_routers(
        _account(settings),
        settings.kubernetes_routers,
        port=settings.admin_port if own and settings.admin_port else settings.port,
        scheme="https" if secure else "http",
    )
    tls = partial(_trusting, settings) if secure else None
    return Replicas(pods, key=settings.admin_key, tls=tls)


def _trusting(settings: Settings) -> ssl.SSLContext:
    """Replicas have this router's certificate, or one of the same authority; it is for no pod's address. They may want to
    see one.
    """
    context = ssl.create_default_context(cafile=settings.tls_cert_file)
    context.check_hostname = False
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    if settings.tls_cert_file is not None:
        context.load_cert_chain(settings.tls_cert_file, settings.tls_key_file)
    return context


def finding(
    settings: Settings, fleet: Fleet, metrics: Metrics, shared: Shared | None
) -> tuple[Discovery, Replicas | None]:
    """What the fleet follows, and who is told what an operator changes here. Raises `ConfigurationError`."""
    discovery = Discovery(fleet.set_targets)
    if shared is not None:
        shared.facts.orders.follow(discovery)
        shared.facts.orders.key = settings.admin_key
    metrics.discovery.sources = lambda: [
        SourceSample(state.name, state.problem is None, state.workers)
        for state in discovery.states()
    ]
    discovery.set_sources(configured(settings), sources(settings))
    return discovery, _replicas(settings)

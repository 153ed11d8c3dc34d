"""Whose certificates are trusted."""

import ssl

from router.fleet.pools import Pools
from router.fleet.target import Service, Target
from router.upstream.pool import Address


def context_of(url: str, tls: ssl.SSLContext | None, service: Service | None = None) -> object:
    pools = Pools(tls, connect_s=1.0, idle_s=4.0)
    return pools.of(Target(url=url, service=service), Address.parse(url))._tls


def test_workers_are_trusted_as_configured() -> None:
    own = ssl.create_default_context()
    assert context_of("https://a", own) is own
    assert context_of("http://a", own) is None


def test_services_are_trusted_as_the_system_does() -> None:
    own = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context = context_of("https://a", own, Service({"m": "m"}))
    assert isinstance(context, ssl.SSLContext)
    assert context is not own
    assert context.verify_mode is ssl.CERT_REQUIRED
    assert context_of("http://a", own, Service({"m": "m"})) is None

"""What is to be asked of DNS to find workers, as it is written in the setting, and what its answers mean."""

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from math import inf
from urllib.parse import urlsplit

from router.discovery.answers import Answer, NoRecordsError, Service
from router.fleet.target import Target
from router.upstream.pool import Address

_HOST = re.compile(r"[A-Za-z0-9._-]+|[0-9A-Fa-f:.]+")


@dataclass(frozen=True, slots=True)
class Question:
    """`services`: SRV records of the host's name say hosts and ports; else it is the workers' own, its addresses count."""

    address: Address
    services: bool

    @classmethod
    def parse(cls, url: str) -> "Question":
        """Read `http://name:port/prefix` or `srv://name/prefix`, for TLS `https` or `srvs`. Raises ValueError saying what is
        wrong with it.
        """
        scheme, _, rest = url.partition("://")
        if not rest or scheme not in ("http", "https", "srv", "srvs"):
            raise ValueError(
                f"{url!r}: write `http://name:port` or `srv://name` (TLS: `https`, `srvs`)"
            )
        if not (url.isascii() and url.isprintable()) or " " in url:
            raise ValueError("a URL has only printable ASCII without spaces")
        services = scheme in ("srv", "srvs")
        port = urlsplit(url).port
        if services and port is not None:
            raise ValueError(f"{url!r}: the records say the ports")
        if port == 0:
            raise ValueError(f"{url!r}: no worker listens on port 0")
        http = "https" if scheme in ("https", "srvs") else "http"
        return cls(Address.parse(f"{http}://{rest}"), services)

    def of_addresses(self, addresses: Iterable[str], ttl_s: float = inf) -> Answer:
        """A worker at each address; its certificate is for the name."""
        return self._answer([(each, self.address.port) for each in addresses], ttl_s)

    def of_services(self, services: Sequence[Service], ttl_s: float) -> Answer:
        """A worker for each record of the lowest priority; others are for when these are gone. Weights are of no use: load
        is known. Raises NoRecordsError: "." is how a name says that there are none (RFC 2782).
        """
        real = [service for service in services if service.host not in ("", ".")]
        if not real:
            raise NoRecordsError("its record says that there is no such service")
        first = min(service.priority for service in real)
        return self._answer([(s.host, s.port) for s in real if s.priority == first], ttl_s)

    def _answer(self, places: Iterable[tuple[str, int]], ttl_s: float) -> Answer:
        targets, odd = [], []
        for host, port in sorted(set(places)):
            try:
                targets.append(self._target(host, port))
            except ValueError as error:
                odd.append(str(error))
        return Answer(tuple(targets), ttl_s, "; ".join(odd) or None)

    def _target(self, host: str, port: int) -> Target:
        if not _HOST.fullmatch(host) or not port:
            raise ValueError(f"{host!r} with port {port} is no worker's address")
        address = replace(self.address, host=host, port=port)
        scheme = "https" if address.tls else "http"
        url = f"{scheme}://{address.authority}{address.prefix.decode()}"
        Address.parse(url)
        name = self.address.host if address.tls and not self.services else ""
        return Target(url=url, server_name=name)

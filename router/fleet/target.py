"""A worker as whoever knows of it describes it: a setting, a file, DNS, Kubernetes."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from urllib.parse import urlsplit

from router.upstream.pool import Address


class Role(StrEnum):
    """Which part of a request a worker is for, where prefill and decode are apart."""

    BOTH = "both"
    PREFILL = "prefill"
    DECODE = "decode"


@dataclass(frozen=True, slots=True)
class EventPorts:
    """Where a worker publishes its KV events, on its own host; `replay` None: it repeats none."""

    events: int
    replay: int | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """A managed service that stands in where no worker serves; nothing but requests is sent there. `models`: those that it
    stands in for, and what they are called there; `key`: shown instead of the client's.
    """

    models: Mapping[str, str]
    key: str = field(default="", repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """One worker. `name`: what it is called where it runs, `namespace/pod`; `models`: only these of its models are to be
    asked of it, empty: all that it serves; `drained`: somebody wants it to be given no more requests; `leaving`: it will be
    gone, and only gets some where nobody else is; `events`: None: it is asked where its events are; `server_name`: what its certificate is for, where that is
    not the URL's host; `service`: it is no worker, but one of those.
    """

    url: str
    name: str = ""
    models: tuple[str, ...] = ()
    role: Role = Role.BOTH
    drained: bool = False
    leaving: bool = False
    events: EventPorts | None = None
    server_name: str = ""
    service: Service | None = None


def same_way(one: Target, other: Target) -> bool:
    """Connections to both are made alike, if they are at the same address."""
    return _way(one) == _way(other)


def _way(target: Target) -> tuple[bool, str, bool]:
    return Address.parse(target.url).tls, target.server_name, target.service is None


def worker_url(url: str) -> str:
    """The URL, if it can be a worker's; raises ValueError saying what is wrong with it. Stricter than `Address`, which lets
    pass what would end up in request lines.
    """
    if not (url.isascii() and url.isprintable()) or " " in url:
        raise ValueError("a URL has only printable ASCII without spaces")
    Address.parse(url)
    if urlsplit(url if "://" in url else f"http://{url}").port == 0:
        raise ValueError(f"{url!r}: no worker listens on port 0")
    return url

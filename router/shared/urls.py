"""What the URL of a shared Redis may be (pure)."""

import re
from typing import NamedTuple
from urllib.parse import urlsplit

_KINDS = ("cluster", "sentinel")
_SCHEMES = (
    "redis",
    "rediss",
    "unix",
    *(f"{scheme}+{kind}" for scheme in ("redis", "rediss") for kind in _KINDS),
)
_SENTINEL_PORT = 26379
_PARTS = re.compile(
    r"(?P<scheme>[^:/?#]*)://(?P<netloc>[^/?#]*)(?P<path>[^?#]*)(?P<rest>.*)", re.DOTALL
)
"""As urllib splits it, which refuses several hosts with IPv6 addresses among them."""
_UNREADABLE = "cannot be read: ports are numbers, and in a password /, ?, # and @ are written as %2F, %3F, %23 and %40"


class Target(NamedTuple):
    """`kind`: empty for a single server, `cluster` or `sentinel`. `url`: for the driver; of a sentinel's only
    credentials, database and options count. `master`, `sentinels`: the name, and who knows the address.
    """

    kind: str
    url: str
    master: str = ""
    sentinels: tuple[tuple[str, int], ...] = ()


def parse(url: str) -> Target:
    """Raises ValueError, saying what is wrong, without the URL: it may hold a password."""
    parts = _PARTS.fullmatch(url)
    written = parts["scheme"].lower() if parts else ""
    if parts is None or written not in _SCHEMES:
        raise ValueError(f"must begin with one of {', '.join(f'{each}://' for each in _SCHEMES)}")
    scheme, _, kind = written.partition("+")
    if scheme == "unix":
        if not parts["path"]:
            raise ValueError("must be unix:///path/of/the/socket")
        return Target("", url)
    credentials, at, hosts = parts["netloc"].rpartition("@")
    try:
        _ = urlsplit(f"//{credentials}{at}host")  # as the driver will
        addresses = tuple(_address(host) for host in hosts.split(","))
    except ValueError:
        raise ValueError(_UNREADABLE) from None
    if not all(host for host, _ in addresses):
        raise ValueError("names no host")
    if kind == "sentinel":
        master, _, database = parts["path"].removeprefix("/").partition("/")
        if not master:
            raise ValueError("must name the master: redis+sentinel://host:26379/mymaster")
        own = f"{scheme}://{credentials}{at}host/{database}{parts['rest']}"
        return Target(kind, own, master, addresses)
    if len(addresses) > 1:
        raise ValueError("names several servers: of a cluster, one is enough to find the others")
    return Target(kind, f"{scheme}://{parts['netloc']}{parts['path']}{parts['rest']}")


def _address(host: str) -> tuple[str, int]:
    parts = urlsplit(f"//{host}")
    if parts.path or parts.query or parts.fragment:
        raise ValueError
    return parts.hostname or "", parts.port or _SENTINEL_PORT

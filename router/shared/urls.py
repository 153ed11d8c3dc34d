"""What the URL of a shared Redis may be (pure)."""

from typing import NamedTuple
from urllib.parse import urlsplit, urlunsplit

_KINDS = ("cluster", "sentinel")
_SCHEMES = (
    "redis",
    "rediss",
    "unix",
    *(f"{scheme}+{kind}" for scheme in ("redis", "rediss") for kind in _KINDS),
)
_SENTINEL_PORT = 26379


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
    parts = urlsplit(url)
    if parts.scheme not in _SCHEMES:
        raise ValueError(f"must begin with one of {', '.join(f'{each}://' for each in _SCHEMES)}")
    scheme, _, kind = parts.scheme.partition("+")
    if scheme == "unix":
        if not parts.path:
            raise ValueError("must be unix:///path/of/the/socket")
        return Target("", url)
    credentials, at, hosts = parts.netloc.rpartition("@")
    addresses = tuple(_address(host, _SENTINEL_PORT) for host in hosts.split(","))
    if kind != "sentinel":
        return Target(kind, urlunsplit(parts._replace(scheme=scheme)))
    master, _, database = parts.path.strip("/").partition("/")
    if not master:
        raise ValueError("must name the master: redis+sentinel://host:26379/mymaster")
    plain = parts._replace(scheme=scheme, netloc=f"{credentials}{at}{master}", path=f"/{database}")
    return Target(kind, urlunsplit(plain), master, addresses)


def _address(host: str, default: int) -> tuple[str, int]:
    parts = urlsplit(f"//{host}")
    if not parts.hostname:
        raise ValueError("names no host")
    return parts.hostname, parts.port or default

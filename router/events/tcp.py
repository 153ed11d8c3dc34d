"""TCP endpoints as ZMQ writes them (pure)."""

_ANY_HOST = {"*", "0.0.0.0", "::"}  # noqa: S104 - told apart, not bound


def is_any(host: str) -> bool:
    """Whether it stands for all addresses of a machine."""
    return host in _ANY_HOST


def parts(endpoint: str) -> tuple[str, int | None]:
    """Host and port of a TCP endpoint; the port is None if it is anything else."""
    scheme, _, rest = endpoint.partition("://")
    host, _, port = rest.rpartition(":")
    if scheme != "tcp" or not host or not port.isdigit() or not 0 < int(port) < 65536:
        return "", None
    return host.strip("[]"), int(port)


def tcp(host: str, port: int) -> str:
    """The endpoint, with IPv6 addresses in brackets."""
    return f"tcp://[{host}]:{port}" if ":" in host else f"tcp://{host}:{port}"


def shifted(endpoint: str, rank: int) -> str:
    """Where data-parallel rank `rank` is when the first one is at `endpoint`."""
    host, port = parts(endpoint)
    return tcp(host, port + rank) if port is not None else endpoint

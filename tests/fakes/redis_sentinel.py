"""A real Redis or Valkey that a Sentinel watches, on loopback."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from redis import Redis

from tests.fakes.redis_binaries import Flavour
from tests.fakes.redis_server import Server, server, until

NAME = "mymaster"
FAILOVER_TIMEOUT_MS = 5000


@dataclass(frozen=True, slots=True)
class Watched:
    """`master` and `replica` are what they were in the beginning."""

    master: Server
    replica: Server
    sentinel: Server

    @property
    def url(self) -> str:
        return f"redis+sentinel://127.0.0.1:{self.sentinel.port}/{NAME}"

    def current(self) -> Server:
        """The master that the sentinel tells clients of."""
        with Redis(port=self.sentinel.port, decode_responses=True) as client:
            _, port = client.execute_command("SENTINEL GET-MASTER-ADDR-BY-NAME", NAME)
        return self.master if int(port) == self.master.port else self.replica


@contextmanager
def sentinel(flavour: Flavour, down_after_ms: int = 500) -> Iterator[Watched]:
    """One master, one replica in step, and one sentinel that fails over by itself.

    A sentinel reconnects once a second, so with less than 1500 ms the end of a failover may look like the next
    master's death, and set off another when the old one is back.
    """
    with (
        server(flavour) as master,
        server(flavour, f"--replicaof 127.0.0.1 {master.port}") as replica,
        server(flavour, "--sentinel") as watcher,
    ):
        until("the replica is in step", lambda: _in_step(replica))
        with Redis(port=watcher.port, decode_responses=True) as client:
            _watch(client, master, down_after_ms)
            until("the sentinel knows the replica", lambda: _knows(client, replica))
        yield Watched(master, replica, watcher)


def _in_step(replica: Server) -> bool:
    with Redis(port=replica.port, decode_responses=True) as client:
        return bool(client.execute_command("INFO", "replication")["master_link_status"] == "up")


def _watch(client: Redis, master: Server, down_after_ms: int) -> None:
    ask: Callable[..., Any] = client.execute_command
    ask("SENTINEL MONITOR", NAME, "127.0.0.1", master.port, 1)
    ask("SENTINEL SET", NAME, "down-after-milliseconds", down_after_ms)
    ask("SENTINEL SET", NAME, "failover-timeout", FAILOVER_TIMEOUT_MS)


def _knows(client: Redis, replica: Server) -> bool:
    """As one that can take over: asked how it is, and in step."""
    ask: Callable[..., Any] = client.execute_command
    told = ask("SENTINEL REPLICAS", NAME)
    return [(int(each["port"]), each["master-link-status"]) for each in told] == [
        (replica.port, "ok")
    ]

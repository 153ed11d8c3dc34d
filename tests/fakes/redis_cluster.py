"""A real Redis or Valkey cluster on loopback."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

from redis import Redis
from redis.exceptions import RedisError

from tests.fakes.redis_binaries import Flavour
from tests.fakes.redis_server import Server, server, until

SLOTS = 16384
NODE_TIMEOUT_MS = 1000
PORTS = ("--port", "--cluster-port")
ANSWER_S = 5.0


@dataclass(frozen=True, slots=True)
class Cluster:
    """`nodes` are the masters that it began with, then the replicas: the first master's, the second's, …"""

    nodes: list[Server]

    @property
    def url(self) -> str:
        return self.nodes[0].url.replace("redis://", "redis+cluster://")

    def masters(self) -> list[Server]:
        """Those that serve slots, as the first node that answers sees it."""
        for node in self.nodes:
            try:
                seen = _ask(node, "CLUSTER NODES").items() if node.alive else ()
            except RedisError:
                continue
            ports = {int(address.rpartition(":")[2]) for address, told in seen if _serves(told)}
            if ports:
                return [node for node in self.nodes if node.port in ports]
        raise AssertionError("no node answers")


@contextmanager
def cluster(flavour: Flavour, masters: int = 3, replicas: int = 0) -> Iterator[Cluster]:
    """With `replicas` of each master. All nodes agree that all slots are served, and replicas are in step."""
    options = ("--cluster-enabled yes", f"--cluster-node-timeout {NODE_TIMEOUT_MS}")
    with ExitStack() as stack:
        nodes = [
            stack.enter_context(server(flavour, *options, ports=PORTS))
            for _ in range(masters * (1 + replicas))
        ]
        _meet(nodes)
        _share_slots(nodes[:masters])
        for place, node in enumerate(nodes[masters:]):
            _replicate(node, nodes[place // replicas])
        until(
            "the cluster is ready", lambda: all(_is_ready(node, nodes, masters) for node in nodes)
        )
        yield Cluster(nodes)


def _ask(node: Server, *command: str | int) -> Any:
    with Redis(port=node.port, socket_timeout=ANSWER_S, decode_responses=True) as client:
        return client.execute_command(*command)


def _meet(nodes: list[Server]) -> None:
    for epoch, node in enumerate(nodes, 1):
        _ask(node, "CLUSTER SET-CONFIG-EPOCH", epoch)  # else they settle it later, one by one
    first = nodes[0]
    for node in nodes[1:]:
        _ask(node, "CLUSTER MEET", "127.0.0.1", first.port, first.ports["--cluster-port"])


def _share_slots(masters: list[Server]) -> None:
    bounds = [SLOTS * place // len(masters) for place in range(len(masters) + 1)]
    for node, first, after in zip(masters, bounds, bounds[1:], strict=False):
        _ask(node, "CLUSTER ADDSLOTSRANGE", first, after - 1)


def _replicate(node: Server, master: Server) -> None:
    name = _ask(master, "CLUSTER MYID")
    until("the replica knows its master", lambda: _knows(node, name))
    _ask(node, "CLUSTER REPLICATE", name)


def _knows(node: Server, name: str) -> bool:
    return any(told["node_id"] == name for told in _ask(node, "CLUSTER NODES").values())


def _is_ready(node: Server, nodes: list[Server], masters: int) -> bool:
    info = _ask(node, "CLUSTER INFO")
    seen = _ask(node, "CLUSTER NODES").values()
    replication = _ask(node, "INFO", "replication")
    return (
        info["cluster_state"] == "ok"
        and int(info["cluster_slots_assigned"]) == SLOTS
        and len(seen) == len(nodes)
        and all(told["connected"] and "handshake" not in told["flags"] for told in seen)
        and sum(map(_serves, seen)) == masters
        and sum("slave" in told["flags"] for told in seen) == len(nodes) - masters
        and replication.get("master_link_status", "up") == "up"
    )


def _serves(told: dict[str, Any]) -> bool:
    flags = told["flags"].split(",")
    return "master" in flags and "fail" not in flags and bool(told["slots"])

"""Runs LMCache on this machine: a cache server that vLLM workers share, and the coordinator it reports to.

The server keeps chunks in memory and, where there is a Redis, in that as well. Standard library only; uses the
engine that setup.sh made, and workers.py beside it.
"""

import contextlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import ClassVar

from workers import Server, spawn, stop, wait_healthy

HOST = "127.0.0.1"
_ENVIRONMENT = {
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "LMCACHE_DISABLE_BANNER": "1",
    "LMCACHE_TRACK_USAGE": "false",
}


@dataclass(frozen=True, slots=True)
class LMCacheSpec:
    """What to start. `port` is the one that workers talk to, in ZMQ, and `chunk` the tokens in a chunk; `redis_port` None:
    there is no second tier.
    """

    port: int
    http_port: int
    coordinator_port: int
    redis_port: int | None = None
    chunk: int = 64
    memory_gb: float = 0.25
    instance: str = "lmcache-1"

    @property
    def worker_args(self) -> tuple[str, ...]:
        """What makes a `vllm serve` use it (`WorkerSpec.extra_args`)."""
        connector = {
            "kv_connector": "LMCacheMPConnector",
            "kv_role": "kv_both",
            "kv_connector_extra_config": {
                "lmcache.mp.host": f"tcp://{HOST}",
                "lmcache.mp.port": self.port,
                # "auto" takes the other one on a CPU, whose events do not tell tokens
                "lmcache.mp.mp_transfer_mode": "lmcache_driven",
            },
        }
        return "--kv-transfer-config", json.dumps(connector)


class CacheServer(Server):
    """A started `lmcache server`."""

    __slots__ = ()
    health_path: ClassVar[str] = "/healthcheck"


class Coordinator(Server):
    """A started `lmcache coordinator`; its directory knows what every server holds."""

    __slots__ = ()
    health_path: ClassVar[str] = "/healthz"


@dataclass(frozen=True, slots=True)
class LMCache:
    """Both of them."""

    spec: LMCacheSpec
    server: CacheServer
    coordinator: Coordinator


def _coordinator(spec: LMCacheSpec) -> Coordinator:
    command = ["lmcache", "coordinator"]
    options = {"--host": HOST, "--port": spec.coordinator_port, "--chunk-size": spec.chunk}
    return Coordinator(
        spec.coordinator_port,
        *spawn([*command, *_listed(options)], f"coordinator-{spec.port}", _ENVIRONMENT),
    )


def _server(spec: LMCacheSpec) -> CacheServer:
    options = {
        "--host": HOST,
        "--port": spec.port,
        "--http-host": HOST,
        "--http-port": spec.http_port,
        "--instance-id": spec.instance,
        "--chunk-size": spec.chunk,
        "--l1-size-gb": spec.memory_gb,
        "--eviction-policy": "LRU",
        "--supported-transfer-mode": "auto",
        "--coordinator-url": f"http://{HOST}:{spec.coordinator_port}",
        "--coordinator-advertise-ip": HOST,
        "--coordinator-event-flush-interval": 0.2,
    }
    command = ["lmcache", "server", "--coordinator-event-reporting", *_listed(options)]
    if spec.redis_port is not None:
        redis = {"type": "resp", "host": HOST, "port": spec.redis_port}
        command += ["--l2-adapter", json.dumps(redis)]
    return CacheServer(spec.http_port, *spawn(command, f"lmcache-{spec.port}", _ENVIRONMENT))


def _listed(options: Mapping[str, object]) -> list[str]:
    return [str(part) for pair in options.items() for part in pair]


@contextlib.contextmanager
def running(spec: LMCacheSpec) -> Iterator[LMCache]:
    """Start both, yield them healthy (after about 15 s), stop them at the end. Workers start after, and stop before."""
    started: list[Server] = []
    try:
        started.append(coordinator := _coordinator(spec))
        started.append(server := _server(spec))
        wait_healthy(started)
        yield LMCache(spec, server, coordinator)
    finally:
        stop(started)

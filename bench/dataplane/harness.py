"""Starts and stops the processes of a benchmark, each pinned to its core."""

from __future__ import annotations

import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

from bench.dataplane import usage
from bench.dataplane.workloads import ITL_S

ROOT = Path(__file__).resolve().parents[2]
WORKERS = 4
READY_S = 40.0
STOP_S = 5.0
QUIET = 0.1  # share of a core that others may use when a run starts
_PROBE = json.dumps(
    {"model": "mock", "max_tokens": 1, "messages": [{"role": "user", "content": "ready?"}]}
).encode()


class NotReadyError(RuntimeError):
    """A router did not answer in time, or ended."""


def prepare() -> None:
    """Stop what we started when we are told to end; allow as many open sockets as the system does."""
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def worker_ports(base: int) -> tuple[int, ...]:
    """The mock workers' ports, for a router on `base`."""
    return tuple(base + 11 + i for i in range(WORKERS))


def require_free(ports: list[int]) -> None:
    """Exit when something listens already: it would be measured instead."""
    for port in ports:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                sys.exit(f"port {port} is taken (another run?); choose others with --base-port")


def _environment() -> dict[str, str]:
    """Ours plus this repository on Python's path, so that it need not be installed."""
    path = os.pathsep.join(filter(None, [str(ROOT), os.environ.get("PYTHONPATH", "")]))
    return os.environ | {"PYTHONPATH": path}


def stop(process: subprocess.Popen[bytes]) -> None:
    """End a process and its group, gently first."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(STOP_S)
            return


@contextlib.contextmanager
def started(command: list[str], core: int, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run `command` on `core` with its output in `log`; stop it in the end."""
    with log.open("wb") as out:
        process = subprocess.Popen(
            ["taskset", "-c", str(core), *command],
            stdout=out, stderr=subprocess.STDOUT, start_new_session=True, env=_environment(), cwd=log.parent,
        )  # fmt: skip
        try:
            yield process
        finally:
            stop(process)


def backend_command(ports: tuple[int, ...]) -> list[str]:
    """The mock workers."""
    listed = ",".join(map(str, ports))
    return [
        sys.executable,
        "-m",
        "bench.dataplane.backend",
        "--ports",
        listed,
        "--itl-ms",
        str(ITL_S * 1e3),
    ]


def await_ready(port: int, process: subprocess.Popen[bytes]) -> None:
    """Wait until a completion through `port` succeeds; raises NotReadyError."""
    request = urllib.request.Request(
        f"http://127.0.0.1:{port}/v1/chat/completions", _PROBE, {"content-type": "application/json"}
    )
    end, why = time.monotonic() + READY_S, "nothing listens"
    while time.monotonic() < end and process.poll() is None:
        try:
            with urllib.request.urlopen(request, timeout=5):
                return
        except (OSError, urllib.error.URLError) as error:
            why = str(error)
        time.sleep(0.2)
    raise NotReadyError(f"ended with {process.returncode}" if process.poll() is not None else why)


def await_quiet(cores: tuple[int, ...], patience_s: float) -> None:
    """Wait until others leave `cores` alone for a second, for at most `patience_s`."""
    end = time.monotonic() + patience_s
    while time.monotonic() < end:
        before = [usage.core_busy_s(core) for core in cores]
        time.sleep(1)
        if all(
            usage.core_busy_s(core) - was < QUIET for core, was in zip(cores, before, strict=True)
        ):
            return


def fetch_stats(ports: tuple[int, ...]) -> dict[str, int]:
    """The mock workers' counters, summed: requests, aborted, bad, side (tokenize calls), probes."""
    total: dict[str, int] = {}
    for port in ports:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/stats", timeout=5) as answer:
            for name, value in json.load(answer).items():
                total[name] = total.get(name, 0) + value
    return total


def loadgen(flags: list[str], core: int) -> subprocess.Popen[bytes]:
    """Start the load generator; its standard output is one JSON object."""
    command = ["taskset", "-c", str(core), sys.executable, "-m", "bench.dataplane.loadgen", *flags]
    return subprocess.Popen(command, stdout=subprocess.PIPE, env=_environment(), cwd=ROOT)

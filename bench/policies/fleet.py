"""The two vLLM workers and the routers before them: starts them, empties the workers' caches, stops them."""

from __future__ import annotations

import contextlib
import importlib.util
import json
import os
import re
import shlex
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from bench.dataplane.harness import QUIET, ROOT, stop
from bench.dataplane.usage import core_busy_s

LAUNCHER = ROOT / "deploy/vllm-cpu/workers.py"
READY_S = 30.0
IDLE_S = 60.0


class FleetError(RuntimeError):
    """Something is not as the benchmark needs it."""


def launcher() -> ModuleType:
    """The module deploy/vllm-cpu/workers.py, which belongs to no package."""
    spec = importlib.util.spec_from_file_location("vllm_cpu_workers", LAUNCHER)
    assert spec
    assert spec.loader
    module = sys.modules[spec.name] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def vllm_workers(ports: Sequence[int], kv_mb: int) -> Iterator[list[str]]:
    """Two vLLM workers that let us empty their prefix caches; yields their URLs."""
    vllm = launcher()
    os.environ["VLLM_SERVER_DEV_MODE"] = "1"  # offers /reset_prefix_cache
    try:
        with vllm.running([vllm.WorkerSpec(port, kv_mb=kv_mb) for port in ports]) as workers:
            yield [worker.url for worker in workers]
    except vllm.WorkerError as error:
        raise FleetError(str(error)) from None


@dataclass(frozen=True, slots=True)
class Router:
    """A router before `workers`; `command` may hold several words, a setting is `name=value`."""

    command: str
    settings: tuple[str, ...]
    workers: tuple[str, ...]

    def command_line(self, policy: str, port: int) -> list[str]:
        """What starts it with `policy` on `port`."""
        settings = [setting.partition("=") for setting in self.settings]
        flags = [flag for url in self.workers for flag in ("--worker", url)]
        return [
            *(
                "env",
                *(f"PREFIX_ROUTER_{n.upper()}={v}" for n, _, v in settings),
                *shlex.split(self.command),
            ),
            *("serve", "--host", "127.0.0.1", "--port", str(port), "--policy", policy, *flags),
        ]


@contextlib.contextmanager
def routers(
    router: Router, policies: Sequence[str], base_port: int, logs: Path
) -> Iterator[dict[str, str]]:
    """One router per policy before the same workers; yields each policy's URL."""
    urls: dict[str, str] = {}
    with contextlib.ExitStack() as stack:
        for port, policy in enumerate(policies, base_port):
            log = logs / f"{policy}.log"
            process = stack.enter_context(_started(router.command_line(policy, port), log))
            urls[policy] = f"http://127.0.0.1:{port}"
            _await_ready(urls[policy], process, log)
        yield urls


@contextlib.contextmanager
def _started(command: list[str], log: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, cwd=ROOT
        )
        try:
            yield process
        finally:
            stop(process)


def _await_ready(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + READY_S
    while time.monotonic() < end and process.poll() is None:
        with contextlib.suppress(FleetError):
            if _ask(f"{url}/ready")[0] == 200:
                return
        time.sleep(0.1)
    raise FleetError(f"{url} is not ready, see {log}")


def model_of(worker: str) -> str:
    """The first model that `worker` serves."""
    status, body = _ask(f"{worker}/v1/models")
    if status != 200:
        raise FleetError(f"{worker}/v1/models answers {status}")
    return str(json.loads(body)["data"][0]["id"])


def empty(workers: Sequence[str]) -> bool:
    """Wait until no worker has a request, then empty the prefix caches; tell whether all can be emptied.

    Raises `FleetError` when the requests do not end.
    """
    end = time.monotonic() + IDLE_S
    emptied = [_empty(worker, end) for worker in workers]  # wait for every one
    return all(emptied)


def _empty(worker: str, end: float) -> bool:
    while time.monotonic() < end:
        if not _requests_at(worker):
            status, body = _ask(f"{worker}/reset_prefix_cache", "POST")
            if status != 200:  # offered only with VLLM_SERVER_DEV_MODE=1
                return False
            if json.loads(body)["success"]:
                return True
        time.sleep(0.2)
    raise FleetError(f"{worker} is in use, by others perhaps")


def _requests_at(worker: str) -> float:
    pattern = r"^vllm:num_requests_(?:running|waiting)(?:\{.*\})? (\S+)$"
    text = _ask(f"{worker}/metrics")[1].decode()
    return sum(map(float, re.findall(pattern, text, re.MULTILINE)))


def quiet(patience_s: float) -> float:
    """Wait until others leave the machine alone for a second; return how many cores they used in the last.

    Gives up after `patience_s`.
    """
    cores = sorted(os.sched_getaffinity(0))
    end = time.monotonic() + patience_s
    while True:
        before = sum(map(core_busy_s, cores))
        time.sleep(1)
        busy = sum(map(core_busy_s, cores)) - before
        if busy < QUIET * len(cores) or time.monotonic() > end:
            return busy


def _ask(url: str, method: str = "GET") -> tuple[int, bytes]:
    """Status and body; raises `FleetError` when there is no answer."""
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, method=method), timeout=10
        ) as answer:
            return answer.status, answer.read()
    except urllib.error.HTTPError as error:
        return error.code, error.read()
    except OSError as error:
        raise FleetError(f"{url}: {error}") from None

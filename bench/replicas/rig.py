"""The simulated workers, the routers and the Redis between them, each a process: starts and stops them."""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench.dataplane.harness import ROOT, stop

READY_S = 60.0


class RigError(RuntimeError):
    """Something did not start."""


@dataclass(frozen=True, slots=True)
class Fleet:
    """What the workers are like; all have one model."""

    workers: int
    kv_tokens: int
    prefill_tokens_per_s: float
    itl_ms: float


@contextlib.contextmanager
def running(
    fleet: Fleet, routers: int, redis_url: str | None, base_port: int, logs: Path
) -> Iterator[list[str]]:
    """Fresh workers and routers, which share `redis_url` if there is one; yields the routers' URLs."""
    ports = range(base_port, base_port + fleet.workers)
    workers = [f"http://127.0.0.1:{port}" for port in ports]
    urls = [f"http://127.0.0.1:{base_port + 50 + number}" for number in range(routers)]
    logs.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as stack:
        for port in ports:
            stack.enter_context(_started(_worker(fleet, port), logs / f"worker-{port}.log"))
        _await(f"{url}/health" for url in workers)
        for url in urls:
            command = _router(url, workers, redis_url)
            stack.enter_context(_started(command, logs / f"router-{url[-5:]}.log"))
        _await(f"{url}/ready" for url in urls)
        if redis_url is not None:
            _await_company(urls)
        yield urls


def _worker(fleet: Fleet, port: int) -> list[str]:
    options = {
        "port": port,
        "kv-tokens": fleet.kv_tokens,
        "prefill-tokens-per-s": fleet.prefill_tokens_per_s,
        "itl-ms": fleet.itl_ms,
    }
    flags = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    return [sys.executable, "-m", "router.simworker", *flags]


def _router(url: str, workers: Sequence[str], redis_url: str | None) -> list[str]:
    flags = [word for worker in workers for word in ("--worker", worker)]
    if redis_url is not None:
        flags += ["--redis-url", redis_url]
    port = url.rpartition(":")[2]
    return [sys.executable, "-m", "router", "serve", "--host", "127.0.0.1", "--port", port, *flags]


@contextlib.contextmanager
def _started(command: list[str], log: Path) -> Iterator[None]:
    with log.open("wb") as out:
        process = subprocess.Popen(
            command, stdout=out, stderr=subprocess.STDOUT, start_new_session=True, cwd=ROOT
        )
        try:
            yield
        finally:
            stop(process)


def _await(urls: Iterator[str]) -> None:
    end = time.monotonic() + READY_S
    for url in urls:
        while not fetched(url):
            if time.monotonic() > end:
                raise RigError(f"{url} does not answer")
            time.sleep(0.1)


def _await_company(urls: Sequence[str]) -> None:
    """Wait until every router knows of all."""
    end = time.monotonic() + READY_S
    wanted = f'router_shared_routers{{role="leads"}} {len(urls)}.0'
    while not all(wanted in fetched(f"{url}/metrics") for url in urls):
        if time.monotonic() > end:
            raise RigError("the routers do not find each other")
        time.sleep(0.2)


def fetched(url: str) -> str:
    """What is there; empty if nothing is."""
    try:
        with urllib.request.urlopen(url, timeout=10) as answer:
            return str(answer.read().decode()) or "ok"
    except (urllib.error.HTTPError, OSError):
        return ""

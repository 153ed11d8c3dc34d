"""A worker in this process, and one as the process that users start."""

import asyncio
import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest

from router.simworker.app import App
from router.simworker.config import WorkerConfig
from router.simworker.worker import Worker
from tests.fakes.ports import free_ports

ROOT = Path(__file__).resolve().parents[3]


class Local:
    """A client of a worker in this process, and the worker itself."""

    def __init__(self, worker: Worker) -> None:
        self.worker = worker
        transport = httpx2.ASGITransport(app=App(worker))
        self.http = httpx2.AsyncClient(transport=transport, base_url="http://worker")

    async def post(self, path: str, body: Any, **headers: str) -> httpx2.Response:
        return await self.http.post(path, json=body, headers=headers)

    async def events(self, path: str, body: dict[str, Any]) -> list[tuple[str | None, Any]]:
        """Name and value of every event of a stream."""
        response = await self.post(path, {**body, "stream": True})
        assert response.status_code == 200, response.text
        assert response.headers["content-type"] == "text/event-stream; charset=utf-8"
        return parse_events(response.text)


def parse_events(text: str) -> list[tuple[str | None, Any]]:
    """Events of an SSE body; the value of `[DONE]` is that string."""
    found = []
    for block in text.split("\n\n"):
        if not block:
            continue
        lines = dict(line.split(": ", 1) for line in block.split("\n"))
        data = lines["data"]
        found.append((lines.get("event"), data if data == "[DONE]" else json.loads(data)))
    return found


@contextlib.asynccontextmanager
async def local(**options: Any) -> AsyncIterator[Local]:
    """A running worker in this process, a hundred times as fast as the default."""
    worker = Worker.create(WorkerConfig(**{"time_scale": 0.01, **options}))
    async with worker.running():
        client = Local(worker)
        async with client.http:
            yield client


@pytest.fixture(name="local")
def local_fixture() -> Callable[..., contextlib.AbstractAsyncContextManager[Local]]:
    return local


@pytest.fixture(name="events_of")
def events_of_fixture() -> Callable[[str], list[tuple[str | None, Any]]]:
    return parse_events


class Process:
    """A worker process."""

    def __init__(self, *options: str) -> None:
        self.port = free_ports(1)[0]
        self.url = f"http://127.0.0.1:{self.port}"
        command = [sys.executable, "-m", "router.simworker", "--port", str(self.port), *options]
        env = {**os.environ, "PYTHONPATH": str(ROOT)}
        self.popen = subprocess.Popen(command, cwd=ROOT, env=env)
        self.await_health()

    def await_health(self) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(httpx2.TransportError):
                if httpx2.get(f"{self.url}/health").status_code == 200:
                    return
            time.sleep(0.05)
        raise AssertionError("the worker does not come up")

    def terminate(self) -> int:
        """Send SIGTERM and wait; the exit status."""
        self.popen.send_signal(signal.SIGTERM)
        return self.popen.wait(20)


@pytest.fixture
def free_port() -> int:
    """A port whose successor is free too."""
    return free_ports(2)[0]


@pytest.fixture
def spawn() -> Iterator[Callable[..., Process]]:
    """Starts worker processes that do not outlive the test."""
    started: list[Process] = []

    def start(*options: str) -> Process:
        started.append(Process(*options))
        return started[-1]

    yield start
    for process in started:
        process.popen.kill()
        process.popen.wait(10)


@pytest.fixture(scope="module")
def served() -> Iterator[Process]:
    """One fast worker process for all tests of a module."""
    process = Process("--time-scale", "0.2", "--model", "sim-model", "--model", "adapter")
    yield process
    process.popen.kill()
    process.popen.wait(10)


async def eventually(condition: Callable[[], bool], timeout: float = 10.0) -> None:
    """Wait until a condition holds."""
    async with asyncio.timeout(timeout):
        while not condition():  # noqa: ASYNC110 - what is awaited has no event
            await asyncio.sleep(0.005)


@pytest.fixture(name="eventually")
def eventually_fixture() -> Callable[..., Any]:
    return eventually

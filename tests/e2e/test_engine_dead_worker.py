"""A worker that dies costs the requests it held, and none after them."""

import contextlib
import socket
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.e2e.harness import MODEL, Router, ask, router_process, send, wait_until
from tests.fakes.ports import free_ports

pytestmark = pytest.mark.engine

NOTICED_WITHIN_S = 15.0
ENDLESS = {
    "model": MODEL,
    "prompt": "hello",
    "max_tokens": 7000,
    "ignore_eos": True,
    "stream": True,
}


@pytest.fixture
def doomed(engine: ModuleType) -> Iterator[Any]:
    """A third worker, so that killing it harms no other test."""
    with engine.running([engine.WorkerSpec(free_ports(1)[0], kv_mb=64)]) as workers:
        yield workers[0]


@pytest.fixture
def router(doomed: Any, engine_workers: list[Any], tmp_path: Path) -> Iterator[Router]:
    with router_process([engine_workers[0].url, doomed.url], tmp_path) as router:
        yield router


def is_up(router: Router, worker: Any) -> bool:
    listed = {entry["id"]: entry for entry in router.workers()["workers"]}
    return bool(listed[worker.id]["up"])


def test_requests_after_a_kill_go_to_the_other_worker(
    router: Router, doomed: Any, engine_workers: list[Any]
) -> None:
    survivor = engine_workers[0]
    wait_until(lambda: is_up(router, doomed), NOTICED_WITHIN_S, "both workers up")
    with send(router.url, "/v1/completions", ENDLESS, {"x-router-worker": doomed.id}) as stream:
        while b"data: " not in stream.recv(65536):
            pass

        doomed.kill()
        for number in range(20):
            body = {"model": MODEL, "prompt": f"{number} after the kill", "max_tokens": 1}
            answer = ask(router.url, "/v1/completions", body)
            assert answer.status == 200
            assert answer.header("x-router-worker") == survivor.id

        assert b"[DONE]" not in rest_of(stream)
    wait_until(lambda: not is_up(router, doomed), NOTICED_WITHIN_S, "the dead worker shown as down")
    assert is_up(router, survivor)


def rest_of(stream: socket.socket) -> bytes:
    """What still comes of a stream, up to its end or to where it breaks off."""
    parts = []
    with contextlib.suppress(ConnectionResetError):
        while part := stream.recv(65536):
            parts.append(part)
            if b"".join(parts[-2:]).endswith(b"\r\n0\r\n\r\n"):
                break
    return b"".join(parts)

"""A client that leaves takes its generation with it, in every phase."""

import random
import socket
import uuid
from collections.abc import Callable
from typing import Any

import pytest

from tests.e2e.harness import MODEL, Router, metric, send, wait_until
from tests.e2e.prose import prose

pytestmark = pytest.mark.engine

ABORT_WITHIN_S = 1.0
MANY_TOKENS = 7000
TURNS = [{"role": "user", "content": "hello"}]
LONG_PROMPT_WORDS = 4000


def running(worker: Any) -> float:
    return metric(worker.url, "vllm:num_requests_running") + metric(
        worker.url, "vllm:num_requests_waiting"
    )


def leave_and_watch(
    router: Router,
    worker: Any,
    path: str,
    body: dict[str, Any],
    before: Callable[[socket.socket], None] = lambda _: None,
) -> None:
    """Send, close the connection when the worker is at it, see it stop."""
    request_id = uuid.uuid4().hex
    headers = {"x-router-worker": worker.id, "x-request-id": request_id}
    with send(router.url, path, {"model": MODEL} | body, headers) as connection:
        before(connection)
        wait_until(lambda: running(worker) == 1, 10, "the worker to begin")
    wait_until(lambda: running(worker) == 0, ABORT_WITHIN_S, "the worker to stop")
    assert router.request_line(request_id)["outcome"] == "cancelled"


ENDLESS_CHAT = {"messages": TURNS, "max_tokens": MANY_TOKENS, "ignore_eos": True}
ENDLESS: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": ENDLESS_CHAT,
    "/v1/completions": {"prompt": "hello", "max_tokens": MANY_TOKENS, "ignore_eos": True},
    "/v1/messages": {"messages": TURNS, "max_tokens": MANY_TOKENS},
    "/v1/responses": {"input": "hello", "max_output_tokens": MANY_TOKENS, "ignore_eos": True},
}


@pytest.mark.parametrize("path", ENDLESS)
def test_leaving_mid_stream_stops_the_worker(
    path: str, engine_router: Router, engine_workers: list[Any]
) -> None:
    def first_bytes(connection: socket.socket) -> None:
        assert connection.recv(4096).startswith(b"HTTP/1.1 200 ")

    body = ENDLESS[path] | {"stream": True}
    leave_and_watch(engine_router, engine_workers[0], path, body, first_bytes)


@pytest.mark.parametrize("path", ENDLESS)
def test_leaving_before_a_whole_answer_stops_the_worker(
    path: str, engine_router: Router, engine_workers: list[Any]
) -> None:
    leave_and_watch(engine_router, engine_workers[1], path, ENDLESS[path])


def test_leaving_during_prefill_stops_the_worker(
    engine_router: Router, engine_workers: list[Any]
) -> None:
    body = ENDLESS["/v1/completions"] | {"stream": True, "max_tokens": 500}
    body["prompt"] = prose(random.Random(uuid.uuid4().hex), LONG_PROMPT_WORDS)
    leave_and_watch(engine_router, engine_workers[0], "/v1/completions", body)

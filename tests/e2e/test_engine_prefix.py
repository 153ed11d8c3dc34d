"""Requests with a prefix that a worker holds go back to that worker."""

import random
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from tests.e2e.harness import MODEL, Answer, Router, ask
from tests.e2e.prose import prose

pytestmark = pytest.mark.engine

PREFIX_WORDS = 800  # over 1,000 tokens
BLOCK = 32


def new_prefix() -> str:
    """A text that no worker has seen."""
    name = uuid.uuid4().hex
    return f"{name} {prose(random.Random(name), PREFIX_WORDS)}"


def ask_about(router: Router, prefix: str, question: str) -> Answer:
    messages = [{"role": "system", "content": prefix}, {"role": "user", "content": question}]
    body: dict[str, Any] = {"model": MODEL, "messages": messages, "max_tokens": 2}
    answer = ask(router.url, "/v1/chat/completions", body)
    assert answer.status == 200
    return answer


def test_shared_prefix_returns_to_its_worker(engine_router: Router) -> None:
    prefix = new_prefix()
    first = ask_about(engine_router, prefix, "What is it about?")
    assert first.usage["prompt_tokens"] > 1000
    assert first.cached_tokens < BLOCK

    for question in ("Who wrote it?", "And when, if anybody knows?"):
        again = ask_about(engine_router, prefix, question)
        assert again.header("x-router-worker") == first.header("x-router-worker")
        assert again.cached_tokens >= first.usage["prompt_tokens"] - 2 * BLOCK


def test_different_prefixes_use_both_workers(
    engine_router: Router, engine_workers: list[Any]
) -> None:
    prefixes = [new_prefix() for _ in range(8)]
    with ThreadPoolExecutor(4) as pool:
        first = list(pool.map(lambda prefix: ask_about(engine_router, prefix, "Why?"), prefixes))
    homes = [answer.header("x-router-worker") for answer in first]
    assert set(homes) == {worker.id for worker in engine_workers}

    for prefix, home in zip(prefixes, homes, strict=True):
        again = ask_about(engine_router, prefix, "How?")
        assert again.header("x-router-worker") == home
        assert again.cached_tokens > 0

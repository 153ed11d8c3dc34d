"""What the router predicts to be cached is what the engine then takes from its cache."""

import itertools
import json
import random
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.harness import MODEL, Router, ask, wait_until
from tests.e2e.prose import code, prose

pytestmark = pytest.mark.engine

REQUESTS = 200
CLIENTS = 4
BLOCK = 32
WORKLOAD_SEED = 1

Script = list[str]
"""What one client says, in order: several turns of a chat, or one completion."""


def chats(rng: random.Random) -> Iterator[tuple[str, Script]]:
    """Conversations of one to nine turns, most under one of four system prompts."""
    systems = [prose(rng, 150), prose(rng, 400), code(rng, 20), prose(rng, 900)]
    for turns in (9, 8, 7, 6, 6, 5, 5, 4, 4, 3, 3):
        yield rng.choice(systems), [prose(rng, rng.choice((5, 20, 80))) for _ in range(turns)]
    for _ in range(60):
        yield rng.choice(systems), [prose(rng, rng.randrange(3, 200))]
    for _ in range(20):
        yield "", [prose(rng, rng.randrange(3, 900))]


def completions(rng: random.Random) -> Iterator[Script]:
    """Continuations of five documents, cut anywhere, and texts of their own."""
    documents = [prose(rng, 500), prose(rng, 1500), code(rng, 10), code(rng, 40), prose(rng, 60)]
    for _ in range(48):
        document = rng.choice(documents)
        yield [document[: rng.randrange(100, len(document))] + prose(rng, rng.randrange(2, 40))]
    for _ in range(12):
        yield [code(rng, rng.randrange(1, 20))]


class Client:
    """Plays scripts and notes what usage says of each request."""

    def __init__(self, router: Router) -> None:
        self.router = router
        self.seen: dict[str, dict[str, Any]] = {}
        self._numbers = itertools.count()

    def chat(self, system: str, script: Script) -> None:
        messages = [{"role": "system", "content": system}] if system else []
        for text in script:
            messages.append({"role": "user", "content": text})
            said = self._ask("/v1/chat/completions", messages=messages)
            messages.append({"role": "assistant", "content": said})

    def complete(self, prompt: str) -> None:
        self._ask("/v1/completions", prompt=prompt)

    def _ask(self, path: str, **prompt: Any) -> str:
        request_id = uuid.uuid4().hex
        stream = next(self._numbers) % 3 == 0
        options = {"stream": True, "stream_options": {"include_usage": True}} if stream else {}
        body = {"model": MODEL, "max_tokens": 4, "temperature": 0} | prompt | options
        answer = ask(self.router.url, path, body, {"x-request-id": request_id})
        assert answer.status == 200
        self.seen[request_id] = answer.usage
        if stream:
            return "as said before"
        choice = answer.json()["choices"][0]
        said: str = choice["message"]["content"] if "message" in choice else choice["text"]
        return said


@pytest.mark.timeout(180, func_only=True)
def test_predicted_cached_tokens_are_within_a_block(
    engine_router: Router,
    report: Callable[[str], None],
    record_property: Callable[[str, object], None],
    tmp_path: Path,
) -> None:
    rng = random.Random(WORKLOAD_SEED)
    client = Client(engine_router)
    jobs: list[Callable[[], None]] = [
        *(lambda s=system, t=script: client.chat(s, t) for system, script in chats(rng)),
        *(lambda t=script: client.complete(t[0]) for script in completions(rng)),
    ]
    rng.shuffle(jobs)
    with ThreadPoolExecutor(CLIENTS) as pool:
        for job in [pool.submit(job) for job in jobs]:
            job.result()
    assert len(client.seen) == REQUESTS

    rows = compare(engine_router, client.seen)
    (tmp_path / "prediction.json").write_text(json.dumps(rows, indent=1))
    errors = sorted(abs(row["predicted"] - row["cached"]) for row in rows)
    within = {limit: sum(error <= limit for error in errors) / REQUESTS for limit in (32, 64, 128)}
    hits = sum(row["cached"] > 0 for row in rows)
    text = (
        f"predicted vs cached_tokens, {REQUESTS} requests ({hits} with a hit): "
        + ", ".join(f"{share:.1%} within {limit}" for limit, share in within.items())
        + f", median {errors[REQUESTS // 2]:.0f}, largest {errors[-1]:.0f} ({tmp_path})"
    )
    report(text)
    record_property("prediction", text)
    assert hits > REQUESTS / 2
    assert within[BLOCK] >= 0.95


def compare(router: Router, seen: dict[str, dict[str, Any]]) -> list[dict[str, Any]]:
    """Put the router's prediction beside the engine's count, for each request."""
    lines: dict[str, dict[str, Any]] = {}

    def all_logged() -> bool:
        lines.update((line["request_id"], line) for line in router.requests())
        return seen.keys() <= lines.keys()

    wait_until(all_logged, 10, "the log lines of all requests")
    rows = [
        {
            "endpoint": lines[request_id]["endpoint"],
            "worker": lines[request_id]["worker"],
            "prompt": usage["prompt_tokens"],
            "predicted": lines[request_id]["predicted_cached_tokens"] or 0,
            "cached": usage["prompt_tokens_details"]["cached_tokens"],
            "logged_cached": lines[request_id]["cached_tokens"],
        }
        for request_id, usage in seen.items()
    ]
    assert all(row["logged_cached"] == row["cached"] for row in rows)
    return rows

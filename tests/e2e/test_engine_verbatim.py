"""What a client gets through the router is what the worker sends, and the worker gets what the client sent."""

import gzip
import json
import re
from collections.abc import Iterator
from typing import Any

import pytest

from tests.e2e.corpus import CASES, CHAT, COMPLETIONS, Case
from tests.e2e.harness import MODEL, Answer, Router, ask, router_process
from tests.e2e.tap import Tap

pytestmark = pytest.mark.engine

# Between two runs on one worker vLLM itself changes only these: clocks, and ids that no header fixes.
CLOCK = re.compile(rb'"(created|created_at|completed_at)":[0-9.]+')
RANDOM_ID = re.compile(rb'(?<=[-_"])[0-9a-f]{16,32}(?=")')
# Which choice's chunk comes first, and how many tokens share one, depends on timing: the choices are
# compared one by one, and unequal streams get another look.
CHOICE = re.compile(rb'"choices":\[\{"index":(\d+)')
RETRIES = 4

HOP_BY_HOP = {"connection", "keep-alive", "transfer-encoding"}
ADDED = {"x-request-id", "x-router-worker"}
FRAMING = {"host", "content-length"}

every_case = pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)


def comparable(body: bytes) -> bytes:
    """The body without what changes by itself, events of a stream's choices in order of the choice."""

    def choice(event: bytes) -> float:
        found = CHOICE.search(event)
        return float(found[1]) if found else float("inf")

    masked: bytes = RANDOM_ID.sub(b"ID", CLOCK.sub(rb'"\1":0', body))
    several = set(CHOICE.findall(masked)) > {b"0"}
    events = sorted(masked.split(b"\n\n"), key=choice)
    return b"\n\n".join(events) if several else masked


def end_to_end(headers: tuple[tuple[str, str], ...], *without: str) -> list[tuple[str, str]]:
    skip = HOP_BY_HOP | set(without)
    return sorted((name, value) for name, value in headers if name not in skip)


def outcome(answer: Answer) -> tuple[int, str, list[tuple[str, str]], bytes]:
    headers = end_to_end(answer.headers, "date", *ADDED)
    return answer.status, answer.reason, headers, comparable(answer.body)


@every_case
def test_answer_equals_the_workers_own(
    case: Case, engine_workers: list[Any], engine_router: Router
) -> None:
    worker = engine_workers[0]
    headers = case.headers | {"x-request-id": f"verbatim-{case.name.replace(' ', '-')}"}

    def ask_both() -> tuple[Answer, Answer]:
        pinned = headers | {"x-router-worker": worker.id}
        return (
            ask(worker.url, case.path, case.body, headers, case.method),
            ask(engine_router.url, case.path, case.body, pinned, case.method),
        )

    ask(worker.url, case.path, case.body, headers, case.method)  # fills the prefix cache for both
    own, answer = ask_both()
    for _ in range(RETRIES):
        if outcome(answer) == outcome(own):
            break
        own, answer = ask_both()
    assert outcome(answer) == outcome(own)
    assert answer.header("x-router-worker") == worker.id
    assert answer.header("x-request-id") == headers["x-request-id"]


@pytest.fixture(scope="module")
def tapped(
    engine_workers: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Router, Tap]]:
    """A router that reaches its only worker through a tap."""
    tap = Tap(engine_workers[0].spec.port)
    with router_process([tap.url], tmp_path_factory.mktemp("tapped")) as router:
        yield router, tap
    tap.close()


@every_case
def test_every_byte_is_passed_on(case: Case, tapped: tuple[Router, Tap]) -> None:
    router, tap = tapped
    request_id = f"tapped-{case.name.replace(' ', '-')}"
    headers = case.headers | {"x-request-id": request_id}
    answer = ask(router.url, case.path, case.body, headers, case.method)
    passed = tap.exchange(f" {request_id}\r\n".encode())
    assert passed is not None, answer
    request, sent = passed

    assert request.start == f"{case.method} {case.path} HTTP/1.1"
    assert request.body == case.body
    usual = {"accept-encoding": "identity", "content-type": "application/json"}
    assert dict(end_to_end(request.headers, *FRAMING)) == usual | headers

    assert sent.start == f"HTTP/1.1 {answer.status} {answer.reason}"
    assert answer.body == sent.body
    assert end_to_end(answer.headers, "date", *ADDED) == end_to_end(sent.headers, "date", *ADDED)


def test_corpus_uses_every_field_of_the_schemas(engine_workers: list[Any]) -> None:
    document = ask(engine_workers[0].url, "/openapi.json", method="GET").json()
    for path in (CHAT, COMPLETIONS):
        content = document["paths"][path]["post"]["requestBody"]["content"]
        name = content["application/json"]["schema"]["$ref"].rpartition("/")[2]
        fields = set(document["components"]["schemas"][name]["properties"])
        used = set().union(*(case.members for case in CASES if case.path == path))
        assert fields <= used


def test_a_compressed_body_is_sent_on_decoded(
    engine_router: Router, engine_workers: list[Any]
) -> None:
    """The exception: a worker cannot read it."""
    body = {"model": MODEL, "prompt": "hello", "max_tokens": 2, "temperature": 0}
    packed = gzip.compress(json.dumps(body).encode())
    coding = {"content-encoding": "gzip"}
    assert ask(engine_workers[0].url, "/v1/completions", packed, coding).status == 400
    answer = ask(engine_router.url, "/v1/completions", packed, coding)
    assert answer.status == 200, answer.body
    plain = ask(engine_router.url, "/v1/completions", body)
    assert answer.json()["choices"][0]["text"] == plain.json()["choices"][0]["text"]

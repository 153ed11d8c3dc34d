"""A stream whose worker dies goes on from another one, and the client cannot tell: real vLLM on both sides."""

import json
from collections.abc import Iterator
from itertools import chain
from typing import Any

import pytest

from tests.e2e.cutter import Cutter
from tests.e2e.harness import MODEL, Router, ask, router_process

pytestmark = pytest.mark.engine

TOKENS = 24
CUTS = (1, 2, 3, 5, 8, 12, 17, 23, 24)
"""After so many events: from the first, which only names the role, to the last token's."""

PROMPTS = ("Tell me of the sea.", "def fibonacci(n):\n    ", "Grüße aus Köln: 日本語 und")


@pytest.fixture(scope="module")
def cutters(engine_workers: list[Any]) -> Iterator[list[Cutter]]:
    cutters = [Cutter(worker.port) for worker in engine_workers]
    yield cutters
    for cutter in cutters:
        cutter.close()


@pytest.fixture(scope="module")
def router(cutters: list[Cutter], tmp_path_factory: pytest.TempPathFactory) -> Iterator[Router]:
    folder = tmp_path_factory.mktemp("resume")
    config = folder / "router.yaml"
    config.write_text("resume: on\neject_failures: 1000\n")
    urls = [cutter.url for cutter in cutters]
    with router_process(urls, folder, "--config", str(config)) as router:
        yield router


def body(kind: str, prompt: str, **fields: Any) -> tuple[str, dict[str, Any]]:
    usual = {
        "model": MODEL,
        "max_tokens": TOKENS,
        "temperature": 0,
        "ignore_eos": True,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    if kind == "chat":
        messages = [{"role": "user", "content": prompt}]
        return "/v1/chat/completions", usual | {"messages": messages} | fields
    return "/v1/completions", usual | {"prompt": prompt} | fields


def seen(answer: Any) -> dict[str, Any]:
    """What a client makes of a stream."""
    assert answer.status == 200, answer.body
    events = [event for event in answer.body.split(b"\n\n") if event]
    assert events[-1] == b"data: [DONE]", answer.body[-500:]
    chunks = [json.loads(event.removeprefix(b"data: ")) for event in events[:-1]]
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    deltas = [choice.get("delta", {}) for choice in choices]
    usage = chunks[-1]["usage"]
    return {
        "text": "".join(
            choice.get("text") or choice.get("delta", {}).get("content") or "" for choice in choices
        ),
        "roles": [delta["role"] for delta in deltas if "role" in delta],
        "reasons": [c["finish_reason"] for c in choices if c["finish_reason"]],
        "ids": len({chunk["id"] for chunk in chunks}),
        "created": len({chunk["created"] for chunk in chunks}),
        "token_ids": [c["token_ids"] for c in choices if c.get("token_ids")],
        "usage": (usage["prompt_tokens"], usage["completion_tokens"], usage["total_tokens"]),
    }


@pytest.mark.timeout(240)
@pytest.mark.parametrize("kind", ["chat", "completions"])
@pytest.mark.parametrize("prompt", PROMPTS)
def test_a_client_cannot_tell(
    router: Router, cutters: list[Cutter], kind: str, prompt: str
) -> None:
    path, asked = body(kind, prompt)
    uncut = seen(ask(router.url, path, asked))
    assert uncut["usage"][1] == TOKENS
    assert uncut["token_ids"] == []
    for after in CUTS:
        before = sum(cutter.cuts for cutter in cutters)
        for cutter in cutters:
            cutter.arm(after)
        cut = seen(ask(router.url, path, asked))
        assert sum(cutter.cuts for cutter in cutters) > before, "the stream was cut"
        assert cut == uncut, f"after {after} events"
    for cutter in cutters:
        cutter.arm(None)


def test_a_client_that_wants_token_ids_gets_them(router: Router, cutters: list[Cutter]) -> None:
    path, asked = body("chat", PROMPTS[0], return_token_ids=True)
    uncut = seen(ask(router.url, path, asked))
    cutters[0].arm(7)
    cutters[1].arm(7)
    cut = seen(ask(router.url, path, asked))
    assert list(chain(*uncut["token_ids"])) == list(chain(*cut["token_ids"]))
    assert len(list(chain(*cut["token_ids"]))) == TOKENS


def test_what_cannot_be_exact_ends_with_an_error_that_says_why(
    router: Router, cutters: list[Cutter]
) -> None:
    for cutter in cutters:
        cutter.arm(6)
    path, asked = body("chat", PROMPTS[0], frequency_penalty=0.5)
    answer = ask(router.url, path, asked, {"x-request-id": "penalised"})
    for cutter in cutters:
        cutter.arm(None)
    assert b"[DONE]" not in answer.body
    last = json.loads(answer.body.split(b"data: ")[-1])
    assert "could not be resumed: it uses `frequency_penalty`" in last["error"]["message"]
    assert router.request_line("penalised")["outcome"] == "upstream_error"

"""What the client of `bench.policies` makes of answers, over real sockets."""

import asyncio
import json
from collections.abc import Callable

import pytest

from bench.policies import client as module
from bench.policies.client import Answer, ChatClient, FailedError
from tests.fakes.wire import Request, Script, Wire
from tests.fakes.worker import FakeWorker

USAGE = {
    "prompt_tokens": 40,
    "completion_tokens": 2,
    "prompt_tokens_details": {"cached_tokens": 32},
}
DONE = b"data: [DONE]\n\n"
PAUSE_S = 0.05


def event(text: str | None = None, **fields: object) -> bytes:
    choices = [] if text is None else [{"index": 0, "delta": {"content": text}}]
    return b"data: " + json.dumps({"choices": choices, **fields}).encode() + b"\n\n"


async def ask(script: Script) -> tuple[Answer, FakeWorker]:
    async with FakeWorker(script=script) as worker:
        client = ChatClient(worker.url, "m", 16)
        try:
            return await client.ask([{"role": "user", "content": "hi"}], "s1"), worker
        finally:
            await client.close()


def streaming(*pieces: bytes, end: bool = True) -> Script:
    async def script(_request: Request, wire: Wire) -> None:
        await asyncio.sleep(PAUSE_S)
        headers = [("x-router-worker", "w1")]
        await wire.stream(pieces, delay_s=PAUSE_S, headers=headers, end=end)
        if not end:
            wire.close()

    return script


async def test_an_answer_is_read_and_measured() -> None:
    whole = event("") + event("Hal") + event("lo") + event(usage=USAGE) + DONE
    answer, worker = await ask(streaming(whole[:5], whole[5:100], whole[100:]))
    assert answer.text == "Hallo"
    assert (answer.prompt_tokens, answer.cached_tokens, answer.answer_tokens) == (40, 32, 2)
    assert answer.worker == "w1"
    assert PAUSE_S * 0.9 <= answer.ttft_s <= answer.total_s - 2 * PAUSE_S * 0.9
    sent = worker.requests[0]
    assert sent.header("x-session-id") == "s1"
    assert sent.path == "/v1/chat/completions"
    assert sent.json()["messages"] == [{"role": "user", "content": "hi"}]
    assert sent.json()["stream_options"] == {"include_usage": True}
    assert (sent.json()["model"], sent.json()["max_tokens"]) == ("m", 16)


async def test_a_worker_that_reports_no_cached_tokens_has_none() -> None:
    usage = USAGE | {"prompt_tokens_details": None}
    answer, _ = await ask(streaming(event("x", usage=usage) + DONE))
    assert answer.cached_tokens == 0


async def refuse(_request: Request, wire: Wire) -> None:
    await wire.json({"error": {"message": "no worker"}}, status=503)


async def vanish(_request: Request, wire: Wire) -> None:
    wire.reset()


@pytest.mark.parametrize(
    ("script", "why"),
    [
        (lambda: refuse, "status 503.*no worker"),
        (lambda: vanish, "Error"),
        (lambda: streaming(event("x") + event(usage=USAGE)), "broke off"),
        (lambda: streaming(event("x") + DONE), "broke off"),
        (lambda: streaming(event("x"), end=False), "RemoteProtocolError"),
    ],
    ids=["refused", "reset", "no [DONE]", "no usage", "cut off"],
)
async def test_less_than_a_whole_answer_is_a_failure(
    script: Callable[[], Script], why: str
) -> None:
    with pytest.raises(FailedError, match=why):
        await ask(script())


async def test_an_answer_that_never_comes_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    async def hang(_request: Request, wire: Wire) -> None:
        await wire.hang()

    monkeypatch.setattr(module, "TIMEOUT_S", 0.1)
    with pytest.raises(FailedError, match="no end after"):
        await ask(hang)

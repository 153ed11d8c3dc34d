"""A stream whose worker dies goes on from another one, and the client cannot tell: scripted workers that speak as vLLM."""

import asyncio
from typing import Any

import pytest

from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import RunningRouter, chat
from tests.fakes.client import Response
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker
from tests.unit.proxy.streams import DONE, PROMPT, WITH_SILENT, Answer, Kind, seen

KINDS: list[Kind] = ["chat", "completions"]
PATHS = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}
DIED = (
    b'data: {"error": {"message": "EngineCore encountered an issue.", "type": "InternalServerError", '
    b'"param": null, "code": 500}}\n\n'
)
STREAM = [("Content-Type", "text/event-stream; charset=utf-8")]


class Pair:
    """Two workers with one engine's answers; who is asked first dies after `after` bytes of its events, in that way."""

    def __init__(self, answer: Answer) -> None:
        self.answer = answer
        self.after: int | None = None
        self.how = "reset"
        self.asked: list[dict[str, Any]] = []

    async def script(self, request: Request, wire: Wire) -> None:
        body = request.json()
        self.asked.append(body)
        prompt = body.get("kv_transfer_params", {}).get("prompt_token_ids") or body.get("prompt")
        start = len(prompt) - len(PROMPT) if isinstance(prompt, list) else 0
        ids = body.get("return_token_ids") is True
        stream = b"".join(self.answer.events(ids=ids, start=start))
        await wire.start(200, STREAM)
        if self.after is None or len(self.asked) > 1:
            await wire.chunk(stream)
            await wire.end()
            return
        if self.after:
            await wire.chunk(stream[: self.after])
            await asyncio.sleep(0.005)
        if self.how == "error":
            await wire.chunk(DIED)
            await wire.chunk(DONE)
            await wire.end()
        elif self.how == "reset":
            wire.reset()
        else:
            wire.close()

    def boundaries(self) -> list[int]:
        """After each event, and within each."""
        places, at = [0], 0
        for event in self.answer.events(ids=True):
            places += [at + len(event) // 2, at + len(event)]
            at += len(event)
        return places

    def arm(self, after: int | None, how: str = "reset") -> None:
        self.after, self.how = after, how
        self.asked.clear()


async def _start(
    pair: Pair, start_worker: StartWorker, start_router: StartRouter, **settings: Any
) -> tuple[list[FakeWorker], RunningRouter]:
    workers = [await start_worker(script=pair.script) for _ in range(2)]
    usual = {"resume": "on", "eject_failures": 10**6, "health_interval_s": 30}
    return workers, await start_router(*workers, **{**usual, **settings})


async def _ask(router: RunningRouter, pair: Pair, **fields: Any) -> Response:
    kind = pair.answer.kind
    usual = chat("hi") if kind == "chat" else {"model": "m", "prompt": "hi"}
    body = {**usual, "stream": True, "stream_options": {"include_usage": True}, **fields}
    headers = fields.pop("headers", ())
    body.pop("headers", None)
    return await router.post(body, PATHS[kind], headers)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("how", ["reset", "close"])
async def test_wherever_it_dies_the_bytes_are_those_of_an_uncut_run(
    kind: Kind, how: str, start_worker: StartWorker, start_router: StartRouter
) -> None:
    pair = Pair(Answer(kind))
    _, router = await _start(pair, start_worker, start_router)
    whole = pair.answer.stream()
    assert (await _ask(router, pair, max_tokens=100)).body == whole
    for after in pair.boundaries():
        pair.arm(after, how)
        response = await _ask(router, pair, max_tokens=100)
        assert response.complete
        finished = after >= len(b"".join(pair.answer.events(ids=True)[:-2]))
        if finished:  # the last events are then the router's own
            assert seen(response.body) == seen(whole), after
        else:
            assert response.body == whole, after
        assert len(pair.asked) == (1 if finished else 2), after


@pytest.mark.parametrize("kind", KINDS)
async def test_within_characters_the_text_is_the_same(
    kind: Kind, start_worker: StartWorker, start_router: StartRouter
) -> None:
    pair = Pair(Answer(kind, WITH_SILENT))
    _, router = await _start(pair, start_worker, start_router)
    for after in pair.boundaries():
        pair.arm(after)
        response = await _ask(router, pair, max_tokens=100)
        assert seen(response.body) == seen(pair.answer.stream()), after


async def test_an_engine_that_died_behind_its_server(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """Its error and its `[DONE]` are kept from the client."""
    pair = Pair(Answer())
    _, router = await _start(pair, start_worker, start_router)
    events = pair.answer.events(ids=True)
    for count in range(len(events) - 2):
        pair.arm(len(b"".join(events[:count])), "error")
        response = await _ask(router, pair)
        assert response.body == pair.answer.stream(), count
    line = router.lines()[-1]
    assert (line["outcome"], line["resumed"], line["attempts"]) == ("ok", 1, 2)
    assert router.total("router_resumed_total", outcome="resumed") == len(events) - 3


async def test_a_request_can_ask_for_it_and_against_it(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    pair = Pair(Answer())
    _, router = await _start(pair, start_worker, start_router, resume="off")
    after = len(b"".join(pair.answer.events(ids=True)[:3]))
    pair.arm(after)
    response = await _ask(router, pair, headers=[("X-Router-Resume", "on")])
    assert response.body == pair.answer.stream()
    pair.arm(after)
    response = await _ask(router, pair)
    assert b"worker_connection_lost" in response.body
    assert b"[DONE]" not in response.body
    assert "return_token_ids" not in pair.asked[0]


async def test_its_header_stays_here(start_worker: StartWorker, start_router: StartRouter) -> None:
    pair = Pair(Answer())
    workers, router = await _start(pair, start_worker, start_router)
    await _ask(router, pair, headers=[("X-Router-Resume", "on")])
    (request,) = [request for worker in workers for request in worker.requests]
    assert request.all("x-router-resume") == []


async def test_what_cannot_be_exact_ends_with_an_error_that_says_why(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    pair = Pair(Answer())
    _, router = await _start(pair, start_worker, start_router)
    pair.arm(len(b"".join(pair.answer.events(ids=False)[:3])))
    response = await _ask(router, pair, stop=["x"])
    assert b"could not be resumed: it uses `stop`" in response.body
    assert b"[DONE]" not in response.body
    assert len(pair.asked) == 1


@pytest.mark.parametrize("status", [400, 404, 422, 500])
async def test_an_error_is_an_answer(
    status: int, start_worker: StartWorker, start_router: StartRouter
) -> None:
    """What is no stream is passed on as it is, whether streams are resumed or not."""
    pair = Pair(Answer())
    workers, router = await _start(pair, start_worker, start_router)

    async def fails(request: Request, wire: Wire) -> None:
        await wire.json({"error": {"message": "no", "code": status}}, status)

    for worker in workers:
        worker.script = fails
    response = await _ask(router, pair)
    assert (response.status, response.complete) == (status, True)
    assert response.json() == {"error": {"message": "no", "code": status}}
    assert sum(len(worker.requests) for worker in workers) == 1

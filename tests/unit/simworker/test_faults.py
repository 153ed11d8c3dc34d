"""The faults of a real worker: sleep, pause, a drain, a dead engine, as a router sees them."""

import asyncio
import json
import os
import signal
import time
from collections.abc import Callable
from typing import Any

import httpx2
import pytest

HI: Any = {"messages": [{"role": "user", "content": "Hello"}], "max_tokens": 50_000}
SHORT: Any = {**HI, "max_tokens": 2}
CHAT = "/v1/chat/completions"
AWAKE = {"awake": 1.0, "weights_offloaded": 0.0, "discard_all": 0.0}


async def sleep_state(worker: Any) -> dict[str, float]:
    found = {}
    for line in (await worker.http.get("/metrics")).text.splitlines():
        if line.startswith("vllm:engine_sleep_state{"):
            state = line.split('sleep_state="')[1].split('"')[0]
            found[state] = float(line.rsplit(" ", 1)[1])
    return found


@pytest.mark.parametrize(
    ("down", "up", "states"),
    [
        ("/pause", "/resume", AWAKE),
        ("/sleep?level=0", "/wake_up", {**AWAKE, "awake": 0.0}),
        ("/sleep?level=1", "/wake_up", {**AWAKE, "awake": 0.0, "weights_offloaded": 1.0}),
        ("/sleep?level=2", "/wake_up", {**AWAKE, "awake": 0.0, "discard_all": 1.0}),
    ],
)
async def test_requests_hang_while_it_rests(
    local: Callable[..., Any], down: str, up: str, states: dict[str, float]
) -> None:
    async with local() as worker, asyncio.TaskGroup() as group:
        assert (await worker.http.post(down)).status_code == 200
        for path in ("/is_sleeping", "/is_paused"):  # vLLM does not tell them apart here
            assert list((await worker.http.get(path)).json().values()) == [True]
        assert await sleep_state(worker) == states
        assert (await worker.http.get("/health")).status_code == 200
        answer = group.create_task(worker.post(CHAT, SHORT))
        await asyncio.sleep(0.05)
        assert not answer.done()
        await worker.http.post(up)
        assert (await answer).status_code == 200
        assert await sleep_state(worker) == AWAKE
        for path in ("/is_sleeping", "/is_paused"):
            assert list((await worker.http.get(path)).json().values()) == [False]


@pytest.mark.parametrize("verb", ["/pause", "/sleep"])
async def test_what_runs_is_aborted_when_it_rests(
    local: Callable[..., Any], eventually: Any, verb: str
) -> None:
    async with local(time_scale=1.0) as worker, asyncio.TaskGroup() as group:
        answer = group.create_task(worker.events(CHAT, HI))
        await eventually(lambda: worker.worker.engine.stats.generated_tokens > 2)
        await worker.http.post(verb)
        *_, last, done = await answer
        assert last[1]["choices"][0]["finish_reason"] == "abort"
        assert done[1] == "[DONE]"


async def test_what_runs_can_be_kept(local: Callable[..., Any], eventually: Any) -> None:
    async with local(time_scale=1.0) as worker, asyncio.TaskGroup() as group:
        answer = group.create_task(worker.post(CHAT, {**HI, "max_tokens": 30}))
        await eventually(lambda: worker.worker.engine.stats.generated_tokens > 2)
        await worker.http.post("/pause?mode=keep")
        await asyncio.sleep(0.5)
        assert not answer.done()
        await worker.http.post("/resume")
        assert (await answer).json()["usage"]["completion_tokens"] == 30
        assert (await worker.http.post("/pause?mode=odd")).status_code == 400


async def test_a_dead_engine(local: Callable[..., Any], eventually: Any) -> None:
    async with local(time_scale=1.0) as worker, asyncio.TaskGroup() as group:
        stream = group.create_task(worker.events(CHAT, HI))
        talk = group.create_task(worker.events("/v1/messages", {**HI, "model": "sim-model"}))
        whole = group.create_task(worker.post(CHAT, HI))
        await eventually(lambda: worker.worker.engine.stats.generated_tokens > 8)
        await worker.post("/_fault", {"kind": "engine_dead"})
        *_, error, done = await stream
        assert (error[1]["error"]["code"], done[1]) == (500, "[DONE]")
        assert (await talk)[-1][0] == "error"
        for answer in (await whole, await worker.post(CHAT, SHORT)):
            assert answer.status_code == 500
            assert answer.json()["error"]["type"] == "InternalServerError"
        assert (await worker.http.get("/health")).status_code == 503


async def test_other_faults_are_refused(local: Callable[..., Any]) -> None:
    async with local() as worker:
        assert (await worker.post("/_fault", {"kind": "odd"})).status_code == 400


async def test_a_request_of_a_dead_engine_in_the_background_fails(
    local: Callable[..., Any],
) -> None:
    async with local() as worker:
        worker.worker.die()
        body = {"input": "Hello", "background": True}
        made = (await worker.post("/v1/responses", body)).json()
        await asyncio.sleep(0.05)
        found = (await worker.http.get(f"/v1/responses/{made['id']}")).json()
        assert found["status"] == "failed"


def test_the_process_ends_with_its_engine(spawn: Callable[..., Any]) -> None:
    worker = spawn()
    httpx2.post(f"{worker.url}/_fault", json={"kind": "engine_dead"})
    assert worker.popen.wait(20) == 0


def test_while_it_drains_it_refuses_and_is_healthy(spawn: Callable[..., Any]) -> None:
    worker = spawn("--shutdown-timeout", "30", "--itl-ms", "20")
    body = {**HI, "max_tokens": 100, "stream": True}
    with httpx2.stream("POST", f"{worker.url}{CHAT}", json=body, timeout=30) as response:
        lines = response.iter_lines()
        next(lines)
        os.kill(worker.popen.pid, signal.SIGTERM)
        refused = _refusal(worker.url)
        assert refused == {
            "message": "cannot schedule new futures after shutdown",
            "type": "InternalServerError",
            "param": None,
            "code": 500,
        }
        assert httpx2.get(f"{worker.url}/health").status_code == 200
        rest = [line for line in lines if line]
    assert '"finish_reason":"length"' in rest[-2]
    assert worker.popen.wait(20) == 0


def _refusal(url: str) -> Any:
    """The first error that a new request gets; the signal may take a moment."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        answer = httpx2.post(f"{url}{CHAT}", json=SHORT)
        if answer.status_code == 500:
            return json.loads(answer.text)["error"]
    raise AssertionError("it does not drain")


def test_time_to_drain_is_limited_and_a_second_signal_ends_it(spawn: Callable[..., Any]) -> None:
    limited, signalled = spawn("--shutdown-timeout", "0.5"), spawn("--shutdown-timeout", "600")
    for worker in (limited, signalled):
        with httpx2.stream(
            "POST", f"{worker.url}{CHAT}", json={**HI, "stream": True}, timeout=30
        ) as response:
            lines = response.iter_lines()
            next(lines)
            os.kill(worker.popen.pid, signal.SIGTERM)
            if worker is signalled:
                time.sleep(0.3)
                os.kill(worker.popen.pid, signal.SIGTERM)
            rest = [line for line in lines if line]
        assert '"finish_reason":"abort"' in rest[-2]
        assert worker.popen.wait(20) == 0


@pytest.mark.parametrize("limit", [{"max_tokens": 40}, {}, {"max_tokens": 40, "stop": "sun"}])
async def test_a_cut_answer_goes_on_as_it_would_have(
    local: Callable[..., Any], limit: dict[str, Any]
) -> None:
    talk = [{"role": "user", "content": "Tell me something"}]
    async with local() as worker:
        whole = (await worker.post(CHAT, {"messages": talk, **limit})).json()
        text, used = whole["choices"][0]["message"]["content"], whole["usage"]
        for cut in (0, 5, 11, used["completion_tokens"]):
            part = {"role": "assistant", "content": text[: cut * 4]}
            left = {"max_tokens": 40 - cut} if "max_tokens" in limit and cut < 40 else {}
            if "max_tokens" in limit and not left:
                continue
            body = {**limit, **left, "messages": [*talk, part]}
            body |= {"continue_final_message": True, "add_generation_prompt": False}
            rest = (await worker.post(CHAT, body)).json()
            assert part["content"] + rest["choices"][0]["message"]["content"] == text
            assert rest["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"]
            assert rest["usage"]["completion_tokens"] + cut == used["completion_tokens"]
            assert rest["usage"]["total_tokens"] == used["total_tokens"]


@pytest.mark.parametrize("as_tokens", [True, False])
async def test_a_cut_completion_goes_on_as_it_would_have(
    local: Callable[..., Any], as_tokens: bool
) -> None:
    ask = {"prompt": "Once upon a time", "max_tokens": 20, "return_token_ids": True}
    async with local() as worker:
        [whole] = (await worker.post("/v1/completions", ask)).json()["choices"]
        prompt = whole["prompt_token_ids"] + whole["token_ids"][:7]
        if not as_tokens:
            prompt = ask["prompt"] + whole["text"][:28]
        body = {**ask, "prompt": prompt, "max_tokens": 13}
        rest = (await worker.post("/v1/completions", body)).json()
        assert rest["choices"][0]["text"] == whole["text"][28:]
        assert rest["usage"]["completion_tokens"] == 13


@pytest.mark.parametrize(
    ("fields", "word"), [({}, "not compatible"), ({"add_generation_prompt": True}, "both")]
)
async def test_an_answer_goes_on_or_begins(
    local: Callable[..., Any], fields: dict[str, Any], word: str
) -> None:
    async with local() as worker:
        answer = await worker.post(CHAT, {**SHORT, "continue_final_message": True, **fields})
        assert answer.status_code == 400
        assert word in answer.json()["error"]["message"]

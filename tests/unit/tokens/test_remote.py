"""Token ids asked of a worker, by a scripted `/tokenize`."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import pytest

from router.errors import RouterError
from router.tokens.body import read
from router.tokens.prompt import IdsPrompt, Inexact, Reason, TokenIds
from router.tokens.remote import RemoteTokenizer, tokenize_body
from router.tokens.segments import SegmentCache
from tests.unit.support import chat, request

T = TypeVar("T")


class Worker:
    """Answers `/tokenize` as told, and keeps the questions."""

    def __init__(self, *answers: tuple[int, bytes] | Exception) -> None:
        self.questions: list[dict[str, Any]] = []
        self._answers = list(answers) or [answer(1, 2, 3)]

    async def __call__(self, body: bytes) -> tuple[int, bytes]:
        self.questions.append(json.loads(body))
        given = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        await asyncio.sleep(0)
        if isinstance(given, Exception):
            raise given
        return given


def answer(*ids: int) -> tuple[int, bytes]:
    told = {"count": len(ids), "max_model_len": 8192, "tokens": ids, "token_strs": None}
    return 200, json.dumps(told).encode()


def run(work: Callable[[], T]) -> Awaitable[T]:
    future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
    try:
        future.set_result(work())
    except Inexact as why:
        future.set_exception(why)
    return future


async def ask(
    remote: RemoteTokenizer, body: dict[str, Any], path: str = "/v1/chat/completions"
) -> TokenIds:
    prompt = read(request(body, path=path))
    assert not isinstance(prompt, IdsPrompt)
    return await remote.ids(prompt, run)


async def test_a_chat_is_asked_for_as_the_engine_would_render_it() -> None:
    worker = Worker()
    tool = {"type": "function", "function": {"name": "f"}}
    body = chat("hi", tools=[tool], documents=[{"text": "d"}], reasoning_effort="low", seed=5)
    assert list(await ask(RemoteTokenizer(worker, SegmentCache(1_000)), body)) == [1, 2, 3]
    (question,) = worker.questions
    assert question == {
        "model": "m",
        "messages": body["messages"],
        "tools": [
            {"type": "function", "function": {"name": "f", "description": None, "parameters": None}}
        ],
        "add_special_tokens": False,
        "add_generation_prompt": True,
        "continue_final_message": False,
        "chat_template_kwargs": {
            "documents": [{"text": "d"}],
            "reasoning_effort": "low",
            "enable_thinking": True,
        },
    }


async def test_a_text_is_asked_for_as_it_is() -> None:
    worker = Worker()
    body = {"prompt": "hi", "max_tokens": 5}
    await ask(RemoteTokenizer(worker, SegmentCache(1_000)), body, "/v1/completions")
    assert worker.questions == [{"prompt": "hi", "add_special_tokens": True}]


async def test_an_answer_is_remembered_whatever_else_the_request_says() -> None:
    worker = Worker(answer(1, 2, 3), answer(4))
    remote = RemoteTokenizer(worker, SegmentCache(1_000))
    first = await ask(remote, chat("hi", seed=1))
    assert await ask(remote, chat("hi", seed=2)) == first
    assert list(await ask(remote, chat("hi", "you"))) == [4]
    assert len(worker.questions) == 2


async def test_what_came_is_truncated_here() -> None:
    remote = RemoteTokenizer(Worker(), SegmentCache(1_000))
    assert list(await ask(remote, chat("hi", truncate_prompt_tokens=2))) == [2, 3]


def test_a_truncation_that_counts_unknown_special_tokens_is_refused() -> None:
    prompt = read(request({"prompt": "hi", "truncate_prompt_tokens": 2}, path="/v1/completions"))
    assert not isinstance(prompt, IdsPrompt)
    with pytest.raises(Inexact):
        tokenize_body(prompt)


async def test_media_are_not_asked_about() -> None:
    worker = Worker()
    picture = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}
    with pytest.raises(Inexact) as raised:
        await ask(RemoteTokenizer(worker, SegmentCache(1_000)), chat(messages=[picture]))
    assert raised.value.reason is Reason.MEDIA
    assert worker.questions == []


@pytest.mark.parametrize(
    "told",
    [
        (404, b"{}"),
        (400, b'{"error": {"message": "no"}}'),
        (200, b"[]"),
        (200, b'{"tokens": [-1]}'),
        (200, b'{"tokens": ["a"]}'),
        (200, b"\xff"),
        RouterError(502, "worker_unreachable", "gone"),
    ],
)
async def test_a_worker_that_does_not_tell_is_no_source(
    told: tuple[int, bytes] | Exception,
) -> None:
    remote = RemoteTokenizer(Worker(told, answer(7)), SegmentCache(1_000))
    with pytest.raises(Inexact) as raised:
        await ask(remote, chat("hi"))
    assert raised.value.reason is Reason.FAILED
    assert list(await ask(remote, chat("hi"))) == [7]

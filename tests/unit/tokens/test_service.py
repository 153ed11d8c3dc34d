"""Token ids for requests: beside the event loop, in time, once for all who ask, and never at a request's cost."""

import asyncio
import threading
from array import array
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from router.prompt.token_blocks import prompt_extras, token_keys
from router.tokens.extras import Adapter, Extras
from router.tokens.prompt import ChatPrompt, Inexact, Reason, TextPrompt, TokenIds
from router.tokens.service import Run, TokenPrompt, TokenService
from tests.unit.support import chat, request
from tests.unit.tokens.models import local_model, tokenizer_of

Prompt = ChatPrompt | TextPrompt


class Slow:
    """A source whose blocking work waits until it is let go."""

    def __init__(self, failure: BaseException | None = None) -> None:
        self.begun = 0
        self.go = threading.Event()
        self.failure = failure
        self.threads: set[str] = set()

    async def ids(self, prompt: Prompt, run: Run) -> TokenIds:
        return await run(self._work)

    def _work(self) -> TokenIds:
        self.begun += 1
        self.threads.add(threading.current_thread().name)
        assert self.go.wait(10)
        if self.failure is not None:
            raise self.failure
        return array("I", [1, 2, 3])


Make = Callable[..., TokenService]


@pytest.fixture
async def make() -> AsyncIterator[Make]:
    """Makes services that are closed in the end."""
    made: list[TokenService] = []

    def service(source: Any = None, **options: Any) -> TokenService:
        made.append(TokenService({} if source is None else {"m": source}, **options))
        return made[-1]

    yield service
    for one in made:
        one.close()


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 - another thread makes it true
        await asyncio.sleep(0.001)


async def test_a_chat_gets_its_token_ids(make: Make, tmp_path: Path) -> None:
    service = make(local_model(tmp_path), deadline_s=10.0)
    found = await service.tokens(request(chat("hi", cache_salt="s")))
    assert found is not None
    text = tokenizer_of().decode(list(found.ids), skip_special_tokens=False)
    assert text == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"
    assert (found.extras, found.chat) == (Extras(None, "s"), True)
    assert (service.exact, service.inexact, service.pending) == (1, {}, 0)


async def test_token_ids_need_no_tokenizer(make: Make) -> None:
    service = make()
    asked = request({"model": "x", "prompt": [4, 5]}, path="/v1/completions")
    assert await service.tokens(asked) == TokenPrompt(array("I", [4, 5]), Extras(), chat=False)


async def test_an_adapter_is_tokenized_as_its_base_and_enters_the_key(make: Make) -> None:
    source = Slow()
    source.go.set()
    service = make(source)
    found = await service.tokens(request(chat("hi") | {"model": "alpha"}), Adapter("alpha", "m"))
    assert found is not None
    assert found.extras == Extras("alpha", None)


async def test_models_without_a_source_of_their_own_have_the_other_one(make: Make) -> None:
    source = Slow()
    source.go.set()
    service = make(None, other=source)
    assert await service.tokens(request(chat("hi"))) is not None
    assert source.begun == 1


@pytest.mark.parametrize(
    ("body", "path", "reason"),
    [
        (chat("hi"), "/v1/chat/completions", Reason.NO_TOKENIZER),
        ({"prompt": "hi"}, "/v1/completions", Reason.NO_TOKENIZER),
        ({"prompt": ["a", "b"]}, "/v1/completions", Reason.SEVERAL),
        ({"prompt": "a", "cache_salt": 5}, "/v1/completions", Reason.UNREADABLE),
        ({"input": "hi"}, "/v1/responses", Reason.ENDPOINT),
    ],
)
async def test_what_has_no_token_ids_is_counted_by_reason(
    make: Make, body: dict[str, Any], path: str, reason: Reason
) -> None:
    service = make()
    assert await service.tokens(request(body, path=path)) is None
    assert service.inexact == {reason: 1}
    assert service.exact == 0


async def test_work_is_done_beside_the_event_loop(make: Make) -> None:
    source = Slow()
    source.go.set()
    await make(source).tokens(request(chat("hi")))
    assert all(name.startswith("tokens") for name in source.threads)
    assert threading.current_thread().name not in source.threads


async def test_equal_prompts_are_worked_on_once(make: Make) -> None:
    source = Slow()
    service = make(source, threads=8, deadline_s=10.0)
    async with asyncio.TaskGroup() as group:
        asked = [
            group.create_task(service.tokens(request(chat("hi", seed=seed)))) for seed in range(5)
        ]
        other = group.create_task(service.tokens(request(chat("you"))))
        await until(lambda: source.begun == 2 and service.shared == 4)
        source.go.set()
    assert [task.result() for task in asked] == [asked[0].result()] * 5
    assert other.result() is not None
    assert source.begun == 2
    assert service.exact == 6


async def test_a_prompt_that_takes_too_long_goes_by_its_text(make: Make) -> None:
    source = Slow()
    service = make(source, deadline_s=0.01)
    assert await service.tokens(request(chat("hi"))) is None
    assert service.inexact == {Reason.DEADLINE: 1}
    assert service.pending == 0
    source.go.set()


async def test_who_joined_gets_it_though_the_first_leaves(make: Make) -> None:
    source = Slow()
    service = make(source, deadline_s=10.0, threads=4)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(service.tokens(request(chat("hi"))))
        await until(lambda: source.begun == 1)
        second = group.create_task(service.tokens(request(chat("hi"))))
        await until(lambda: service.shared == 1)
        first.cancel()
        await until(first.done)
        source.go.set()
    assert second.result() is not None
    assert (service.exact, service.inexact, source.begun) == (1, {}, 1)
    assert service.pending == 0
    await until(lambda: not service._flights)


async def test_a_body_that_is_too_long_is_not_even_read(make: Make) -> None:
    source = Slow()
    service = make(source, limit_bytes=200)
    assert await service.tokens(request(chat("x" * 300))) is None
    assert (service.inexact, source.begun) == ({Reason.TOO_LONG: 1}, 0)


async def test_what_goes_on_ends_with_the_service(make: Make) -> None:
    source = Slow()
    service = make(source, deadline_s=0.01)
    assert await service.tokens(request(chat("hi"))) is None
    service.close()
    await until(lambda: not service._flights)
    source.go.set()


async def test_who_waits_when_it_is_closed_goes_by_the_text(make: Make) -> None:
    source = Slow()
    service = make(source, threads=1, deadline_s=10.0)
    async with asyncio.TaskGroup() as group:
        begun = group.create_task(service.tokens(request(chat("a"))))
        await until(lambda: source.begun == 1)
        queued = group.create_task(service.tokens(request(chat("b"))))
        await until(lambda: service.pending == 2)
        service.close()
    source.go.set()
    assert (begun.result(), queued.result()) == (None, None)
    assert (service.inexact, service.pending) == ({Reason.FAILED: 2}, 0)


async def test_who_leaves_is_not_held(make: Make) -> None:
    source = Slow()
    service = make(source, deadline_s=10.0)
    asked = asyncio.create_task(service.tokens(request(chat("a"))))
    await until(lambda: source.begun == 1)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    assert (service.inexact, service.pending) == ({}, 0)
    source.go.set()


async def test_work_that_nobody_waits_for_counts_as_work(make: Make) -> None:
    source = Slow()
    service = make(source, threads=4, limit=2, deadline_s=10.0)
    asked = [asyncio.create_task(service.tokens(request(chat(turn)))) for turn in ("a", "b")]
    await until(lambda: source.begun == 2)
    for task in asked:
        task.cancel()
    await asyncio.wait(asked)
    assert await service.tokens(request(chat("c"))) is None
    assert (service.inexact, service.pending) == ({Reason.BUSY: 1}, 0)
    source.go.set()
    await until(lambda: not service._flights)
    assert await service.tokens(request(chat("c"))) is not None


async def test_who_joined_may_leave_alone(make: Make) -> None:
    source = Slow()
    service = make(source, deadline_s=10.0, threads=4)
    async with asyncio.TaskGroup() as group:
        first = group.create_task(service.tokens(request(chat("hi"))))
        await until(lambda: source.begun == 1)
        second = group.create_task(service.tokens(request(chat("hi"))))
        await until(lambda: service.shared == 1)
        second.cancel()
        await until(lambda: service.pending == 1)
        source.go.set()
    assert first.result() is not None


async def test_what_is_too_much_is_let_go_at_once(make: Make) -> None:
    source = Slow()
    service = make(source, limit=2, deadline_s=10.0)
    async with asyncio.TaskGroup() as group:
        for turn in ("a", "b"):
            group.create_task(service.tokens(request(chat(turn))))
        await until(lambda: service.pending == 2)
        assert await service.tokens(request(chat("c"))) is None
        assert service.inexact == {Reason.BUSY: 1}
        source.go.set()
    assert service.exact == 2


class PanicError(BaseException):
    """As a panic in Rust comes out."""


@pytest.mark.parametrize("failure", [ValueError("odd"), PanicError("odd"), MemoryError("odd")])
async def test_a_failing_tokenizer_fails_no_request(
    make: Make, failure: BaseException, caplog: pytest.LogCaptureFixture
) -> None:
    source = Slow(failure)
    source.go.set()
    service = make(source)
    assert await service.tokens(request(chat("hi"))) is None
    assert await service.tokens(request(chat("hi again"))) is None
    assert service.inexact == {Reason.FAILED: 2}
    (warning,) = caplog.messages
    assert "odd" in warning


async def test_a_failure_is_shared_too(make: Make) -> None:
    source = Slow(Inexact(Reason.RENDER, "no"))
    service = make(source, deadline_s=10.0)
    async with asyncio.TaskGroup() as group:
        for _ in range(3):
            group.create_task(service.tokens(request(chat("hi"))))
        await until(lambda: service.shared == 2)
        source.go.set()
    assert service.inexact == {Reason.RENDER: 3}


async def test_a_source_that_fails_on_the_loop_fails_no_request(make: Make) -> None:
    class Broken:
        async def ids(self, prompt: Prompt, run: Run) -> TokenIds:
            raise OSError("broken")

    service = make(Broken())
    assert await service.tokens(request(chat("hi"))) is None
    assert service.inexact == {Reason.FAILED: 1}


async def test_when_closed_prompts_go_by_their_text(make: Make) -> None:
    service = make(Slow())
    service.close()
    assert await service.tokens(request(chat("hi"))) is None
    assert service.inexact == {Reason.FAILED: 1}


def test_its_identity_is_its_blocks() -> None:
    ids = array("I", range(10))
    prompt = TokenPrompt(ids, Extras("alpha", "s"), chat=True)
    identity = prompt.identity(4)
    assert identity.keys == token_keys(ids, 4, prompt_extras(2, 4, adapter="alpha", salt="s"))
    assert (len(identity.keys), identity.tokens, identity.block) == (2, 10, 4)
    keys = [
        TokenPrompt(ids, extras, chat=True).identity(4).keys[1]
        for extras in (
            Extras(),
            Extras("alpha"),
            Extras(None, "s"),
            Extras("s"),
            Extras("alpha", "s"),
        )
    ]
    assert len(set(keys)) == 5

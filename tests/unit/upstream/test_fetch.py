"""The router's own small requests, against a scripted connection."""

import asyncio
from collections.abc import Callable

import pytest

from router import errors
from router.upstream import fetch as fetch_module
from router.upstream.connection import ResponseHandler
from router.upstream.fetch import Answer, fetch
from router.upstream.pool import Address, Pool
from tests.unit.support import FakeConnection

Script = Callable[[ResponseHandler], None]


class ScriptedPool(Pool):
    """Gives one connection, which answers with `script` as soon as it is asked."""

    def __init__(self, script: Script, prefix: bytes = b"") -> None:
        super().__init__(Address("gpu-1", 8000, False, prefix), None, connect_s=1.0, idle_s=1.0)
        self.connection = FakeConnection()
        self.script = script

    async def connect(self) -> FakeConnection:  # type: ignore[override]
        send = self.connection.send

        def answer(head: bytes, body: bytes, handler: ResponseHandler, *, is_head: bool) -> None:
            send(head, body, handler, is_head=is_head)
            asyncio.get_running_loop().call_soon(self.script, handler)

        self.connection.send = answer  # type: ignore[method-assign]
        return self.connection


def answering(status: int, *parts: bytes) -> Script:
    def script(handler: ResponseHandler) -> None:
        handler.on_informational(103, [])
        handler.on_response(status, [], None)
        for part in parts:
            handler.on_body(part)
            handler.on_read()
        handler.on_complete([])

    return script


async def get(pool: Pool, *, api_key: str | None = None, timeout_s: float = 5.0) -> Answer:
    return await fetch(pool, "/health", api_key=api_key, timeout_s=timeout_s)


async def test_the_whole_answer_in_memory() -> None:
    pool = ScriptedPool(answering(404, b"not ", b"here"))
    assert await get(pool) == Answer(404, b"not here")
    assert not pool.connection.aborted
    ((head, body, is_head),) = pool.connection.sent
    assert head.startswith(b"GET /health HTTP/1.1\r\nhost: gpu-1:8000\r\n")
    assert b"authorization" not in head
    assert (body, is_head) == (b"", False)


async def test_the_key_and_the_path_prefix_are_sent() -> None:
    pool = ScriptedPool(answering(200), prefix=b"/base")
    await get(pool, api_key="secret")
    head = pool.connection.sent[0][0]
    assert head.startswith(b"GET /base/health HTTP/1.1\r\n")
    assert b"authorization: Bearer secret\r\n" in head


async def test_a_question_is_posted_as_json() -> None:
    pool = ScriptedPool(answering(200, b"{}"))
    await fetch(pool, "/ask", api_key=None, timeout_s=5.0, body=b'{"a":1}')
    ((head, body, _),) = pool.connection.sent
    assert head.startswith(b"POST /ask HTTP/1.1\r\n")
    assert b"content-type: application/json\r\n" in head
    assert b"content-length: 7\r\n" in head
    assert body == b'{"a":1}'


@pytest.mark.parametrize("reuse", [False, True])
async def test_only_who_says_so_gets_a_connection_that_was_used_before(reuse: bool) -> None:
    pool = ScriptedPool(answering(200, b"new"))
    kept = ScriptedPool(answering(200, b"kept"))
    connection = await kept.connect()
    pool.take = lambda: connection  # type: ignore[method-assign,assignment,return-value]
    answer = await fetch(pool, "/ask", api_key=None, timeout_s=5.0, reuse=reuse)
    assert answer.body == (b"kept" if reuse else b"new")


async def test_without_a_kept_connection_a_new_one_is_made() -> None:
    pool = ScriptedPool(answering(200, b"new"))
    assert (await fetch(pool, "/ask", api_key=None, timeout_s=5.0, reuse=True)).body == b"new"


async def test_an_answer_that_breaks_off_raises() -> None:
    pool = ScriptedPool(lambda handler: handler.on_lost(errors.worker_lost("w", "early")))
    with pytest.raises(errors.RouterError, match="closed the connection early"):
        await get(pool)


async def test_an_answer_that_does_not_come_is_given_up() -> None:
    pool = ScriptedPool(lambda handler: handler.on_response(200, [], None))
    with pytest.raises(TimeoutError):
        await get(pool, timeout_s=0.01)
    assert pool.connection.aborted


async def test_cancelling_closes_the_connection() -> None:
    pool = ScriptedPool(lambda handler: None)
    fetching = asyncio.ensure_future(get(pool))
    for _ in range(3):
        await asyncio.sleep(0)
    assert pool.connection.handler is not None
    fetching.cancel()
    with pytest.raises(asyncio.CancelledError):
        await fetching
    assert pool.connection.aborted


async def test_what_comes_after_giving_up_is_no_error() -> None:
    pool = ScriptedPool(lambda handler: None)
    with pytest.raises(TimeoutError):
        await get(pool, timeout_s=0.01)
    handler = pool.connection.handler
    assert handler is not None
    answering(200, b"late")(handler)
    handler.on_lost(errors.worker_lost("w", "late"))


async def test_an_endless_answer_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch_module, "_LIMIT_BYTES", 10)

    def endless(handler: ResponseHandler) -> None:
        handler.on_response(200, [], None)
        for _ in range(3):
            handler.on_body(bytes(6))

    pool = ScriptedPool(endless)
    with pytest.raises(errors.RouterError, match="more than 10 bytes"):
        await get(pool)
    assert pool.connection.aborted, "or it would go on for ever"


async def test_what_it_reads_is_no_sign_of_life_of_other_answers() -> None:
    """A worker that answers some questions, and hangs on others, is not busy."""

    def half(handler: ResponseHandler) -> None:
        handler.on_response(200, [], None)
        pool.connection.reads += 3

    pool = ScriptedPool(half)
    pool._reads = 10
    with pytest.raises(TimeoutError):
        await get(pool, timeout_s=0.01)
    assert pool.reads == 10 - 3, "the connection itself counts three"

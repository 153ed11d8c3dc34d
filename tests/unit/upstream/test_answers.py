"""A whole answer, in whatever pieces it comes."""

import asyncio

import pytest

from router.errors import worker_lost
from router.upstream.answers import TooLongError, Whole


async def test_whole() -> None:
    whole = Whole(10)
    whole.on_response(200, [], None)
    whole.on_body(b"12345")
    whole.on_body(b"67890")
    whole.on_complete([])
    await whole.done
    assert bytes(whole.body) == b"1234567890"


async def test_whole_that_is_too_long() -> None:
    whole = Whole(10)
    whole.on_body(b"12345678901")
    whole.on_body(b"2")
    with pytest.raises(TooLongError, match="more than 10 bytes"):
        await whole.done
    assert not whole.ended
    whole.on_lost(worker_lost("api", "before its answer was complete"))
    assert whole.ended


async def test_nobody_waits_any_more() -> None:
    whole = Whole(10)
    whole.done.cancel()
    whole.on_complete([])
    await asyncio.gather(whole.done, return_exceptions=True)
    assert whole.ended

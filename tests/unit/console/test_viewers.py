"""Those who watch."""

import asyncio

import pytest

from router.console.viewers import Viewer, Viewers
from router.errors import RouterError


async def test_events_come_together() -> None:
    viewer = Viewer(100)
    viewer.push(b"a")
    viewer.push(b"b")
    assert await viewer.wait() == b"ab"
    waiting = asyncio.ensure_future(viewer.wait())
    await asyncio.sleep(0)
    assert not waiting.done()
    viewer.push(b"c")
    assert await waiting == b"c"


async def test_a_slow_one_starts_over() -> None:
    viewer = Viewer(10)
    for _ in range(1000):
        viewer.push(b"123456")
    assert viewer.drop() == []
    viewer.push(b"1")
    assert await viewer.wait() == b"1"
    viewer.push(b"x" * 11)
    viewer.push(b"y")
    assert await viewer.wait() is None
    viewer.push(b"2")
    assert await viewer.wait() == b"2"


async def test_the_end_comes_after_the_last_event() -> None:
    viewer = Viewer(100)
    viewer.push(b"bye")
    viewer.end()
    assert await viewer.wait() == b"bye"
    assert viewer.over
    assert await viewer.wait() == b""


def test_there_are_only_so_many() -> None:
    viewers = Viewers(most=2)
    first, _ = viewers.join(), viewers.join()
    with pytest.raises(RouterError) as error:
        viewers.join()
    assert (error.value.status, error.value.code) == (503, "too_many_viewers")
    viewers.leave(first)
    viewers.join()
    assert len(viewers) == 2


async def test_all_are_told() -> None:
    viewers = Viewers()
    some = [viewers.join(), viewers.join()]
    viewers.push(b"x")
    viewers.end()
    assert [await each.wait() for each in some] == [b"x", b"x"]
    assert all(each.over for each in some)

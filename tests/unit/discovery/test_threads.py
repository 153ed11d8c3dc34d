"""Calls that may hang."""

import asyncio
import threading

from router.discovery.threads import in_daemon


async def test_what_a_call_returns_and_raises() -> None:
    assert await in_daemon(lambda: 1) == 1
    failure = ValueError("no")

    def fails() -> None:
        raise failure

    assert await in_daemon(fails) is failure


async def test_nobody_need_wait_for_it() -> None:
    """And it may return when there is nobody any more."""
    gate, entered = threading.Event(), threading.Event()

    def hangs() -> None:
        entered.set()
        gate.wait(30)

    future = in_daemon(hangs)
    (thread,) = [each for each in threading.enumerate() if each.name == "lookup"]
    assert thread.daemon
    await asyncio.to_thread(entered.wait, 30)
    future.cancel()
    gate.set()
    await asyncio.to_thread(thread.join, 30)
    await asyncio.sleep(0)
    assert future.cancelled()


def test_a_loop_that_is_gone_is_no_matter() -> None:
    gate = threading.Event()

    async def leave() -> threading.Thread:
        in_daemon(lambda: gate.wait(30))
        return next(each for each in threading.enumerate() if each.name == "lookup")

    thread = asyncio.run(leave())
    gate.set()
    thread.join(30)
    assert not thread.is_alive()

"""Calls that may hang for minutes and cannot be ended."""

import asyncio
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


def in_daemon(call: Callable[[], T]) -> "asyncio.Future[T | Exception]":
    """What `call` returns or raises, from a thread of its own. Nobody waits for that at exit, as for those of an executor."""
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T | Exception] = loop.create_future()

    def deliver(result: T | Exception) -> None:
        if not future.done():
            future.set_result(result)

    def work() -> None:
        try:
            result: T | Exception = call()
        except Exception as error:  # noqa: BLE001 - it is the caller's
            result = error
        with suppress(RuntimeError):  # the loop is closed by now
            loop.call_soon_threadsafe(deliver, result)

    threading.Thread(target=work, name="lookup", daemon=True).start()
    return future

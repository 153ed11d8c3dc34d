"""What concerns the process as a whole: its version, its event loop, its garbage collector."""

import asyncio
import gc
from collections.abc import Coroutine
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import uvicorn


def run_loop(main: Coroutine[Any, Any, None]) -> None:
    """Run `main` on the fastest event loop there is."""
    with asyncio.Runner(
        loop_factory=uvicorn.Config(_no_app, log_config=None).get_loop_factory()
    ) as runner:
        runner.run(main)


def installed_version() -> str:
    """The distribution's version."""
    try:
        return version("prefix-router")
    except PackageNotFoundError:
        return "0+source"


async def _no_app(scope: Any, receive: Any, send: Any) -> None:
    del scope, receive, send


def spare_the_collector() -> None:
    """What is built by now stays for good, and requests leave no cycles: look for garbage less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)

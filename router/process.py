"""What concerns the process as a whole: its version, its event loop, its garbage collector."""

import asyncio
import gc
import sys
from collections.abc import Coroutine
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import uvicorn

_FILES_WHERE_UNLIMITED = 1 << 20


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


def raise_file_limit() -> int | None:
    """Allow as many open files as this process may; how many that is, None where there is no such limit."""
    if sys.platform == "win32":
        return None
    import resource  # noqa: PLC0415 - not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard == resource.RLIM_INFINITY:
        hard = _FILES_WHERE_UNLIMITED
    if soft != resource.RLIM_INFINITY and soft < hard:
        with suppress(ValueError, OSError):  # macOS allows less than it says
            resource.setrlimit(
                resource.RLIMIT_NOFILE, (hard, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
            )
            soft = hard
    return None if soft == resource.RLIM_INFINITY else soft


def spare_the_collector() -> None:
    """What is built by now stays for good, and requests leave no cycles: look for garbage less often."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 50)

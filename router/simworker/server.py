"""Runs one worker under uvicorn until a signal ends it."""

import asyncio
import os
import signal
from threading import Thread
from types import FrameType

import uvicorn

from router.simworker.app import App
from router.simworker.config import WorkerConfig
from router.simworker.worker import Worker

# After answers were ended, how long their last bytes may take to be fetched.
_GRACE_S = 2
_STDIN = 0


class _Server(uvicorn.Server):
    """Ends the answers in flight `drain_s` seconds after the first signal."""

    def __init__(self, config: uvicorn.Config, worker: Worker, drain_s: float) -> None:
        super().__init__(config)
        self._worker = worker
        self._drain_s = drain_s

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop listening now, abort what is left when the time to drain is over."""
        super().handle_exit(sig, frame)
        loop = asyncio.get_running_loop()
        loop.call_soon_threadsafe(loop.call_later, self._drain_s, self._worker.abort_all)


def _exit_at_end_of_input(server: uvicorn.Server) -> None:
    # Not through sys.stdin: Python cannot exit properly while a thread waits inside it.
    while os.read(_STDIN, 4096):
        pass
    server.should_exit = True


async def serve(
    config: WorkerConfig,
    *,
    drain_s: float = 0.0,
    exit_with_parent: bool = False,
    log_level: str = "warning",
) -> None:
    """Serve until SIGINT or SIGTERM; answers in flight then have `drain_s` seconds to end.

    `exit_with_parent`: serve only until standard input ends.
    """
    worker = Worker.create(config)
    settings = uvicorn.Config(
        App(worker),
        host=config.host,
        port=config.port,
        lifespan="off",
        log_level=log_level,
        access_log=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=int(drain_s) + _GRACE_S,
    )
    server = _Server(settings, worker, drain_s)
    if exit_with_parent:
        Thread(target=_exit_at_end_of_input, args=(server,), daemon=True).start()
    async with worker.running():
        await server.serve()


def run(
    config: WorkerConfig,
    *,
    drain_s: float = 0.0,
    exit_with_parent: bool = False,
    log_level: str = "warning",
) -> None:
    """Blocking form of `serve`; a signal ends the process with status 0."""
    # uvicorn raises the signals that it caught again once it is done.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: None)
    loop_factory = uvicorn.Config("", loop="auto").get_loop_factory()
    with asyncio.Runner(loop_factory=loop_factory) as runner:
        runner.run(
            serve(config, drain_s=drain_s, exit_with_parent=exit_with_parent, log_level=log_level)
        )

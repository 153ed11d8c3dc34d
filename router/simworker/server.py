"""Runs one worker under uvicorn until a signal ends it."""

import asyncio
import os
import signal
import socket
import sys
from threading import Thread
from types import FrameType

import uvicorn

from router.simworker.app import App
from router.simworker.config import WorkerConfig
from router.simworker.worker import Worker

# After answers were ended, how long their last bytes may take to be fetched.
_GRACE_S = 2
_POLL_S = 0.05
# A dead engine's API server answers for so long.
_DEATH_S = 0.5
_STDIN = 0


class _Server(uvicorn.Server):
    """Ends at the first signal; with time to drain, when all answers have ended or that time is over."""

    def __init__(self, config: uvicorn.Config, worker: Worker, drain_s: float) -> None:
        super().__init__(config)
        self._worker = worker
        self._drain_s = drain_s
        self._stopping = False
        worker.on_death = self._exit_soon

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        await super().startup(sockets)
        if self.started:
            host, port = self.config.host, self.servers[0].sockets[0].getsockname()[1]
            shown = f"[{host}]" if ":" in host else host
            models = ", ".join(self._worker.config.models)
            sys.stdout.write(f"simulated worker {models} on http://{shown}:{port}\n")
            sys.stdout.flush()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """As vLLM does: while it drains it still listens, says it is healthy, and refuses every request."""
        again, self._stopping = self._stopping, True
        loop = asyncio.get_running_loop()
        if again or not self._drain_s:
            super().handle_exit(sig, frame)
            loop.call_soon_threadsafe(self._worker.abort_all)
            return
        self._worker.drain()
        loop.call_soon_threadsafe(self._end_when_idle, loop, loop.time() + self._drain_s)

    def _end_when_idle(self, loop: asyncio.AbstractEventLoop, deadline: float) -> None:
        if self._worker.busy and loop.time() < deadline:
            loop.call_later(_POLL_S, self._end_when_idle, loop, deadline)
            return
        self._worker.abort_all()
        self.should_exit = True

    def _exit_soon(self) -> None:
        asyncio.get_running_loop().call_later(_DEATH_S, setattr, self, "should_exit", True)


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
    """Serve until SIGINT or SIGTERM; answers in flight then have up to `drain_s` seconds to end.

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
        timeout_graceful_shutdown=_GRACE_S,
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

"""A program of the fleet: started, signalled, started again on its port."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import signal
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench.dataplane.harness import ROOT

POLL_S = 0.1


class StartError(RuntimeError):
    """A program does not come up; the message says where its log is."""


class Program:
    """One process (and its group) at a time; `ready` is asked for 200, or the port for a connection if it is empty."""

    def __init__(
        self,
        name: str,
        port: int,
        command: Sequence[str],
        log: Path,
        *,
        ready: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.name, self.port, self.log = name, port, log
        self._command, self._ready = list(command), ready
        self._environment = {**os.environ, "PYTHONPATH": str(ROOT), **(environment or {})}
        self._process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        """`host:port`."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Base URL."""
        return f"http://{self.address}"

    @property
    def pid(self) -> int:
        """Of the process that was started last."""
        assert self._process is not None
        return self._process.pid

    @property
    def alive(self) -> bool:
        """Whether it runs."""
        return self._process is not None and self._process.returncode is None

    async def start(self) -> None:
        """Start it; does not wait until it is ready. It does not outlive this process where that can be had."""
        tie = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        with self.log.open("ab") as out:
            self._process = await asyncio.create_subprocess_exec(
                *tie,
                *self._command,
                stdin=asyncio.subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                start_new_session=True,
                cwd=self.log.parent,
                env=self._environment,
            )

    async def await_ready(self, timeout_s: float) -> None:
        """Wait until it serves; raises StartError."""
        try:
            async with asyncio.timeout(timeout_s):
                while not await self.is_ready():
                    if not self.alive:
                        raise StartError(f"{self.name} ended: see {self.log}")
                    await asyncio.sleep(POLL_S)
        except TimeoutError:
            raise StartError(f"{self.name} is not up in {timeout_s} s: see {self.log}") from None

    async def is_ready(self) -> bool:
        """Whether it serves now."""
        if self._ready:
            return (await asyncio.to_thread(fetch, f"{self.url}{self._ready}"))[0] == 200
        try:
            _, writer = await asyncio.open_connection("127.0.0.1", self.port)
        except OSError:
            return False
        writer.close()
        return True

    def signal(self, number: signal.Signals, *, group: bool = True) -> None:
        """Send a signal to the whole group, or to the process alone."""
        with contextlib.suppress(ProcessLookupError):
            if group:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)

    async def wait(self, timeout_s: float) -> bool:
        """Whether it ends in time."""
        assert self._process is not None
        try:
            await asyncio.wait_for(self._process.wait(), timeout_s)
        except TimeoutError:
            return False
        return True

    async def kill(self) -> None:
        """End it at once, stopped or not."""
        self.signal(signal.SIGKILL)
        if self._process is not None:
            await self._process.wait()


def fetch(url: str, data: bytes | None = None, timeout_s: float = 2.0) -> tuple[int, str]:
    """Status and body of a GET, or POST with `data`; status 0 where nothing answers."""
    kind = {"content-type": "application/json"}
    try:
        with urllib.request.urlopen(
            urllib.request.Request(url, data, kind), timeout=timeout_s
        ) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, ""
    except (OSError, ValueError):
        return 0, ""

"""Makes parts of the fleet fail, and brings them back."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter

from bench.chaos.processes import Program, fetch
from bench.chaos.rig import READY_S, Rig
from bench.chaos.schedule import SETTLE_S, Fault, Kind, may_fail
from bench.chaos.timeline import Timeline
from bench.dataplane import usage

# vLLM's API server and router end by themselves in this time, or are killed.
_ENDS_S = 60.0
_REST = {Kind.SLEEP: ("/sleep?level=1", "/wake_up"), Kind.PAUSE: ("/pause", "/resume")}
_STOPS = (Kind.HANG, Kind.REDIS_HANG)
_DRAINS = (Kind.DRAIN, Kind.ROUTER_DRAIN)
_ENGINE = "VLLM::EngineCor"  # as the kernel cuts it


class Injector:
    """Carries out faults on a rig. A part is `down` until routers may know that it is back."""

    def __init__(self, rig: Rig, timeline: Timeline, *, spare: bool) -> None:
        self._rig, self._timeline, self._spare = rig, timeline, spare
        self._down: list[str] = []

    async def run(self, faults: Sequence[Fault]) -> None:
        """All of them at their times; returns when everything is up again."""
        start = perf_counter()
        async with asyncio.TaskGroup() as group:
            for fault in faults:
                await asyncio.sleep(max(0.0, start + fault.at_s - perf_counter()))
                if may_fail(fault.target, self._down, self._rig.parts, spare=self._spare):
                    self._down.append(fault.target)
                    group.create_task(self._carry_out(fault))
                else:
                    self._timeline.skipped += 1

    async def _carry_out(self, fault: Fault) -> None:
        program = self._rig[fault.target]
        name = program.address if fault.target in self._rig.workers else fault.target
        incident = self._timeline.begin(fault.kind, name, perf_counter())
        await self._strike(fault, program)
        incident.ended = perf_counter()
        await asyncio.sleep(SETTLE_S)
        self._down.remove(fault.target)

    async def _strike(self, fault: Fault, program: Program) -> None:
        if fault.kind in _STOPS:
            program.signal(signal.SIGSTOP)
            await asyncio.sleep(fault.lasts_s)
            program.signal(signal.SIGCONT)
        elif fault.kind in _REST:
            down, up = _REST[fault.kind]
            await asyncio.to_thread(fetch, f"{program.url}{down}", b"", 10.0)
            await asyncio.sleep(fault.lasts_s)
            await asyncio.to_thread(fetch, f"{program.url}{up}", b"", 10.0)
        else:
            await self._end(fault, program)
            await asyncio.sleep(fault.lasts_s)
            await program.start()
            await program.await_ready(READY_S * 4)

    async def _end(self, fault: Fault, program: Program) -> None:
        if fault.kind in _DRAINS:
            program.signal(signal.SIGTERM, group=False)
            await program.wait(_ENDS_S)
        elif fault.kind is Kind.ENGINE_DEAD:
            await _kill_engine(program)
            await program.wait(_ENDS_S / 6)
        await program.kill()


async def _kill_engine(program: Program) -> None:
    """A simulated worker is told to; of a real one the engine's process is killed."""
    body = b'{"kind": "engine_dead"}'
    status, _ = await asyncio.to_thread(fetch, f"{program.url}/_fault", body)
    if status != 200:
        for pid in _engines(program.pid):
            os.kill(pid, signal.SIGKILL)


def _engines(root: int) -> list[int]:
    """Processes below `root` that are vLLM's engine."""
    names = {pid: Path(f"/proc/{pid}/comm") for pid in usage.tree(root)}
    return [pid for pid, name in names.items() if name.read_text().startswith(_ENGINE)]

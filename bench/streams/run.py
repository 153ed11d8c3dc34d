"""One run: all streams opened, measured while all are open, waited for to their ends."""

from __future__ import annotations

import asyncio
import resource
from dataclasses import dataclass

from bench.dataplane import usage
from bench.dataplane.prompts import Shape, templates
from bench.streams.client import Tally, open_streams

SAMPLE_S = 0.5
# What a process has open beside its streams.
_SPARE_FDS = 200
_MARGIN_S = 1.0
_SLOW_S = 60.0


@dataclass(frozen=True, slots=True)
class Shapes:
    """How many streams, of how many tokens, one every `interval_s`; opened over `ramp_s`."""

    streams: int
    tokens: int
    interval_s: float
    ramp_s: float
    prompt_bytes: int = 1024

    @property
    def window_s(self) -> float:
        """How long all of them are open, with a margin on both sides; may be negative."""
        return self.tokens * self.interval_s - self.ramp_s - 2 * _MARGIN_S


@dataclass(frozen=True, slots=True)
class Outcome:
    """One run; memory in MB, `cpu_us` of the router per chunk while all streams are open."""

    tally: Tally
    idle_mb: float
    full_mb: float
    after_mb: float
    cpu_us: float
    chunks: int
    open: int


def most_streams(wanted: int) -> int:
    """As many as a router may have descriptors for: each takes two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    return min(wanted, (hard - _SPARE_FDS) // 2)


async def run(port: int, shapes: Shapes, router_pid: int, quiet_s: float) -> Outcome:
    """Through a router (`router_pid`), or straight to the worker (0)."""
    shape = Shape(shapes.prompt_bytes, stream=True, tokens=shapes.tokens)
    made = templates(shape, f"127.0.0.1:{port}")
    requests = [made[number % len(made)].request(number + 1) for number in range(shapes.streams)]
    tally = Tally()
    idle_mb = _rss_mb(router_pid)
    await open_streams(port, requests, shapes.tokens, shapes.ramp_s, tally)
    await asyncio.sleep(_MARGIN_S)
    tally.measuring, chunks, cpu_s = True, tally.chunks, _cpu_s(router_pid)
    full_mb, most = await _watch(shapes.window_s, router_pid, tally)
    tally.measuring, chunks, cpu_s = False, tally.chunks - chunks, _cpu_s(router_pid) - cpu_s
    for _ in range(round((shapes.ramp_s + _SLOW_S) / SAMPLE_S)):
        if not tally.open:
            break
        await asyncio.sleep(SAMPLE_S)
    if tally.open:
        tally.failures["no end"] = tally.open
    await asyncio.sleep(quiet_s if router_pid else 0)
    cost = cpu_s / max(1, chunks) * 1e6
    return Outcome(tally, idle_mb, full_mb, _rss_mb(router_pid), cost, chunks, most)


async def _watch(seconds: float, pid: int, tally: Tally) -> tuple[float, int]:
    """The most memory and the most open streams of a while."""
    full_mb, most = 0.0, 0
    for _ in range(max(1, round(seconds / SAMPLE_S))):
        await asyncio.sleep(SAMPLE_S)
        full_mb, most = max(full_mb, _rss_mb(pid)), max(most, tally.open)
    return full_mb, most


def _rss_mb(pid: int) -> float:
    return usage.memory_mb(pid)[0] if pid else 0.0


def _cpu_s(pid: int) -> float:
    return usage.cpu_s(pid) if pid else 0.0

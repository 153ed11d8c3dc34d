"""Times of the shared store: at the client, and within the server."""

from __future__ import annotations

import statistics
from collections.abc import Awaitable, Callable, Sequence
from time import perf_counter, process_time
from typing import NamedTuple

from bench.shared.server import Probe

Step = Callable[[int], Awaitable[object]]
"""What is measured, by its number."""


class Cost(NamedTuple):
    """Of one step, medians over passes: microseconds, then bytes. `p50`, `p99`: wall time at the client; `script`:
    within scripts, in the server's wall time; `server`, `client`: CPU of the processes.
    """

    p50: float
    p99: float
    script: float
    server: float
    client: float
    bytes_in: float
    bytes_out: float

    def cells(self) -> list[str]:
        """For a table."""
        return [f"{value:,.0f}" for value in self]


HEAD = ["p50 µs", "p99 µs", "script µs", "server µs", "client µs", "bytes in", "out"]


async def measured(probe: Probe, step: Step, steps: int, passes: int) -> Cost:
    """`steps` one after the other, `passes` times."""
    await step(0)
    found = [await _pass(probe, step, number * steps, steps) for number in range(passes)]
    return Cost(*(statistics.median(values) for values in zip(*found, strict=True)))


async def _pass(probe: Probe, step: Step, first: int, steps: int) -> Cost:
    walls = []
    before = probe.count()
    cpu = process_time()
    for number in range(first, first + steps):
        started = perf_counter()
        await step(number)
        walls.append(perf_counter() - started)
    cpu = process_time() - cpu
    after = probe.count()
    return Cost(
        *_cuts(walls),
        _micros(after.script_s - before.script_s, steps),
        _micros(after.cpu_s - before.cpu_s, steps),
        _micros(cpu, steps),
        (after.bytes_in - before.bytes_in) / steps,
        (after.bytes_out - before.bytes_out) / steps,
    )


def _cuts(walls: Sequence[float]) -> tuple[float, float]:
    cuts = statistics.quantiles(walls, n=100, method="inclusive")
    return cuts[49] * 1e6, cuts[98] * 1e6


def _micros(seconds: float, steps: int) -> float:
    return seconds / steps * 1e6

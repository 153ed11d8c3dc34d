"""As many questions as a server can take, from several processes."""

from __future__ import annotations

import multiprocessing
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from time import perf_counter
from typing import Any, NamedTuple

from redis import ConnectionPool

from bench.shared.server import Probe

Batch = Sequence[Sequence[Any]]
"""The words of the commands that are sent in one go."""

CONNECTIONS = 16
"""Of each process; each has one batch under way."""


class Rate(NamedTuple):
    """`core`: the share of one that the server took. `full_per_s`: what the same would be with all of it."""

    per_s: float
    core: float

    @property
    def full_per_s(self) -> float:
        """Batches a second at a full core."""
        return self.per_s / self.core if self.core else 0.0


def hammer(url: str, batches: Sequence[Batch], processes: int, seconds: float) -> Rate:
    """Sends `batches` again and again."""
    probe = Probe(url)
    spawn = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(processes, mp_context=spawn) as pool:
        list(pool.map(_send, [url] * processes, [batches] * processes, [0.0] * processes))
        before, started = probe.count(), perf_counter()
        sent = sum(pool.map(_send, [url] * processes, [batches] * processes, [seconds] * processes))
        wall, cpu_s = perf_counter() - started, probe.count().cpu_s - before.cpu_s
    probe.close()
    return Rate(sent / wall, cpu_s / wall)


def _send(url: str, batches: Sequence[Batch], seconds: float) -> int:
    """Each once at least; how many were answered."""
    pool: Any = ConnectionPool.from_url(url, protocol=2)
    lines = [pool.get_connection() for _ in range(CONNECTIONS)]
    packed = [(b"".join(lines[0].pack_commands(batch)), len(batch)) for batch in batches]
    until, place, sent = perf_counter() + seconds, 0, 0
    try:
        while not sent or perf_counter() < until:
            chosen = [packed[(place + step) % len(packed)] for step in range(CONNECTIONS)]
            for line, (data, _) in zip(lines, chosen, strict=True):
                line.send_packed_command([data])
            for line, (_, replies) in zip(lines, chosen, strict=True):
                for _ in range(replies):
                    line.read_response()
            place, sent = place + CONNECTIONS, sent + CONNECTIONS
    finally:
        for line in lines:
            line.disconnect()
    return sent

"""What happened in a measured window: two moments of running sums and the difference between them."""

from __future__ import annotations

import os
import time
from array import array
from dataclasses import dataclass, field

from bench.dataplane import usage


@dataclass(slots=True)
class Totals:
    """Running sums; a window is the difference between two moments."""

    requests: int = 0
    chunks: int = 0  # events that carry a token
    errors: int = 0
    first_error: str = ""
    ttft_s: array[float] = field(default_factory=lambda: array("d"))
    latency_s: array[float] = field(default_factory=lambda: array("d"))


def percentiles_ms(samples: array[float]) -> dict[str, float] | None:
    """Median, p90, p99 and largest, in milliseconds; None without samples."""
    if not samples:
        return None
    ordered = sorted(samples)
    at = {"p50": 0.5, "p90": 0.9, "p99": 0.99, "max": 1.0}
    return {
        k: round(ordered[min(len(ordered) - 1, int(q * len(ordered)))] * 1e3, 3)
        for k, q in at.items()
    }


@dataclass(frozen=True, slots=True)
class Mark:
    """Everything the window's difference needs, at one moment."""

    at: float
    requests: int
    chunks: int
    errors: int
    samples: tuple[int, int]
    router: usage.Usage
    backend: usage.Usage
    own_cpu_s: float
    core_busy_s: float


class Meter:
    """Takes marks and turns two of them into the result."""

    def __init__(self, totals: Totals, router_pid: int, backend_pid: int, router_core: int) -> None:
        self._totals, self._core = totals, router_core
        self._router = usage.tree(router_pid) if router_pid else []
        self._backend = usage.tree(backend_pid) if backend_pid else []

    def mark(self) -> Mark:
        """This moment."""
        t = self._totals
        return Mark(
            at=time.perf_counter(),
            requests=t.requests,
            chunks=t.chunks,
            errors=t.errors,
            samples=(len(t.ttft_s), len(t.latency_s)),
            router=usage.read(self._router),
            backend=usage.read(self._backend),
            own_cpu_s=usage.cpu_s(os.getpid()),
            core_busy_s=usage.core_busy_s(self._core),
        )

    def result(self, a: Mark, b: Mark) -> dict[str, object]:
        """What happened between the marks; CPU in shares of one core, memory in MB."""
        seconds = b.at - a.at
        router_s = b.router.cpu_s - a.router.cpu_s
        return {
            "seconds": round(seconds, 3),
            "requests": b.requests - a.requests,
            "chunks": b.chunks - a.chunks,
            "errors": b.errors - a.errors,
            "first_error": self._totals.first_error,
            "router_cpu_s": round(router_s, 4),
            "router_util": round(router_s / seconds, 3),
            "backend_util": round((b.backend.cpu_s - a.backend.cpu_s) / seconds, 3),
            "loadgen_util": round((b.own_cpu_s - a.own_cpu_s) / seconds, 3),
            "others_on_router_core": round(
                max(0.0, b.core_busy_s - a.core_busy_s - router_s) / seconds, 3
            ),
            "rss_mb": round(b.router.rss_mb, 1),
            "peak_rss_mb": round(b.router.peak_rss_mb, 1),
            "ttft_ms": percentiles_ms(self._totals.ttft_s[a.samples[0] :]),
            "latency_ms": percentiles_ms(self._totals.latency_s[a.samples[1] :]),
        }

"""What a router holds on to when nobody asks for anything any more."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from pathlib import Path

from bench.chaos.processes import Program, fetch
from bench.dataplane import usage

# Descriptors that may come and go: connections to workers and to the Redis, a probe.
SLACK_FDS = 16


@dataclass(frozen=True, slots=True)
class Held:
    """Of one router process at one moment; `inflight` and `queued` are None where it did not say."""

    pid: int
    fds: int
    rss_mb: float
    inflight: int | None
    queued: float | None


@dataclass(frozen=True, slots=True)
class Leak:
    """What it held after its start and after the load."""

    router: str
    before: Held
    after: Held

    @property
    def found(self) -> str:
        """What is wrong; empty if nothing is. A process that was started anew is compared with the one before."""
        after = self.after
        wrong = [
            f"{after.fds} descriptors" * (after.fds > self.before.fds + SLACK_FDS),
            f"{after.inflight} in flight" * (after.inflight != 0),
            f"{after.queued} queued" * (after.queued != 0),
        ]
        return ", ".join(filter(None, wrong))


def held(router: Program) -> Held:
    """What it holds now."""
    pid = router.pid
    try:
        fds = len(list(Path(f"/proc/{pid}/fd").iterdir()))
    except OSError:
        fds = 0
    _, workers = fetch(f"{router.url}/workers", timeout_s=5)
    _, metrics = fetch(f"{router.url}/metrics", timeout_s=5)
    return Held(pid, fds, usage.memory_mb(pid)[0], inflight(workers), queued(metrics))


def inflight(workers: str) -> int | None:
    """Requests that `GET /workers` counts."""
    try:
        told = json.loads(workers)
        listed = told if isinstance(told, list) else told.get("workers", told.get("data"))
        return sum(int(each["inflight"]) for each in listed)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def queued(metrics: str) -> float | None:
    """Requests that wait, as `GET /metrics` says."""
    found = re.findall(r"^router_queue_depth\{.*\} (\S+)$", metrics, re.MULTILINE)
    return sum(map(float, found)) if found else None

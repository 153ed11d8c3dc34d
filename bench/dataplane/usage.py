"""CPU time and memory of a process and all its descendants, from the kernel's own counters."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

_TICKS_PER_S = os.sysconf("SC_CLK_TCK")
_CPU_CLOCK = 2  # CPUCLOCK_SCHED: the clock id of process p is (~p << 3) | 2


@dataclass(frozen=True, slots=True)
class Usage:
    """Totals of a process tree at one moment."""

    cpu_s: float = 0.0
    rss_mb: float = 0.0
    peak_rss_mb: float = 0.0


def tree(root: int) -> list[int]:
    """`root` and the processes that descend from it; just `root` when it is already gone."""
    children: dict[int, list[int]] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            parent = int(stat.read_text().rpartition(")")[2].split()[1])
        except OSError:  # it ended while we looked
            continue
        children.setdefault(parent, []).append(int(stat.parent.name))
    out = [root]
    for pid in out:  # grows while it is walked: breadth first
        out += children.get(pid, [])
    return out


def cpu_s(pid: int) -> float:
    """CPU time of one process with all its threads, in seconds; 0 when it is gone.

    The process clock counts nanoseconds; /proc/<pid>/stat, its fallback, counts ticks of 10 ms.
    """
    try:
        return time.clock_gettime((~pid << 3) | _CPU_CLOCK)
    except OSError:
        pass
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return 0.0
    return (int(fields[11]) + int(fields[12])) / _TICKS_PER_S


def memory_mb(pid: int) -> tuple[float, float]:
    """Resident memory of one process now and at its highest, in MB; zeros when it is gone."""
    now = peak = 0.0
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return now, peak
    for line in lines:
        if line.startswith("VmRSS:"):
            now = int(line.split()[1]) / 1024
        elif line.startswith("VmHWM:"):
            peak = int(line.split()[1]) / 1024
    return now, peak


def read(pids: list[int]) -> Usage:
    """The sum over `pids`, as `tree` lists them."""
    memory = [memory_mb(pid) for pid in pids]
    return Usage(
        sum(cpu_s(pid) for pid in pids),
        sum(now for now, _ in memory),
        sum(peak for _, peak in memory),
    )


def core_busy_s(core: int) -> float:
    """How long core `core` has been busy with anything since boot, in seconds."""
    for line in Path("/proc/stat").read_text().splitlines():
        name, *fields = line.split()
        if name == f"cpu{core}":
            user, nice, system, _idle, _iowait, irq, softirq, steal = map(int, fields[:8])
            return (user + nice + system + irq + softirq + steal) / _TICKS_PER_S
    return 0.0

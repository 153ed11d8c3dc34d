"""The kernel's counters for a process tree."""

import os
import subprocess
import sys
import time

from bench.dataplane import usage


def test_own_process_has_cpu_and_memory() -> None:
    found = usage.read(usage.tree(os.getpid()))
    assert found.cpu_s > 0
    assert 1 < found.rss_mb <= found.peak_rss_mb * 1.01
    assert abs(usage.cpu_s(os.getpid()) - time.process_time()) < 1


def test_children_belong_to_the_tree() -> None:
    code = "import sys; sys.stdin.read()"
    with subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE) as child:
        assert child.pid in usage.tree(os.getpid())
        assert child.stdin
        child.stdin.close()


def test_a_process_that_is_gone_counts_nothing() -> None:
    assert usage.read([2**22 + 1]) == usage.Usage()


def test_core_time_grows() -> None:
    core = min(os.sched_getaffinity(0))
    assert usage.core_busy_s(core) > 0
    assert usage.core_busy_s(10_000) == 0

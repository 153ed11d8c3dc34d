"""The benchmark of several routers: what it takes, and a small run of it."""

import os
import re
import subprocess
import sys

import pytest

from bench.dataplane.harness import ROOT
from bench.replicas.__main__ import Case, cases, parser
from tests.unit.bench.manual import check_commands, check_options


def test_the_manual_is_right() -> None:
    check_commands("replicas", parser())
    check_options("replicas", parser())


def test_one_router_shares_nothing_and_several_do_and_do_not() -> None:
    assert cases("1,3") == [Case(1, shares=False), Case(3, shares=True), Case(3, shares=False)]


@pytest.mark.timeout(180)
def test_a_small_run_prints_a_line_for_each_case() -> None:
    base = 20_000 + os.getpid() % 100 * 100  # a hundred ports, of which no other test takes any
    flags = (
        "--routers 2 --workers 2 --sessions 4 --rounds 1 --slice 3 --warmup 1 --server valkey"
        f" --base-port {base}"
    )
    run = subprocess.run(
        [sys.executable, "-m", "bench.replicas", *flags.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    rows = re.findall(r"^\| 2 \| (\w+) \| (\d+) .*\| (\d+) \| \S+ \|$", run.stdout, re.MULTILINE)
    assert [share for share, _, _ in rows] == ["Redis", "nothing"]
    assert all(int(requests) > 0 and errors == "0" for _, requests, errors in rows)

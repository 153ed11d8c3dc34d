"""The command line of the fault injector, and a small run of it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.chaos.__main__ import faults_of, parser, plan_of
from bench.chaos.rig import rig
from bench.chaos.schedule import Kind
from bench.dataplane.harness import ROOT
from tests.unit.bench.manual import check_commands, check_options


def test_the_manual_is_right() -> None:
    check_commands("chaos", parser())
    check_options("chaos", parser())


def test_what_is_started() -> None:
    flags = "--workers 3 --routers 2 --redis --resume --setting eject_failures=3"
    args = parser().parse_args(flags.split())
    made = rig(plan_of(args))
    assert list(made.workers) == ["worker-0", "worker-1", "worker-2"]
    assert len({program.port for program in made.all}) == 6
    assert made["router-0"]._environment["PREFIX_ROUTER_RESUME"] == "on"
    assert made["router-0"]._environment["PREFIX_ROUTER_EJECT_FAILURES"] == "3"
    assert {fault.kind for fault in faults_of(args, made)} == set(Kind)


def test_only_some_faults() -> None:
    args = parser().parse_args(["--kinds", "kill,hang", "--seconds", "60"])
    made = rig(plan_of(args))
    assert {fault.kind for fault in faults_of(args, made)} == {Kind.KILL, Kind.HANG}
    with pytest.raises(SystemExit):
        plan_of(parser().parse_args(["--workers", "99"]))


@pytest.mark.timeout(180)
def test_a_small_run_loses_nothing(tmp_path: Path) -> None:
    base = 20_000 + os.getpid() % 100 * 100  # a hundred ports, of which no other test takes any
    flags = f"--workers 2 --routers 1 --seconds 10 --rate 3 --kinds kill --base-port {base}"
    run = subprocess.run(
        [sys.executable, "-m", "bench.chaos", *flags.split(), "--logs", str(tmp_path)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stdout + run.stderr
    assert "lost: 0" in run.stdout
    assert "| kill | 1 |" in run.stdout

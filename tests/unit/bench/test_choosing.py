"""The benchmark of choosing: its rig is what it says, and a small run prints every row."""

import re
import subprocess
import sys

import pytest

from bench.choosing.__main__ import OPERATIONS, PROMPTS, decide, parser
from bench.choosing.line import Line
from bench.choosing.rig import RUNNING, Rig
from bench.dataplane.harness import ROOT
from tests.unit.bench.manual import check_commands, check_options


@pytest.fixture
def rig() -> Rig:
    return Rig(3, 700)


def test_workers_are_busy_and_have_room(rig: Rig) -> None:
    assert [worker.load.inflight for worker in rig.workers] == [RUNNING] * 3
    assert all(rig.queue.room.at(worker, 1.0) for worker in rig.workers)
    assert {worker.id for worker in rig.workers} == set(rig.cost.rates.scales)


def test_the_index_holds_as_much_as_was_asked_for(rig: Rig) -> None:
    assert sum(rig.index.blocks(worker.id) for worker in rig.workers) == 700


def test_a_prompt_is_held_by_whom_it_is_said(rig: Rig) -> None:
    held, new = rig.prompt(1000), rig.prompt(1000)
    rig.hold(held, rig.workers)
    found = rig.question(held, 1.0).overlaps
    assert found.keys() == {worker.id for worker in rig.workers}
    assert all(1 <= depth <= len(held.keys) for depth in found.values())
    assert rig.question(new, 1.0).overlaps == {}


def test_a_full_worker_has_room_again_when_it_is_freed(rig: Rig) -> None:
    worker = rig.workers[0]
    rig.fill(worker, 1.0)
    assert not rig.queue.room.at(worker, 1.0)
    rig.free(worker, 1.0)
    assert rig.queue.room.at(worker, 1.0)
    assert worker.load.inflight == RUNNING


def test_both_parts_of_a_decision_are_timed(rig: Rig) -> None:
    looking, choosing = decide(rig, [rig.prompt(1000) for _ in range(PROMPTS)])
    assert min(looking, choosing) > 0.0


@pytest.mark.parametrize("tenants", [1, 5])
def test_the_queue_stays_as_long_as_it_is(rig: Rig, tenants: int) -> None:
    line = Line(rig, 40, tenants)
    for step in (line.drain, line.drain_stale, line.expire):
        step()
        assert len(line) == 40
    line.withdraw()
    assert len(line) == 39
    line.wait()
    assert len(line) == 40
    assert {name: bool(costs) for name, costs in line.costs.items()} == dict.fromkeys(
        OPERATIONS, True
    )


def test_workers_that_are_left_idle_are_counted(rig: Rig) -> None:
    line = Line(rig, 1)
    assert line.idle() == 0
    rig.free(rig.workers[0], 1000.0)
    assert line.idle() == 1


def test_a_small_run_prints_every_row() -> None:
    flags = "--workers 2,3 --queue-workers 2 --blocks 50 --waiting 20 --tenants 4 --repeats 2"
    run = subprocess.run(
        [sys.executable, "-m", "bench.choosing", *flags.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.split(" | ") for line in run.stdout.splitlines() if re.match(r"\| \d", line)]
    assert [row[0].lstrip("| ") for row in rows] == ["2"] * 4 + ["3"] * 4 + ["2"] * 2
    times = [float(cell) for row in rows[:8] for cell in row[3:-1]]
    times += [float(cell) for row in rows[8:] for cell in row[2:-1]]
    assert min(times) > 0.0


def test_the_manual_s_commands_are_understood() -> None:
    check_commands("choosing", parser())


def test_the_manual_names_every_option_and_no_other() -> None:
    check_options("choosing", parser())

"""The figures are those of the records."""

import pytest

from router.simulate.outcome import figures, simulate
from router.simulate.records import Record, Result
from router.simulate.scenario import Task, carry_out
from tests.unit.simulate.studies import EVEN, HARDWARE, record, workload


def result(*records: Record) -> Result:
    return Result("prefix", "some", 0.8, HARDWARE, list(records), dropped=3)


def test_figures_of_some_records() -> None:
    some = figures(
        result(
            record(ttft_s=1.0, duration_s=2.0, cached_tokens=100),
            record(ttft_s=3.0, duration_s=4.0, cached_tokens=0, queued_s=2.0),
            record(ttft_s=0.5, duration_s=6.0, tpot_s=0.07, worker=1),
            record(ttft_s=1.5, duration_s=2.0, cached_tokens=50),
        ),
        2,
    )
    assert (some.requests, some.left_out) == (4, 3)
    assert some.ttft_mean_s == pytest.approx(1.5)
    assert (some.ttft_p50_s, some.ttft_p99_s) == (1.5, 3.0)
    assert some.queued_mean_s == pytest.approx(0.5)
    assert some.tpot_mean_s == pytest.approx(0.025)
    assert some.e2e_mean_s == pytest.approx(3.5)
    assert some.hit_rate == pytest.approx(0.5)
    assert some.goodput == pytest.approx(0.5)  # one is late, one is slow
    assert some.busiest == pytest.approx(1.0)  # 2 + 2 + 2 s against 6 s


def test_the_busiest_worker() -> None:
    uneven = figures(result(record(duration_s=9.0), record(worker=1, duration_s=3.0)), 3)
    assert uneven.busiest == pytest.approx(9.0 / 4.0)


def test_nothing_answered() -> None:
    nothing = figures(result(), 2)
    assert (nothing.requests, nothing.ttft_mean_s, nothing.busiest) == (0, 0.0, 1.0)


def test_an_outcome_is_that_of_its_run() -> None:
    work = workload()
    task = Task(EVEN, "prefix", 1.5, 0.7)
    outcome, run = simulate(work, task), carry_out(work, task)
    assert (outcome.policy, outcome.load, outcome.speed) == ("prefix", 0.7, 1.5)
    assert outcome.figures == figures(run, 2)
    assert sum(outcome.curves.prompt_tokens) == sum(each.prompt_tokens for each in run.records)
    held_s = sum(map(sum, outcome.curves.inflight)) * outcome.curves.bin_s
    assert held_s == pytest.approx(sum(each.duration_s - each.queued_s for each in run.records))

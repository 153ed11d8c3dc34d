"""Runs in processes give what they give here, and end when they should."""

import logging
import multiprocessing
from time import monotonic

import pytest

from router.simulate.outcome import simulate
from router.simulate.processes import Processes, available_cores, quiet
from router.simulate.scenario import Task
from tests.unit.simulate.studies import EVEN, fails, holds_interrupts, mean_ttft, sleeps, workload

TASKS = [Task(EVEN, policy, 2.0) for policy in ("prefix", "round_robin", "lmetric")]


def test_two_processes_give_what_one_gives() -> None:
    work = workload(requests=100)
    with Processes(work, 1) as alone, Processes(work, 2) as together:
        assert list(together.map(simulate, TASKS)) == list(alone.map(simulate, TASKS))
        assert next(together.map(mean_ttft, TASKS)) > 0  # the others are not waited for
        with pytest.raises(LookupError, match="rag prefix"):
            list(together.map(fails, TASKS))
    assert multiprocessing.active_children() == []


def test_leaving_by_an_exception_ends_the_processes_at_once() -> None:
    started = monotonic()

    def leave() -> None:
        with Processes(workload(), 2) as processes:
            next(processes.map(mean_ttft, TASKS[:1]))
            processes.map(sleeps, TASKS)
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        leave()
    assert monotonic() - started < 50
    assert multiprocessing.active_children() == []


def test_interrupts_are_the_parent_s_to_handle() -> None:
    with Processes(workload(requests=1), 2) as processes:
        assert list(processes.map(holds_interrupts, TASKS[:1])) == [True]
    assert not holds_interrupts(workload(requests=1), TASKS[0])


def test_one_job_works_here_and_only_when_asked() -> None:
    work = workload()
    with Processes(work, 1) as processes:
        results = processes.map(fails, TASKS)
        with pytest.raises(LookupError):
            next(results)


def test_there_is_a_core() -> None:
    assert available_cores() >= 1


def test_failing_workers_are_no_news_meanwhile(caplog: pytest.LogCaptureFixture) -> None:
    logger = logging.getLogger("router.fleet.fleet")
    with quiet():
        logger.warning("worker 1 is down")
    assert caplog.records == []
    logger.warning("worker 2 is down")
    assert caplog.messages == ["worker 2 is down"]

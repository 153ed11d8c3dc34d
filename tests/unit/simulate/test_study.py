"""A plan becomes tasks, and tasks outcomes, however many processes there are."""

from dataclasses import replace

import pytest

from router.simulate.outcome import Outcome
from router.simulate.processes import Processes
from router.simulate.run_options import Outage
from router.simulate.scenario import KNOWLEDGE
from router.simulate.study import Plan, pace, setting, study
from router.simulate.workload import Workload
from tests.unit.simulate.studies import EVEN, POLICIES, study_of, workload


def test_loads_are_parts_of_the_capacity() -> None:
    tasks = Plan(EVEN, POLICIES, [0.5, 2.0], 3.0).tasks()
    assert [(task.policy, task.load, task.speed) for task in tasks] == [
        ("prefix", 0.5, 1.5),
        ("round_robin", 0.5, 1.5),
        ("prefix", 2.0, 6.0),
        ("round_robin", 2.0, 6.0),
    ]
    assert all(task.scenario is EVEN for task in tasks)


def test_without_a_capacity_levels_are_speeds() -> None:
    tasks = Plan(EVEN, ["prefix"], [0.5, 2.0]).tasks()
    assert [(task.load, task.speed) for task in tasks] == [(None, 0.5), (None, 2.0)]


def test_a_study_is_the_same_in_one_process_and_in_two() -> None:
    work, plan = workload(), Plan(EVEN, POLICIES, [0.5, 2.0], 1.5)
    done: list[Outcome] = []
    with Processes(work, 2) as processes:
        together = study(work, plan, processes, done.append)
    assert list(together.outcomes) == done
    assert together == study_of(work, levels=plan.levels)
    assert together.requests == 300


def test_levels_come_together() -> None:
    levels = list(study_of(workload(requests=50)).levels())
    assert [[(each.load, each.policy) for each in level] for level in levels] == [
        [(0.5, "prefix"), (0.5, "round_robin")],
        [(2.0, "prefix"), (2.0, "round_robin")],
    ]


def test_the_setting_says_what_is_asked_of_whom() -> None:
    assert setting(workload(), EVEN) == "300 requests of rag to 2 workers (h100-8b), seed 1"


def test_the_setting_says_what_is_not_as_usual() -> None:
    odd = replace(
        EVEN,
        seed=3,
        knowledge="none",
        metrics_s=2.0,
        slow={1: 0.3},
        outages=(Outage(0, 1.0, 2.5),),
        routers=3,
    )
    assert setting(workload(requests=50), odd) == (
        "50 requests of rag to 2 workers (h100-8b), seed 3, 3 routers that share what they know after 5 ms, "
        "no index, metrics 2 s old, worker 1 at 0.3x, "
        "worker 0 down 1-2.5 s"
    )


def test_everything_the_index_can_go_by_has_words() -> None:
    said = {setting(workload(requests=1), replace(EVEN, knowledge=name)) for name in KNOWLEDGE}
    assert len(said) == len(KNOWLEDGE)


def test_the_pace() -> None:
    work = workload()
    rate = 300 / work.sessions[-1].start_s
    assert pace(work, 2.0) == f"{2 * rate:.3g} requests/s"
    assert pace(workload("agent"), 1.0).endswith(" sessions/s")


@pytest.mark.parametrize("sessions", [[], workload(requests=1).sessions[:1]], ids=["none", "one"])
def test_the_pace_of_what_has_none(sessions: list[object]) -> None:
    work = Workload("some", 64, 1, list(sessions))  # type: ignore[arg-type]
    if work.sessions:
        assert pace(work, 1.0) == f"{1 / work.sessions[0].start_s:.3g} requests/s"
    else:
        assert pace(work, 1.0) == "all at once"

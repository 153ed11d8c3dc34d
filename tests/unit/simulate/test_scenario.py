"""A run is what its task says."""

from dataclasses import replace

import pytest

from router.simulate.hardware import PRESETS
from router.simulate.run_options import Outage
from router.simulate.scenario import Scenario, Task, carry_out, left_out
from tests.unit.simulate.studies import EVEN, HARDWARE, workload

WORK = workload(requests=150)


def run(scenario: Scenario = EVEN, policy: str = "prefix", speed: float = 2.0) -> float:
    return carry_out(WORK, Task(scenario, policy, speed)).mean_ttft


def test_the_same_task_gives_the_same_result() -> None:
    task = Task(EVEN, "prefix", 2.0, 0.8)
    first, second = carry_out(WORK, task), carry_out(WORK, task)
    assert first.records == second.records
    assert (first.policy, first.load, first.hardware) == ("prefix", 0.8, HARDWARE)
    assert len(first.records) == 150


@pytest.mark.parametrize(
    "worse",
    [
        replace(EVEN, workers=1),
        replace(EVEN, slow={1: 0.2}),
        replace(EVEN, outages=(Outage(0, 2.0, 10.0),)),
        replace(EVEN, knowledge="none"),
        replace(EVEN, hardware=PRESETS["l4-8b"]),
    ],
    ids=["workers", "slow", "outage", "knowledge", "hardware"],
)
def test_what_is_worse_takes_longer(worse: Scenario) -> None:
    assert run(worse) > 1.05 * run()


def test_the_age_of_metrics_reaches_the_run() -> None:
    assert run(replace(EVEN, metrics_s=3.0), "llmd") != run(policy="llmd")


def test_ties_depend_on_the_seed() -> None:
    def workers(seed: int) -> list[int]:
        task = Task(replace(EVEN, seed=seed), "random", 1.0)
        return [record.worker for record in carry_out(WORK, task).records]

    assert workers(1) == workers(1) != workers(2)


def test_a_run_that_takes_too_long_ends_early() -> None:
    task = Task(EVEN, "lmetric", 20.0, patience_s=50.0)
    result = carry_out(WORK, task)
    waited_s = sum(record.ttft_s for record in result.records)
    assert 0 < len(result.records) < 150
    assert waited_s > 50.0 >= waited_s - result.records[-1].ttft_s


def test_an_even_fleet_has_nothing_wrong() -> None:
    wrong = Scenario(HARDWARE, 2, 7, "none", 3.0, {0: 0.5}, (Outage(0, 1.0, 2.0),), routers=3)
    assert wrong.even() == Scenario(HARDWARE, 2, 7)


def test_routers_reach_the_run() -> None:
    several = replace(EVEN, routers=3)
    figures = {
        run(scenario)
        for scenario in (
            EVEN,
            several,
            replace(several, sharing="nothing"),
            replace(several, sharing_s=0.2),
        )
    }
    assert len(figures) == 4


def test_who_is_before_the_fleet() -> None:
    several = replace(EVEN, routers=3, sharing_s=0.05)
    assert EVEN.before() == ""
    assert several.before() == "3 routers that share what they know after 50 ms"
    assert replace(several, sharing="nothing").before() == "3 routers that share nothing"


@pytest.mark.parametrize("name", ["rag", "agent"])
def test_what_is_left_out_is_known_before(name: str) -> None:
    """In sessions, what comes after too large a request is left out with it."""
    work = workload(name, 200)
    requests = sum(1 for _ in work.calls())
    assert left_out(work, HARDWARE) == 0
    tiny = replace(HARDWARE, kv_tokens=12_000)
    large = sum(call.prompt_tokens + call.output_tokens > 10_800 for call in work.calls())
    out = left_out(work, tiny)
    assert 0 < large <= out < requests
    result = carry_out(work, Task(replace(EVEN, hardware=tiny), "prefix", 1.0))
    assert result.dropped == out
    assert len(result.records) + out == requests

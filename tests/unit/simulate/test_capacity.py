"""Load 1 is found where the objective begins to be missed."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest

from router.simulate.capacity import REFERENCE, CapacityError, find_capacity, speed_of_load_1
from router.simulate.processes import Processes
from router.simulate.scenario import Task, carry_out
from tests.unit.simulate.studies import EVEN, HARDWARE, workload


class Threshold:
    """Speeds from `at` on miss the objective."""

    def __init__(self, at: float) -> None:
        self.at = at
        self.asked: list[float] = []

    def __call__(self, speeds: Sequence[float]) -> Iterator[bool]:
        for speed in speeds:
            self.asked.append(speed)
            yield speed >= self.at


@pytest.mark.parametrize("at", [0.0004, 0.013, 0.5, 0.51, 1.0, 1.01, 2.64, 75.0, 4000.0])
def test_it_is_found(at: float) -> None:
    assert find_capacity(Threshold(at)) == pytest.approx(at, rel=0.003)


def test_it_has_four_digits() -> None:
    found = find_capacity(Threshold(2.6412345))
    assert found == float(f"{found:.4g}")


def test_no_more_is_asked_than_needed() -> None:
    threshold = Threshold(1.2)
    find_capacity(threshold)
    assert threshold.asked[:3] == [1.0, 2.0, 2**0.25]
    assert len(threshold.asked) <= 2 + 4 * 3


@pytest.mark.parametrize(("at", "reason"), [(1e9, "below"), (0.0, "above")])
def test_there_may_be_none(at: float, reason: str) -> None:
    with pytest.raises(CapacityError, match=reason):
        find_capacity(Threshold(at))


def test_the_objective_is_met_below_and_missed_above() -> None:
    work, objective_s = workload("none"), HARDWARE.slo_ttft_s
    with Processes(work, 1) as processes:
        speed = speed_of_load_1(work, EVEN, processes)
    below, above = (
        carry_out(work, Task(EVEN, REFERENCE, factor * speed)).mean_ttft for factor in (0.9, 1.1)
    )
    assert below < objective_s < above


def test_it_is_that_of_an_even_fleet() -> None:
    work = workload("none", 100)
    with Processes(work, 1) as processes:
        even = speed_of_load_1(work, EVEN, processes)
        assert speed_of_load_1(work, replace(EVEN, slow={0: 0.1}), processes) == even


def test_the_error_names_the_objective() -> None:
    work = workload("none", 3)
    with (
        Processes(work, 1) as processes,
        pytest.raises(CapacityError, match="is below the objective of 2 s"),
    ):
        speed_of_load_1(work, EVEN, processes)

"""All of it together."""

import pytest

from tests.unit.sizing.questions import NAMES, sizing


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("gpu", ["l4", "h200"])
def test_every_model_gets_an_answer(name: str, gpu: str) -> None:
    made = sizing(name, gpu, 8)
    assert (made.fleet is None) is (not made.plan.fits)


def test_a_rate_is_turned_into_workers() -> None:
    made = sizing(rate=1.0)
    assert made.fleet is not None
    assert made.fleet.by_prefix is not None
    assert made.fleet.round_robin is not None
    assert made.fleet.round_robin.workers > made.fleet.by_prefix.workers > 1


def test_without_a_rate_there_is_what_the_fleet_keeps_up_with() -> None:
    made = sizing(gpus=4)
    assert made.fleet is not None
    assert made.fleet.by_prefix is None
    assert made.fleet.capacity > made.fleet.capacity_round_robin > 0


def test_what_does_not_fit_has_no_fleet() -> None:
    made = sizing("llama-3.3-70b")
    assert (made.plan.fits, made.fleet, made.tier, made.disaggregation) == (False, None, None, None)


def test_an_encoder_is_asked_for_no_answer() -> None:
    made = sizing("bge-m3", context=512)
    assert (made.wanted.output, made.wanted.shared) == (0, 0.0)
    assert made.worker.misses() == []

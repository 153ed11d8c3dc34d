"""How many workers a rate takes."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.sizing.fleet import BUSY, batch, capacity, load, needed
from tests.unit.sizing.questions import worker


def test_the_step_meets_the_objective_and_one_more_would_not() -> None:
    made = worker(gpu="h100")
    best = batch(made)
    assert made.speed.step_s(best, 20_500) <= 0.05
    assert best == made.at_once or made.speed.step_s(best + 1, 20_500) > 0.05


def test_where_the_objective_cannot_be_met_what_fits_runs() -> None:
    made = worker(tpot_s=0.001)
    assert batch(made) == made.at_once


def test_one_worker_has_all_either_way() -> None:
    assert load(worker(), 1, 0.05, by_prefix=True) == load(worker(), 1, 0.05, by_prefix=False)


def test_by_prefix_more_of_the_prefixes_are_found() -> None:
    home, any_ = (load(worker(), 10, 0.5, by_prefix=each) for each in (True, False))
    assert home.hit_rate == pytest.approx(0.6)
    assert any_.hit_rate < 0.25
    assert home.prefill < any_.prefill
    assert home.decode == any_.decode


def test_nothing_shared_is_nothing_found() -> None:
    made = load(worker(shared=0.0), 4, 0.5, by_prefix=True)
    assert made.hit_rate == 0


def test_the_fewest_workers_are_found() -> None:
    made = needed(worker(), 2.0, by_prefix=True)
    assert made is not None
    assert made.busy <= BUSY
    assert load(worker(), made.workers - 1, 2.0, by_prefix=True).busy > BUSY
    other = needed(worker(), 2.0, by_prefix=False)
    assert other is not None
    assert other.workers > made.workers


def test_what_no_fleet_keeps_up_with() -> None:
    assert needed(worker(), 1e9, by_prefix=True) is None


def test_which_part_is_the_larger_one() -> None:
    assert load(worker(output=2), 4, 0.5, by_prefix=False).bound == "prefill"
    assert load(worker(context=100), 4, 0.5, by_prefix=True).bound == "decode"


def test_an_encoder_only_prefills() -> None:
    made = load(worker("bge-m3", context=512, output=0, shared=0.0), 1, 10, by_prefix=True)
    assert made.decode == 0
    assert 0 < made.prefill < BUSY


@settings(max_examples=30)
@given(shared=st.floats(0, 1), prefixes=st.integers(1, 1000), workers=st.integers(1, 16))
def test_routing_by_prefix_never_keeps_up_with_less(
    shared: float, prefixes: int, workers: int
) -> None:
    made = worker(gpu="h100", shared=shared, prefixes=prefixes)
    by_prefix = capacity(made, workers, by_prefix=True)
    assert by_prefix >= capacity(made, workers, by_prefix=False) * 0.999
    assert load(made, workers, by_prefix * 0.999, by_prefix=True).busy <= BUSY * 1.01

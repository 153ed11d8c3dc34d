"""Predicted prefill times and the scales learned from observed ones."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.ids import WorkerId
from router.routing.cost import SECONDS_PER_TOKEN, Rates, prefill_seconds

A, B, C = (WorkerId(name) for name in "abc")
tokens = st.floats(1, 1e6)
seconds = st.floats(1e-4, 1e3)


@given(tokens, tokens)
def test_more_to_prefill_takes_longer(few: float, more: float) -> None:
    few, more = sorted((few, more))
    assert prefill_seconds(few, 0) <= prefill_seconds(more, 0)


@given(tokens, st.floats(0, 1), st.floats(0, 1))
def test_more_cached_takes_less(size: float, less: float, more: float) -> None:
    less, more = sorted((less * (size - 1), more * (size - 1)))
    assert prefill_seconds(size, more) <= prefill_seconds(size, less) * (1 + 1e-9)


@given(tokens, st.floats(0, 2e6))
def test_at_least_one_token_is_computed(size: float, cached: float) -> None:
    assert prefill_seconds(size, cached) >= SECONDS_PER_TOKEN


def test_attention_to_what_is_cached_costs_something() -> None:
    assert prefill_seconds(101_000, 100_000) > 2 * prefill_seconds(1000, 0)


def learned(rates: Rates, worker: WorkerId, factor: float, times: int = 200) -> None:
    for _ in range(times):
        rates.learn(worker, 0.1, 0.1 * factor)


def test_nothing_known_is_scale_one() -> None:
    assert Rates().scale(A) == 1.0


def test_a_scale_is_observed_over_predicted() -> None:
    rates = Rates()
    learned(rates, A, 3.0)
    assert rates.scale(A) == pytest.approx(3.0, rel=0.05)


def test_one_sample_moves_a_scale_a_little_way() -> None:
    rates = Rates()
    rates.learn(A, 0.01, 1.0)
    assert 1.0 < rates.scale(A) < 100


def test_old_samples_are_forgotten() -> None:
    rates = Rates()
    learned(rates, A, 10.0)
    learned(rates, A, 1.0, times=500)
    assert rates.scale(A) == pytest.approx(1.0, rel=0.05)


def test_an_unknown_worker_is_taken_for_a_middling_one() -> None:
    rates = Rates()
    learned(rates, A, 4.0)
    assert rates.scale(B) == rates.scale(A)


def test_small_differences_are_noise() -> None:
    rates = Rates()
    for worker, factor in ((A, 0.9), (B, 1.0), (C, 1.15)):
        learned(rates, worker, factor)
    assert rates.scale(A) == rates.scale(B) == rates.scale(C)


def test_large_differences_are_not() -> None:
    rates = Rates()
    for worker, factor in ((A, 1.0), (B, 1.0), (C, 3.0)):
        learned(rates, worker, factor)
    assert rates.scale(A) == rates.scale(B)
    assert rates.scale(C) == pytest.approx(3.0, rel=0.05)


def test_a_worker_that_left_counts_no_more() -> None:
    rates = Rates()
    learned(rates, A, 1.0)
    learned(rates, B, 9.0)
    rates.forget(B)
    rates.forget(C)
    assert rates.scale(B) == rates.scale(A) == pytest.approx(1.0, rel=0.05)
    rates.forget(A)
    assert rates.scale(A) == 1.0


@given(st.lists(st.tuples(st.sampled_from([A, B, C]), seconds, seconds), max_size=30))
def test_scales_stay_between_what_was_seen(samples: list[tuple[WorkerId, float, float]]) -> None:
    rates = Rates()
    for worker, predicted, observed in samples:
        rates.learn(worker, predicted, observed)
    ratios = [observed / predicted for _, predicted, observed in samples] + [1.0]
    for worker in (A, B, C):
        assert min(ratios) * 0.99 <= rates.scale(worker) <= max(ratios) * 1.01


def test_one_stall_is_not_a_slow_worker() -> None:
    rates = Rates()
    for _ in range(200):
        for worker in (A, B, C):
            rates.learn(worker, 0.1, 0.1)
    rates.learn(A, 0.1, 30.0)
    assert rates.scale(A) < 1.5


def test_who_was_slow_once_is_tried_again() -> None:
    """Without traffic there are no samples that could say that it is well again."""
    rates = Rates()
    for _ in range(50):
        rates.learn(A, 0.1, 5.0)
        rates.learn(B, 0.1, 0.1)
        rates.learn(C, 0.1, 0.1)
    assert rates.scale(A) > 10
    for _ in range(10 * 60):
        rates.relax(1.0)
    assert rates.scale(A) < 1.5


def test_a_first_sample_is_held_against_the_fleet() -> None:
    rates = Rates()
    for _ in range(50):
        rates.learn(B, 0.1, 0.1)
    rates.learn(A, 0.1, 1000.0)
    assert rates.scale(A) <= 4.0

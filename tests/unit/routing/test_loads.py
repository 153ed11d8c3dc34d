"""Seconds to load blocks from lower tiers: assumed at first, then as observed."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.ids import Tier
from router.routing.cost import EngineModel
from router.routing.loads import LoadRates

LOWER = [Tier.CPU, Tier.DISK, Tier.REMOTE]
lower = pytest.mark.parametrize("tier", LOWER)


def test_what_is_in_the_worker_s_own_memory_is_not_loaded() -> None:
    assert LoadRates().seconds(Tier.GPU, 10_000, 1.0) == 0.0


@lower
def test_loading_is_taken_to_be_cheaper_than_computing(tier: Tier) -> None:
    """Else a tier would never be tried."""
    assert 0 < LoadRates().seconds(tier, 1000, 1.0) < EngineModel().prefill_s(1000, 0.0)


def test_what_is_near_is_taken_to_be_faster_than_what_is_far() -> None:
    rates = LoadRates()
    assert rates.seconds(Tier.CPU, 1000, 1.0) < rates.seconds(Tier.DISK, 1000, 1.0)


@lower
def test_a_tier_that_was_never_used_is_as_slow_as_its_worker(tier: Tier) -> None:
    rates = LoadRates()
    assert rates.seconds(tier, 1000, 4.0) == pytest.approx(4 * rates.seconds(tier, 1000, 1.0))
    assert rates.per_token_s() == {}


@lower
@pytest.mark.parametrize("scale", [0.25, 1.0, 5.0])
@pytest.mark.parametrize("factor", [0.01, 0.5, 1.0, 20.0])
def test_what_is_observed_is_learned(tier: Tier, scale: float, factor: float) -> None:
    rates, tokens = LoadRates(), 5000
    truth = factor * rates.seconds(tier, tokens, 1.0)
    for _ in range(200):
        rates.learn(tier, tokens, truth, scale)
    assert rates.seconds(tier, tokens, scale) == pytest.approx(truth, rel=0.01)
    assert rates.seconds(tier, 2 * tokens, 77.0) == pytest.approx(2 * truth, rel=0.01)
    assert rates.per_token_s() == {tier.value: pytest.approx(truth / tokens, rel=0.01)}


@lower
def test_tiers_are_learned_apart(tier: Tier) -> None:
    rates = LoadRates()
    before = {other: rates.seconds(other, 1000, 1.0) for other in LOWER if other is not tier}
    for _ in range(50):
        rates.learn(tier, 1000, 1.0, 1.0)
    assert {other: rates.seconds(other, 1000, 1.0) for other in before} == before
    assert list(rates.per_token_s()) == [tier.value]


@lower
def test_a_change_is_followed(tier: Tier) -> None:
    rates = LoadRates()
    for seconds in (0.01, 0.1):
        for _ in range(100):
            rates.learn(tier, 5000, seconds, 1.0)
        assert rates.seconds(tier, 5000, 1.0) == pytest.approx(seconds, rel=0.01)


@given(st.sampled_from(LOWER), st.floats(1, 1e6), st.floats(-1e3, 1e3), st.floats(0.01, 100))
def test_one_sample_moves_it_by_tenfold_at_most(
    tier: Tier, tokens: float, observed_s: float, scale: float
) -> None:
    rates = LoadRates()
    before = rates.seconds(tier, tokens, scale)
    rates.learn(tier, tokens, observed_s, scale)
    after = rates.seconds(tier, tokens, scale)
    assert before / 10.001 <= after <= before * 10.001


@given(st.lists(st.tuples(st.floats(0, 1e5), st.floats(-10, 10)), max_size=50))
def test_it_is_never_less_than_nothing(samples: list[tuple[float, float]]) -> None:
    rates = LoadRates()
    for tokens, seconds in samples:
        rates.learn(Tier.CPU, tokens, seconds, 1.0)
    assert rates.seconds(Tier.CPU, 1000, 1.0) > 0

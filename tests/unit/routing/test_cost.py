"""What a request costs, and the scales learned from first tokens."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.fleet.worker import Worker
from router.ids import WorkerId
from router.routing.cost import CostModel, EngineModel, Rates
from tests.unit.routing.loads import busy_workers, learned
from tests.unit.routing.table import NOW, decode, prefill
from tests.unit.support import workers_of

A, B, C = (WorkerId(name) for name in "abc")
ENGINE = EngineModel()
tokens = st.floats(1, 1e6)
seconds = st.floats(1e-4, 1e3)


class TestEngineModel:
    @given(tokens, tokens)
    def test_more_to_prefill_takes_longer(self, few: float, more: float) -> None:
        few, more = sorted((few, more))
        assert ENGINE.prefill_s(few, 0) <= ENGINE.prefill_s(more, 0)

    @given(tokens, st.floats(0, 1), st.floats(0, 1))
    def test_more_cached_takes_less(self, size: float, less: float, more: float) -> None:
        less, more = sorted((less * (size - 1), more * (size - 1)))
        assert ENGINE.prefill_s(size, more) <= ENGINE.prefill_s(size, less) * (1 + 1e-9)

    @given(tokens, st.floats(0, 2e6))
    def test_at_least_one_token_is_computed(self, size: float, cached: float) -> None:
        assert ENGINE.prefill_s(size, cached) >= ENGINE.token_s

    def test_attention_to_what_is_cached_costs_something(self) -> None:
        assert ENGINE.prefill_s(101_000, 100_000) > 2 * ENGINE.prefill_s(1000, 0)

    @given(tokens, st.floats(0.01, 0.99))
    def test_in_two_parts_it_takes_as_long(self, size: float, share: float) -> None:
        """A chunked prefill is the same work."""
        first = size * share
        if first < 1.0 or size - first < 1.0:
            return
        parts = ENGINE.prefill_s(first, 0.0) + ENGINE.prefill_s(size, first)
        assert parts == pytest.approx(ENGINE.prefill_s(size, 0.0))


def costs(
    cost: CostModel, workers: list[Worker], *, tokens: float = 5000.0, now: float = NOW
) -> list[float]:
    """Of a prompt that nobody holds."""
    cold, found = cost.engine.prefill_s(tokens, 0.0), []
    for worker in workers:
        base, per_prefill, per_token, _ = cost.terms(worker, now)
        found.append(base + cold * per_prefill + tokens * per_token)
    return found


class TestCostModel:
    def test_an_idle_worker_costs_the_prefill_and_a_step(self) -> None:
        cost = CostModel(Rates(), harm=0.0)
        (own,) = costs(cost, workers_of("a"))
        steps = (own - ENGINE.prefill_s(5000, 0)) / ENGINE.step_s
        assert 1.0 <= steps <= 2.0

    def test_work_before_it_costs_its_time(self) -> None:
        a, b = workers_of("a", "b")
        decode(a)
        prefill(b, seconds=2.0)
        free, busy = costs(CostModel(Rates()), [a, b])
        assert busy - free == pytest.approx(2.0)

    def test_what_runs_meanwhile_is_no_work_any_more(self) -> None:
        (a,) = workers_of("a")
        prefill(a, seconds=2.0)
        before, after = (costs(CostModel(Rates()), [a], now=NOW + at)[0] for at in (0.0, 1.0))
        assert before - after == pytest.approx(1.0)

    @pytest.mark.parametrize("context", [0.0, 10_000.0])
    def test_more_answers_that_run_cost_more(self, context: float) -> None:
        workers = workers_of("a", "b", "c")
        for count, worker in enumerate(workers):
            decode(worker, count * 10, context=context)
        found = costs(CostModel(Rates()), workers)
        assert all(less < more for less, more in pairwise(found))

    def test_prefill_harms_whom_it_holds_up(self) -> None:
        """So what has to be computed keeps clear of running answers more than what is cached."""
        a, b = workers_of("a", "b")
        decode(a, 20)
        cost = CostModel(Rates())
        assert cost.terms(a, NOW)[1] > cost.terms(b, NOW)[1]

    def test_a_long_context_harms_whom_it_joins(self) -> None:
        a, b = workers_of("a", "b")
        decode(a, 20)
        cost = CostModel(Rates())
        assert cost.terms(a, NOW)[2] > cost.terms(b, NOW)[2]

    def test_without_harm_a_prefill_costs_only_itself(self) -> None:
        (a,) = workers_of("a")
        decode(a, 20)
        cost = CostModel(Rates(), harm=0.0)
        learned(cost.rates, {a: 2.0})
        _, per_prefill, per_token, scale = cost.terms(a, NOW)
        assert (per_prefill, per_token) == (scale, 0.0)
        assert scale == pytest.approx(2.0, rel=0.01)

    def test_a_slow_worker_s_own_seconds_count(self) -> None:
        a, b = workers_of("a", "b")
        cost = CostModel(Rates())
        learned(cost.rates, {a: 1.0, b: 3.0})
        fast, slow = costs(cost, [a, b])
        assert slow == pytest.approx(3 * fast, rel=0.01)

    @given(busy_workers(), st.data())
    def test_constants_that_are_off_give_the_same_costs(
        self, workers: list[Worker], data: st.DataObject
    ) -> None:
        """Scales make up for them: it is as if the model had been right."""
        speeds = st.sampled_from([0.5, 1.0, 3.0])
        factors = {worker: data.draw(speeds) for worker in workers}
        right = CostModel(Rates())
        learned(right.rates, factors)
        for off in (0.5, 2.0):
            engine = EngineModel(
                *(getattr(ENGINE, field) * off for field in ENGINE.__struct_fields__)
            )
            wrong = CostModel(Rates(), engine)
            learned(wrong.rates, {worker: factor / off for worker, factor in factors.items()})
            assert costs(wrong, workers) == pytest.approx(costs(right, workers), rel=0.01)

    def test_answers_are_taken_to_be_as_long_as_they_were(self) -> None:
        cost = CostModel(Rates())
        for _ in range(1000):
            cost.answered(40)
        assert cost.mean_answer == pytest.approx(40, rel=0.01)
        cost.answered(4000)
        assert cost.mean_answer < 100, "one says little"

    def test_long_answers_are_harmed_more(self) -> None:
        a, b = workers_of("a", "b")
        decode(a, 20, context=1000.0)
        short, long = CostModel(Rates()), CostModel(Rates())
        for _ in range(1000):
            short.answered(10)
            long.answered(2000)
        gaps = [busy - free for busy, free in (costs(cost, [a, b]) for cost in (short, long))]
        assert gaps[1] > gaps[0]


def taught(rates: Rates, worker: WorkerId, factor: float, times: int = 200) -> None:
    for _ in range(times):
        rates.learn(worker, 0.1, 0.1 * factor)


class TestRates:
    def test_nothing_known_is_scale_one(self) -> None:
        assert Rates().scale(A) == 1.0

    def test_a_scale_is_observed_over_predicted(self) -> None:
        rates = Rates()
        taught(rates, A, 3.0)
        assert rates.scale(A) == pytest.approx(3.0, rel=0.05)

    def test_one_sample_moves_a_scale_a_little_way(self) -> None:
        rates = Rates()
        rates.learn(A, 0.01, 1.0)
        assert 1.0 < rates.scale(A) < 100

    @pytest.mark.parametrize("predicted_s", [0.02, 0.1, 1.0])
    def test_fast_and_slow_ones_are_found_within_20_requests(self, predicted_s: float) -> None:
        rates = Rates()
        factors = {**dict.fromkeys(map(WorkerId, "cdefgh"), 1.0), A: 0.5, B: 3.0}
        for _ in range(20):
            for worker, factor in factors.items():
                rates.learn(worker, predicted_s, predicted_s * factor)
        assert rates.scale(A) == pytest.approx(0.5, rel=0.15)
        assert rates.scale(B) == pytest.approx(3.0, rel=0.15)
        assert {rates.scale(WorkerId(name)) for name in "cdefgh"} == {rates.middle}

    def test_old_samples_are_forgotten(self) -> None:
        rates = Rates()
        taught(rates, A, 10.0)
        taught(rates, A, 1.0, times=500)
        assert rates.scale(A) == pytest.approx(1.0, rel=0.05)

    def test_an_unknown_worker_is_taken_for_a_middling_one(self) -> None:
        rates = Rates()
        taught(rates, A, 4.0)
        rates.relax(0.0)
        assert rates.scale(B) == rates.scale(A)

    def test_small_differences_are_noise(self) -> None:
        rates = Rates()
        for worker, factor in ((A, 0.9), (B, 1.0), (C, 1.15)):
            taught(rates, worker, factor)
        assert rates.scale(A) == rates.scale(B) == rates.scale(C)

    def test_large_differences_are_not(self) -> None:
        rates = Rates()
        for worker, factor in ((A, 1.0), (B, 1.0), (C, 3.0)):
            taught(rates, worker, factor)
        assert rates.scale(A) == rates.scale(B)
        assert rates.scale(C) == pytest.approx(3.0, rel=0.05)

    def test_a_fleet_that_idles_stays_as_fast_as_it_was(self) -> None:
        rates = Rates()
        taught(rates, A, 4.0)
        for _ in range(100):
            rates.relax(60.0)
        assert rates.scale(A) == rates.scale(B) == pytest.approx(4.0, rel=0.05)

    def test_nothing_is_kept_for_ever_of_who_answers_after_it_left(self) -> None:
        rates = Rates()
        for number in range(100):
            worker = WorkerId(f"pod-{number}")
            rates.learn(worker, 0.1, 0.1)
            rates.forget(worker)
            rates.learn(worker, 0.1, 0.1)
        for _ in range(100):
            rates.relax(60.0)
        assert not rates.scales

    def test_a_worker_that_left_counts_no_more(self) -> None:
        rates = Rates()
        taught(rates, A, 1.0)
        taught(rates, B, 9.0)
        rates.forget(B)
        rates.forget(C)
        assert rates.scale(B) == rates.scale(A) == pytest.approx(1.0, rel=0.05)
        rates.forget(A)
        assert rates.scale(A) == 1.0

    @given(st.lists(st.tuples(st.sampled_from([A, B, C]), seconds, seconds), max_size=30))
    def test_scales_stay_between_what_was_seen(
        self, samples: list[tuple[WorkerId, float, float]]
    ) -> None:
        rates = Rates()
        for worker, predicted, observed in samples:
            rates.learn(worker, predicted, observed)
        ratios = [observed / predicted for _, predicted, observed in samples] + [1.0]
        for worker in (A, B, C):
            assert min(ratios) * 0.99 <= rates.scale(worker) <= max(ratios) * 1.01

    def test_one_stall_is_not_a_slow_worker(self) -> None:
        rates = Rates()
        for _ in range(200):
            for worker in (A, B, C):
                rates.learn(worker, 0.1, 0.1)
        rates.learn(A, 0.1, 30.0)
        assert rates.scale(A) == rates.scale(B)

    @pytest.mark.parametrize("usual", [0.2, 1.0, 5.0])
    def test_who_was_slow_once_is_tried_again(self, usual: float) -> None:
        """Without traffic there are no samples that could say that it is well again."""
        rates = Rates()
        for _ in range(50):
            for worker, factor in ((A, 50.0), (B, 1.0), (C, 1.0)):
                rates.learn(worker, 0.1, 0.1 * factor * usual)
        assert rates.scale(A) > 10 * rates.scale(B)
        for _ in range(10 * 60):
            rates.relax(1.0)
        assert rates.scale(A) < 1.5 * rates.scale(B)
        assert rates.scale(B) == pytest.approx(usual, rel=0.25)

    @given(st.floats(0.1, 1000.0), st.integers(1, 20))
    def test_time_passes_alike_in_one_step_or_many(self, elapsed_s: float, steps: int) -> None:
        one, many = Rates(), Rates()
        for rates in (one, many):
            for worker, factor in ((A, 5.0), (B, 1.0), (C, 1.0)):
                taught(rates, worker, factor, times=20)
        one.relax(elapsed_s)
        for _ in range(steps):
            many.relax(elapsed_s / steps)
        assert many.scale(A) == pytest.approx(one.scale(A), rel=0.01)

    def test_a_first_sample_is_held_against_the_fleet(self) -> None:
        rates = Rates()
        for _ in range(50):
            rates.learn(B, 0.1, 0.1)
        rates.learn(A, 0.1, 1000.0)
        assert rates.scale(A) <= 4.0

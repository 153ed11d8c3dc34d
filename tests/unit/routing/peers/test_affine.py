"""When a prompt stays with its prefix, and when it does not."""

import pytest

from router.routing.peers.affine import aibrix, llmd_affinity, smetric, smg_events
from router.routing.policy import Choice
from tests.unit.routing.table import Table, decode, prefill
from tests.unit.support import workers_of


class TestSmgEvents:
    def test_any_longer_match_wins(self) -> None:
        a, b = workers_of("a", "b")
        decode(b, 60)
        assert Table(smg_events).choose([a, b], {a.id: 1, b.id: 2}) == Choice(b, "cached")

    def test_equal_matches_go_where_fewer_are_in_flight(self) -> None:
        a, b, c = workers_of("a", "b", "c")
        decode(a, 2)
        decode(b)
        assert Table(smg_events).worker([a, b, c], {a.id: 4, b.id: 4}) is b

    def test_without_a_match_fewest_in_flight(self) -> None:
        a, b = workers_of("a", "b")
        decode(a)
        assert Table(smg_events).choose([a, b]) == Choice(b, "least_inflight")

    @pytest.mark.parametrize(("count", "home"), [(64, True), (65, False)])
    def test_imbalance_breaks_affinity(self, count: int, home: bool) -> None:
        a, b = workers_of("a", "b")
        decode(a, count)
        assert (Table(smg_events).worker([a, b], {a.id: 9}) is a) is home

    def test_a_difference_that_is_small_for_the_load_is_none(self) -> None:
        a, b = workers_of("a", "b")
        decode(a, 270)
        decode(b, 180)
        assert Table(smg_events).worker([a, b], {a.id: 9}) is a


class TestAibrix:
    def test_the_longest_match_wins_then_fewer_in_flight(self) -> None:
        a, b, c = workers_of("a", "b", "c")
        decode(a)
        assert Table(aibrix).worker([a, b, c], {a.id: 5, b.id: 5, c.id: 2}) is b

    @pytest.mark.parametrize(("count", "home"), [(8, True), (9, False)])
    def test_a_spread_above_eight_leaves_only_the_least_loaded(
        self, count: int, home: bool
    ) -> None:
        a, b = workers_of("a", "b")
        decode(a, count)
        assert (Table(aibrix).worker([a, b], {a.id: 9}) is a) is home

    def test_above_mean_and_sigma_the_next_match_counts(self) -> None:
        a, b, c, d = workers_of("a", "b", "c", "d")
        decode(a, 4)  # mean 1, sigma 1.7
        assert Table(aibrix).worker([a, b, c, d], {a.id: 9, b.id: 1}) is b

    def test_if_no_match_qualifies_fewest_in_flight(self) -> None:
        a, b, c = workers_of("a", "b", "c")
        decode(a, 6)
        decode(b)
        assert Table(aibrix).choose([a, b, c], {a.id: 9}) == Choice(c, "least_inflight")


class TestLlmdAffinity:
    def test_eighty_percent_are_sticky_whatever_waits(self) -> None:
        a, b = workers_of("a", "b")
        prefill(a, 200_000.0)
        assert Table(llmd_affinity).choose([a, b], {a.id: 8}) == Choice(a, "cached")

    def test_less_counts_as_tokens_saved_only(self) -> None:
        a, b = workers_of("a", "b")
        prefill(a, 699.0)
        assert Table(llmd_affinity).worker([a, b], {a.id: 7}) is a
        prefill(a, 2.0)
        assert Table(llmd_affinity).choose([a, b], {a.id: 7}) == Choice(b, "least_prefill")

    @pytest.mark.parametrize(("tokens", "home"), [(286_000.0, True), (287_500.0, False)])
    def test_eighteen_seconds_more_break_it(self, tokens: float, home: bool) -> None:
        a, b = workers_of("a", "b")
        prefill(a, tokens)
        assert (Table(llmd_affinity).worker([a, b], {a.id: 10}) is a) is home

    def test_among_sticky_ones_the_fewest_tokens_win(self) -> None:
        a, b, c = workers_of("a", "b", "c")
        prefill(a, 300.0)
        assert Table(llmd_affinity).worker([a, b, c], {a.id: 10, b.id: 8}) is b

    def test_all_may_be_sticky(self) -> None:
        a, b = workers_of("a", "b")
        prefill(a, 1e6)
        assert Table(llmd_affinity).worker([a, b], {a.id: 10, b.id: 10}) is b


class TestSmetric:
    def test_more_than_half_cached_stays(self) -> None:
        a, b = workers_of("a", "b")
        decode(a, 5)
        assert Table(smetric).choose([a, b], {a.id: 6}) == Choice(a, "cached")

    def test_half_is_not_enough(self) -> None:
        a, b = workers_of("a", "b")
        decode(a, 5)
        decode(b)
        assert Table(smetric).choose([a, b], {a.id: 5}) == Choice(b, "least_work")

    @pytest.mark.parametrize(("seconds", "home"), [(1.03, True), (1.06, False)])
    def test_it_moves_when_the_goal_would_be_missed(self, seconds: float, home: bool) -> None:
        a, b = workers_of("a", "b")
        prefill(a, seconds=seconds)  # the goal is 1.0625 s, own prefill 0.012 s
        assert (Table(smetric).worker([a, b], {a.id: 6}) is a) is home

    def test_it_stays_when_nobody_meets_the_goal(self) -> None:
        a, b = workers_of("a", "b")
        prefill(a, seconds=9.0)
        prefill(b, seconds=2.0)
        assert Table(smetric).choose([a, b], {a.id: 6}) == Choice(a, "cached")

    def test_without_a_home_work_times_batch_decides(self) -> None:
        a, b = workers_of("a", "b")
        prefill(a, seconds=0.1)
        decode(b, 6)  # 0.13 * 1 against 0.03 * 6
        assert Table(smetric).choose([a, b]) == Choice(a, "least_work")
        decode(a)
        assert Table(smetric).worker([a, b]) is b

"""The choices of the router's own policies."""

from collections import Counter

import pytest

from router.routing.policies import (
    OWN,
    at_random,
    least_load,
    prefix_direct,
    round_robin,
    session,
)
from router.routing.policy import Choice
from tests.unit.routing.table import Table, decode, prefill
from tests.unit.support import workers_of


@pytest.mark.parametrize("name", ["prefix_direct", "least_load", "random"])
def test_equal_workers_share(name: str) -> None:
    table, workers = Table(OWN[name]), workers_of("a", "b", "c")
    picked = Counter(table.worker(workers).id for _ in range(300))
    assert all(picked[worker.id] > 50 for worker in workers)


class TestPrefixDirect:
    def test_goes_where_the_prefix_is(self) -> None:
        a, b, c = workers_of("a", "b", "c")
        assert Table(prefix_direct).choose([a, b, c], {b.id: 5}) == Choice(b, "cached")

    def test_more_of_the_prefix_is_better(self) -> None:
        a, b = workers_of("a", "b")
        assert Table(prefix_direct).worker([a, b], {a.id: 2, b.id: 7}) is b

    def test_waits_for_the_prefix_only_as_long_as_it_pays(self) -> None:
        a, b = workers_of("a", "b")
        prefill(a, seconds=0.005)
        assert Table(prefix_direct).worker([a, b], {a.id: 9}) is a
        prefill(a, seconds=10.0)
        assert Table(prefix_direct).choose([a, b], {a.id: 9}) == Choice(b, "least_wait")

    def test_without_any_prefix_it_goes_where_least_waits(self) -> None:
        a, b = workers_of("a", "b")
        prefill(a, seconds=1.0)
        prefill(b, seconds=0.5)
        assert Table(prefix_direct).choose([a, b]) == Choice(b, "least_wait")

    def test_fewer_in_flight_are_better(self) -> None:
        a, b = workers_of("a", "b")
        decode(a, 2)
        decode(b)
        assert all(Table(prefix_direct, seed).worker([a, b]) is b for seed in range(20))

    def test_running_answers_with_less_context_are_better(self) -> None:
        a, b = workers_of("a", "b")
        decode(a, context=50_000.0)
        decode(b, context=1_000.0)
        assert Table(prefix_direct).worker([a, b]) is b

    def test_a_slow_worker_s_wait_weighs_more(self) -> None:
        table = Table(prefix_direct)
        a, b, c = workers_of("a", "b", "c")
        for _ in range(200):
            table.cost.rates.learn(a.id, 0.1, 1.0)
            table.cost.rates.learn(b.id, 0.1, 0.1)
            table.cost.rates.learn(c.id, 0.1, 0.1)
        assert table.worker([a, b], {a.id: 5}) is b

    def test_overlaps_of_others_do_not_matter(self) -> None:
        a, b, gone = workers_of("a", "b", "gone")
        assert Table(prefix_direct).choose([a, b], {gone.id: 9}).reason == "least_wait"


class TestLeastLoad:
    def test_goes_where_fewest_are_in_flight(self) -> None:
        a, b, c = workers_of("a", "b", "c")
        decode(a, 2)
        decode(b)
        decode(c, 3)
        assert Table(least_load).choose([a, b, c], {c.id: 9}) == Choice(b, "least_inflight")


class TestRoundRobin:
    def test_takes_turns_in_the_fleet_s_order(self) -> None:
        table, workers = Table(round_robin), workers_of("a", "b", "c")
        in_order = sorted(workers, key=lambda worker: worker.order)
        assert [table.worker(workers[::-1]) for _ in range(6)] == in_order * 2

    def test_each_model_has_its_own_turns(self) -> None:
        table, workers = Table(round_robin), workers_of("a", "b")
        first = [table.worker(workers, model=model) for model in "xyxy"]
        assert first[0] is first[1]
        assert first[2] is first[3]
        assert first[0] is not first[2]


class TestAtRandom:
    def test_takes_no_notice_of_load(self) -> None:
        table, (a, b) = Table(at_random), workers_of("a", "b")
        decode(a, 50)
        picked = Counter(table.worker([a, b]).id for _ in range(200))
        assert picked[a.id] > 60


class TestSession:
    def test_a_session_stays(self) -> None:
        table, workers = Table(session), workers_of("a", "b", "c")
        first = table.choose(workers, session="s")
        assert first.reason == "session"
        decode(first.worker, 50)
        assert table.choose(workers[::-1], session="s") == first
        assert Table(session, seed=2).choose(workers, session="s") == first

    def test_sessions_spread(self) -> None:
        table, workers = Table(session), workers_of("a", "b", "c")
        picked = Counter(table.worker(workers, session=str(n)).id for n in range(300))
        assert all(picked[worker.id] > 60 for worker in workers)

    def test_a_lost_worker_moves_only_its_own_sessions(self) -> None:
        table, workers = Table(session), workers_of("a", "b", "c")
        for number in range(100):
            before = table.worker(workers, session=str(number))
            after = table.worker(workers[:2], session=str(number))
            assert after is before or before is workers[2]

    def test_without_a_session_it_goes_where_fewest_are_in_flight(self) -> None:
        a, b = workers_of("a", "b")
        decode(a)
        assert Table(session).choose([a, b]) == Choice(b, "least_inflight")

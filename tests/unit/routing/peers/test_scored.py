"""The formulas of the scoring algorithms."""

import pytest

from router.routing.peers.scored import dynamo, llmd, lmetric, lpl, power_of_two, waiting
from tests.unit.routing.table import Table, decode, prefill
from tests.unit.support import workers_of


class TestLmetric:
    @pytest.mark.parametrize(("held", "home"), [(7, True), (6, False)])
    def test_multiplies_tokens_by_the_batch(self, held: int, home: bool) -> None:
        a, b = workers_of("a", "b")
        decode(a, 2)  # 300 * 3 or 400 * 3, against 1000 * 1
        assert (Table(lmetric).worker([a, b], {a.id: held}) is a) is home

    @pytest.mark.parametrize(("pending", "home"), [(190.0, True), (210.0, False)])
    def test_adds_tokens_that_wait(self, pending: float, home: bool) -> None:
        a, b = workers_of("a", "b")
        prefill(a, pending)  # (pending + 300) * 2 against 1000 * 1
        assert (Table(lmetric).worker([a, b], {a.id: 7}) is a) is home


class TestLpl:
    @pytest.mark.parametrize(("pending", "home"), [(650.0, True), (750.0, False)])
    def test_adds_tokens_that_wait(self, pending: float, home: bool) -> None:
        a, b = workers_of("a", "b")
        prefill(a, pending)
        assert (Table(lpl).worker([a, b], {a.id: 7}) is a) is home

    def test_running_answers_do_not_count(self) -> None:
        a, b = workers_of("a", "b")
        decode(a, 20, context=5000.0)
        assert Table(lpl).worker([a, b], {a.id: 1}) is a


class TestDynamo:
    @pytest.mark.parametrize(("context", "home"), [(650.0, True), (750.0, False)])
    def test_context_in_flight_counts_like_prefill(self, context: float, home: bool) -> None:
        a, b = workers_of("a", "b")
        decode(a, context=context)
        assert (Table(dynamo).worker([a, b], {a.id: 7}) is a) is home

    def test_a_waiting_prompt_counts_as_both(self) -> None:
        a, b = workers_of("a", "b")
        prefill(a, 400.0, context=400.0)
        assert Table(dynamo).worker([a, b], {a.id: 7}) is b
        decode(b, context=200.0)
        assert Table(dynamo).worker([a, b], {a.id: 7}) is a


class TestLlmd:
    @pytest.mark.parametrize(("held", "home"), [(7, True), (6, False)])
    def test_a_queue_weighs_two_thirds_of_the_prefix(self, held: int, home: bool) -> None:
        a, b = workers_of("a", "b")
        a.load.reported_waiting, b.load.reported_waiting = 3, 1
        assert (Table(llmd).worker([a, b], {a.id: held}) is a) is home

    @pytest.mark.parametrize(("usage", "home"), [(0.74, True), (0.76, False)])
    def test_a_full_cache_weighs_as_much_as_a_queue(self, usage: float, home: bool) -> None:
        a, b = workers_of("a", "b")
        a.load.kv_usage, b.load.kv_usage = usage, 0.0
        assert (Table(llmd).worker([a, b], {a.id: 5}) is a) is home

    def test_only_the_order_of_queues_matters_between_two(self) -> None:
        a, b = workers_of("a", "b")
        a.load.reported_waiting, b.load.reported_waiting = 300, 0
        assert Table(llmd).worker([a, b], {a.id: 7}) is a

    def test_queues_are_scaled_between_the_shortest_and_the_longest(self) -> None:
        a, b, c = workers_of("a", "b", "c")
        for worker, queue in ((a, 10), (b, 4), (c, 0)):
            worker.load.reported_waiting = queue
        # b: 2 * 0.4 + 3 * 0.7 = 2.9, a: 2 * 1 + 3 * 0.3 = 2.9..., c: 3
        assert Table(llmd).worker([a, b, c], {b.id: 3}) is b
        assert Table(llmd).worker([a, b, c], {b.id: 2}) is c

    def test_without_metrics_our_own_waiting_requests_are_the_queue(self) -> None:
        a, b = workers_of("a", "b")
        prefill(a)
        decode(b, 5)
        assert waiting(a.load) == 1
        assert waiting(b.load) == 0
        assert Table(llmd).worker([a, b], {a.id: 6}) is b
        assert Table(llmd).worker([a, b], {a.id: 7}) is a

    def test_what_the_worker_reports_comes_first(self) -> None:
        (a,) = workers_of("a")
        prefill(a)
        a.load.reported_waiting = 0
        assert waiting(a.load) == 0


class TestPowerOfTwo:
    def test_takes_the_less_loaded_of_two(self) -> None:
        a, b = workers_of("a", "b")
        decode(a)
        assert all(Table(power_of_two, seed).worker([a, b]) is b for seed in range(10))

    def test_a_worker_outside_the_draw_is_not_seen(self) -> None:
        a, b, c = workers_of("a", "b", "c")
        decode(b)
        decode(c, 2)
        table = Table(power_of_two)
        assert {table.worker([a, b, c]).id for _ in range(100)} == {a.id, b.id}

"""Preble: what it follows, and how it balances."""

import pytest

from router.routing.peers.preble import WINDOW_S, Window, preble
from router.routing.policy import Choice
from tests.unit.routing.table import NOW, Table, decode
from tests.unit.support import workers_of


class TestWindow:
    def test_sums_per_worker(self) -> None:
        window, (a, b) = Window(), workers_of("a", "b")
        window.add(a.id, 1.0, NOW)
        window.add(a.id, 2.0, NOW + 50)
        window.add(b.id, 4.0, NOW + 60)
        assert window.sums(NOW + 60) == {a.id: 3.0, b.id: 4.0}

    @pytest.mark.parametrize(("age", "left"), [(WINDOW_S - 15, 3.0), (WINDOW_S + 15, 2.0)])
    def test_what_is_old_is_forgotten(self, age: float, left: float) -> None:
        window, (a,) = Window(), workers_of("a")
        window.add(a.id, 1.0, NOW)
        for step in range(1, int(age), 7):
            window.add(a.id, 0.0, NOW + step)
        window.add(a.id, 2.0, NOW + age)
        assert window.sums(NOW + age) == {a.id: left}

    def test_after_a_long_pause_nothing_is_left(self) -> None:
        window, (a,) = Window(), workers_of("a")
        window.add(a.id, 1.0, NOW)
        assert window.sums(NOW + WINDOW_S) == {}

    def test_its_size_does_not_grow(self) -> None:
        window, workers = Window(), workers_of(*[f"w{n}" for n in range(200)])
        for number in range(2000):
            window.add(workers[number // 10].id, 1.0, NOW + number)
        assert len(window.sums(NOW + 2000)) <= WINDOW_S / 10 + 2


class TestPreble:
    def test_follows_a_prefix_of_more_than_half(self) -> None:
        a, b = workers_of("a", "b")
        decode(a, 9)
        assert Table(preble).choose([a, b], {a.id: 6, b.id: 5}) == Choice(a, "cached")

    def test_of_equal_prefixes_the_one_with_less_load(self) -> None:
        a, b, c = workers_of("a", "b", "c")
        decode(a, 2)
        decode(b)
        assert Table(preble).worker([a, b, c], {a.id: 9, b.id: 9}) is b

    def test_half_is_spread(self) -> None:
        a, b = workers_of("a", "b")
        decode(a)
        assert Table(preble).choose([a, b], {a.id: 5}) == Choice(b, "least_work")

    def test_balances_what_it_sent(self) -> None:
        workers = workers_of("a", "b", "c")
        table = Table(preble)
        assert {table.worker(workers) for _ in range(3)} == set(workers)

    def test_a_cached_prompt_was_less_work(self) -> None:
        a, b = workers_of("a", "b")
        table = Table(preble)
        first = table.worker([a, b])
        other = b if first is a else a
        assert table.worker([a, b], {other.id: 9}) is other
        assert table.worker([a, b]) is other

    def test_forgets_after_its_window(self) -> None:
        a, b = workers_of("a", "b")
        table = Table(preble)
        for _ in range(5):
            table.worker([a, b], {a.id: 9})
        decode(b)
        assert table.worker([a, b], now=NOW + WINDOW_S) is a

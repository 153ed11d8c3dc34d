"""Algorithms that go by what they sent."""

from collections import Counter

import pytest

from router.prompt.identity import TokenIdentity
from router.routing.peers.trees import SentTree, cache_aware, production_stack, ray
from router.routing.policy import Choice
from tests.unit.routing.table import BLOCK, NOW, Table, decode, prompt
from tests.unit.support import workers_of


def identity(*parts: int, blocks: int = 10) -> TokenIdentity:
    return TokenIdentity.of(list(prompt(*parts, blocks=blocks)), blocks * BLOCK, BLOCK)


class TestSentTree:
    def test_knows_who_was_sent_how_much(self) -> None:
        tree, (a, b) = SentTree(), workers_of("a", "b")
        tree.sent(a.id, identity(1, 2), NOW)
        tree.sent(b.id, identity(1, 3), NOW)
        assert tree.lookup(identity(1, 2)) == {a.id: 10, b.id: 1}
        assert tree.lookup(identity(9)) == {}

    def test_a_shared_prefix_counts_once(self) -> None:
        tree, (a,) = SentTree(), workers_of("a")
        tree.sent(a.id, identity(1, 2, blocks=2), NOW)
        tree.sent(a.id, identity(1, 3, blocks=2), NOW)
        assert tree.tokens(a.id) == 3 * BLOCK

    def test_a_bounded_one_forgets_what_was_used_least_recently(self) -> None:
        tree, (a,) = SentTree(20.0 * BLOCK), workers_of("a")
        for part in (1, 2, 1, 3):
            tree.sent(a.id, identity(part), NOW)
        assert tree.lookup(identity(1)) == {a.id: 10}
        assert tree.lookup(identity(2)) == {}
        assert tree.tokens(a.id) == 20 * BLOCK

    def test_who_was_sent_nothing_for_an_hour_is_forgotten(self) -> None:
        tree, (a, b) = SentTree(), workers_of("a", "b")
        tree.sent(a.id, identity(1), NOW)
        tree.sent(b.id, identity(1), NOW + 3000)
        tree.sent(b.id, identity(1), NOW + 3700)
        assert tree.lookup(identity(1)) == {b.id: 10}
        assert tree.tokens(a.id) == 0


class TestCacheAware:
    @pytest.mark.parametrize(("shared", "home"), [(3, False), (4, True)])
    def test_more_than_thirty_percent_goes_again(self, shared: int, home: bool) -> None:
        table, workers = Table(cache_aware), workers_of("a", "b")
        first = table.worker(workers, keys=prompt(*[1] * 10))
        decode(first)
        again = table.choose(workers, keys=prompt(*[1] * shared))
        assert (again == Choice(first, "sent_before")) is home
        assert (again.worker is first) is home

    def test_it_takes_no_notice_of_caches(self) -> None:
        a, b = workers_of("a", "b")
        decode(a)
        assert Table(cache_aware).choose([a, b], {a.id: 10}) == Choice(b, "least_inflight")

    @pytest.mark.parametrize(("count", "home"), [(64, True), (65, False)])
    def test_imbalance_goes_first_and_is_remembered(self, count: int, home: bool) -> None:
        table, workers = Table(cache_aware), workers_of("a", "b")
        first = table.worker(workers)
        decode(first, count)
        moved = table.worker(workers)
        assert (moved is first) is home
        decode(moved, 1)
        if not home:
            assert table.choose(workers, now=NOW + 1).worker is moved

    def test_of_several_that_had_it_the_less_loaded(self) -> None:
        table, (a, b, c) = Table(cache_aware), workers_of("a", "b", "c")
        table.worker([a])
        table.worker([b])
        decode(a)
        assert table.choose([a, b, c]) == Choice(b, "sent_before")


class TestProductionStack:
    def test_the_longest_match_wins_whatever_the_load(self) -> None:
        table, workers = Table(production_stack), workers_of("a", "b", "c")
        first = table.worker(workers)
        decode(first, 500)
        assert table.choose(workers) == Choice(first, "sent_before")

    def test_one_shared_block_is_enough(self) -> None:
        table, workers = Table(production_stack), workers_of("a", "b", "c")
        picked = {table.worker(workers, keys=prompt(1, n)) for n in range(50)}
        assert len(picked) == 1

    def test_of_several_one_is_drawn(self) -> None:
        table, (a, b, c) = Table(production_stack), workers_of("a", "b", "c")
        table.worker([a])
        table.worker([b])
        picked = Counter(table.worker([a, b, c]).id for _ in range(200))
        assert picked[c.id] == 0
        assert min(picked[a.id], picked[b.id]) > 60

    def test_a_worker_that_left_is_passed_over(self) -> None:
        table, (a, b) = Table(production_stack), workers_of("a", "b")
        table.worker([a], keys=prompt(1, 2))
        table.worker([b], keys=prompt(1, 3))
        assert table.worker([b], keys=prompt(1, 2)) is b


class TestRay:
    @pytest.mark.parametrize(("blocks", "home"), [(10, True), (11, False)])
    def test_ten_percent_go_again(self, blocks: int, home: bool) -> None:
        table, (a, b) = Table(ray), workers_of("a", "b")
        table.worker([a], keys=prompt(1, blocks=1))
        decode(a, 50)
        choice = table.choose([a, b], keys=prompt(1, 2, blocks=blocks))
        assert choice == (Choice(a, "sent_before") if home else Choice(b, "smallest_tree"))

    def test_new_prompts_go_to_the_smallest_tree(self) -> None:
        table, (a, b) = Table(ray), workers_of("a", "b")
        table.worker([a], keys=prompt(1, blocks=3))
        table.worker([b], keys=prompt(2, blocks=2))
        assert table.worker([a, b], keys=prompt(3)) is b
        assert table.worker([a, b], keys=prompt(4)) is a

    def test_of_two_that_had_it_the_less_loaded(self) -> None:
        table, (a, b, c) = Table(ray), workers_of("a", "b", "c")
        table.worker([a])
        table.worker([b])
        decode(a)
        assert table.worker([a, b, c]) is b

"""Consistent hashing with bounded loads."""

from collections import Counter

from router.routing.peers.hashed import Rings, chwbl, prefix_hash
from router.routing.policy import Choice
from tests.unit.routing.table import Table, decode, prompt
from tests.unit.support import workers_of


class TestRings:
    def test_every_worker_comes_round(self) -> None:
        workers = workers_of("a", "b", "c")
        assert set(Rings().around(workers, 7)) == set(workers)

    def test_the_order_of_the_workers_does_not_matter(self) -> None:
        workers, rings = workers_of("a", "b", "c"), Rings()
        assert list(rings.around(workers, 7)) == list(rings.around(workers[::-1], 7))

    def test_a_lost_worker_moves_only_its_own_keys(self) -> None:
        workers, rings = workers_of("a", "b", "c"), Rings()
        for key in range(200):
            before = next(rings.around(workers, key))
            after = next(rings.around(workers[:2], key))
            assert after is before or before is workers[2]

    def test_keys_spread(self) -> None:
        workers, rings = workers_of("a", "b", "c"), Rings()
        picked = Counter(next(rings.around(workers, key)).id for key in range(600))
        assert all(picked[worker.id] > 120 for worker in workers)

    def test_it_keeps_a_bounded_number_of_rings(self) -> None:
        rings, workers = Rings(), workers_of(*[f"w{n}" for n in range(100)])
        for worker in workers:
            next(rings.around([worker], 1))
        assert len(rings._rings) == 64


class TestChwbl:
    def test_the_first_block_decides(self) -> None:
        table, workers = Table(chwbl), workers_of("a", "b", "c")
        firsts = {table.worker(workers, keys=prompt(1, n)).id for n in range(20)}
        assert len(firsts) == 1
        others = {table.worker(workers, keys=prompt(n)).id for n in range(50)}
        assert len(others) == 3

    def test_a_full_worker_passes_on_to_the_next_of_the_ring(self) -> None:
        table, workers = Table(chwbl), workers_of("a", "b", "c")
        home = table.worker(workers)
        for worker in workers:
            decode(worker, 8)
        assert table.choose(workers) == Choice(home, "hash")
        decode(home, 3)  # 12 are over 1.25 * 28 / 3
        moved = table.choose(workers)
        assert moved.reason == "hash_next"
        assert moved.worker is not home
        assert table.choose(workers) == moved

    def test_where_nobody_has_room_the_first_takes_it(self) -> None:
        table, workers = Table(chwbl), workers_of("a", "b", "c")
        home = table.worker(workers)
        other = next(worker for worker in workers if worker is not home)
        decode(other)  # 1.25 * 2 / 3 is less than one request
        assert table.worker(workers) is home

    def test_without_a_full_block_fewest_in_flight(self) -> None:
        a, b = workers_of("a", "b")
        decode(a)
        assert Table(chwbl).choose([a, b], keys=()) == Choice(b, "least_inflight")


class TestPrefixHash:
    def test_what_covers_256_tokens_decides(self) -> None:
        table, workers = Table(prefix_hash), workers_of("a", "b", "c")
        same = {table.worker(workers, keys=prompt(1, 2, 3, n)).id for n in range(20)}
        assert len(same) == 1
        other = {table.worker(workers, keys=prompt(1, 2, n)).id for n in range(50)}
        assert len(other) == 3

    def test_a_shorter_prompt_is_known_by_all_of_it(self) -> None:
        table, workers = Table(prefix_hash), workers_of("a", "b", "c")
        picked = {table.worker(workers, keys=prompt(1, n, blocks=2)).id for n in range(50)}
        assert len(picked) == 3

    def test_above_the_bound_fewest_in_flight(self) -> None:
        table, workers = Table(prefix_hash), workers_of("a", "b", "c")
        home = table.worker(workers)
        one, two = (worker for worker in workers if worker is not home)
        for worker, count in ((home, 10), (one, 8), (two, 7)):
            decode(worker, count)
        assert table.choose(workers) == Choice(home, "hash")  # 10 <= 1.25 * 26 / 3
        decode(home)
        assert table.choose(workers).reason == "hash"  # 11 <= 11.25
        decode(home)
        assert table.choose(workers) == Choice(two, "least_inflight")

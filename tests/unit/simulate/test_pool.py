"""Blocks: what is found, what is evicted first, and that nothing is lost or counted twice."""

from collections import OrderedDict
from random import Random

import pytest

from router.simulate.pool import Pool


def fill(pool: Pool, ids: list[int], private: int = 0) -> list[int]:
    """Take up `ids` as one request, all new, and some private blocks."""
    pool.take(len(ids) + private)
    return pool.publish(ids)


def test_leading_blocks_are_found() -> None:
    pool = Pool(8)
    fill(pool, [1, 2, 3])
    assert pool.match([1, 2, 3, 4], 4) == 3
    assert pool.match([1, 2, 3], 2) == 2
    assert pool.match([9, 1, 2], 3) == 0
    assert pool.free == 5


def test_released_blocks_are_free_and_found() -> None:
    pool = Pool(8)
    pool.release(fill(pool, [1, 2, 3], private=2), private=2)
    assert pool.free == 8
    assert pool.match([1, 2, 3], 3) == 3
    assert pool.idle([1, 2, 3]) == 3


def test_held_blocks_are_not_free() -> None:
    pool = Pool(8)
    pool.release(fill(pool, [1, 2, 3]), private=0)
    pool.hold([1, 2])
    assert pool.free == 6
    assert pool.idle([1, 2, 3]) == 1
    pool.hold([1])
    pool.release([1, 2], private=0)
    assert pool.free == 7, "somebody else uses 1"
    pool.release([1], private=0)
    assert pool.free == 8


def test_a_copy_stays_private() -> None:
    pool = Pool(8)
    mine = fill(pool, [1, 2])
    pool.take(2)
    assert pool.publish([2, 3]) == [3]
    pool.release([3], private=1)
    pool.release(mine, private=0)
    assert pool.free == 8
    pool.take(5)
    assert pool.match([1, 2], 2) == 2, "five were empty: the copy's place too"


def test_the_least_recently_freed_goes_first_and_tails_before_heads() -> None:
    pool = Pool(6, record_changes=True)
    first, second = fill(pool, [1, 2, 3]), fill(pool, [4, 5])
    pool.release(second, private=0)
    pool.release(first, private=0)
    pool.changes.clear()
    pool.now = 2.5
    pool.take(5)
    assert pool.changes == [(2.5, block, False) for block in (5, 4, 3, 2)]


def test_a_block_that_was_taken_up_again_is_as_old_as_its_last_use() -> None:
    pool = Pool(4, record_changes=True)
    pool.release(fill(pool, [1, 2]), private=0)
    pool.release(fill(pool, [3]), private=0)
    pool.hold([1])
    pool.release([1], private=0)
    pool.changes.clear()
    pool.take(4)
    assert [block for _, block, _ in pool.changes] == [2, 3, 1]


def test_changes_are_recorded_on_demand() -> None:
    pool, silent = Pool(2, record_changes=True), Pool(2)
    for each in (pool, silent):
        each.now = 1.0
        fill(each, [7])
    assert pool.changes == [(1.0, 7, True)]
    assert silent.changes == []


def test_clear_forgets_everything() -> None:
    pool = Pool(4, record_changes=True)
    fill(pool, [1, 2], private=1)
    pool.clear()
    assert pool.free == 4
    assert pool.match([1], 1) == 0
    assert pool.changes == []


@pytest.mark.parametrize("seed", range(20))
def test_like_an_ordered_dict(seed: int) -> None:
    """Requests of three texts come and go, some for long: the free list is in the right order throughout."""
    rng = Random(seed)
    pool = Pool(40, record_changes=True)
    users: dict[int, int] = {}
    cached: OrderedDict[int, None] = OrderedDict()
    alive: list[list[int]] = []
    for _ in range(1000):
        if alive and (rng.random() < 0.5 or len(alive) == 3):
            held = alive.pop(rng.randrange(len(alive)))
            for block in reversed(held):
                users[block] -= 1
                if not users[block]:
                    del users[block]
                    cached[block] = None
            pool.release(list(held), private=0)
        else:
            text = rng.choice([0, 0, 0, 100, 200])
            ids = list(range(text, text + rng.randint(1, 12)))
            hits = pool.match(ids, len(ids))
            assert hits == next(
                (n for n, b in enumerate(ids) if b not in users and b not in cached), len(ids)
            )
            pool.hold(ids[:hits])
            for block in ids[:hits]:
                cached.pop(block, None)
                users[block] = users.get(block, 0) + 1
            new = ids[hits:]
            evicted = [
                cached.popitem(last=False)[0]
                for _ in range(len(users) + len(cached) + len(new) - pool.capacity)
            ]
            fresh = [block for block in new if block not in users and block not in cached]
            pool.changes.clear()
            pool.take(len(new))
            assert pool.publish(new) == fresh
            assert [b for _, b, stored in pool.changes if not stored] == evicted
            users.update(dict.fromkeys(fresh, 1))
            alive.append(ids[:hits] + fresh)
            pool.release([], private=len(new) - len(fresh))
        assert pool.free == pool.capacity - len(users)
        assert sum(map(len, pool._runs)) <= 4 * pool.capacity
        assert pool._queued == sum(map(len, pool._runs))

"""The building blocks of the algorithms."""

import random
from collections import Counter

from router.routing.peers.common import (
    deepest,
    imbalanced,
    least,
    least_loaded,
    less_of_two,
    uncached,
)
from tests.unit.routing.table import decode, question
from tests.unit.support import workers_of

RNG = random.Random(1)


def test_least_takes_the_lowest() -> None:
    a, b, c = workers_of("a", "b", "c")
    assert least([a, b, c], [3.0, 1.0, 2.0], RNG.choice) is b


def test_least_draws_among_the_lowest_only() -> None:
    a, b, c = workers_of("a", "b", "c")
    picked = Counter(least([a, b, c], [1.0, 2.0, 1.0], RNG.choice).id for _ in range(200))
    assert picked[a.id] > 60
    assert picked[c.id] > 60
    assert picked[b.id] == 0


def test_least_loaded_counts_requests_in_flight() -> None:
    a, b = workers_of("a", "b")
    decode(a)
    assert least_loaded([a, b], RNG.choice) is b


def test_less_of_two_never_takes_the_most_loaded_of_three() -> None:
    a, b, c = workers_of("a", "b", "c")
    decode(b)
    decode(c, 2)
    picked = Counter(less_of_two([a, b, c], RNG).id for _ in range(300))
    assert picked[c.id] == 0
    assert picked[a.id] > 160  # two of three pairs have it
    assert picked[b.id] > 60


def test_less_of_two_takes_a_single_one() -> None:
    (a,) = workers_of("a")
    assert less_of_two((a,), RNG) is a


def test_deepest_gives_all_with_the_longest_match() -> None:
    a, b, c, d = workers_of("a", "b", "c", "d")
    assert deepest([a, b, c], {a.id: 3, b.id: 5, c.id: 5, d.id: 9}) == (5, [b, c])


def test_deepest_of_nothing_is_everybody() -> None:
    a, b, gone = workers_of("a", "b", "gone")
    assert deepest([a, b], {}) == (0, [a, b])
    assert deepest([a, b], {gone.id: 4}) == (0, [a, b])


def test_uncached_tokens_are_at_least_one() -> None:
    a, b, c = workers_of("a", "b", "c")
    assert uncached(question([a, b, c], {a.id: 4, b.id: 10})) == [600.0, 1.0, 1000.0]
    assert uncached(question([a, b])) == [1000.0, 1000.0]


def test_imbalance_is_both_a_difference_and_a_ratio() -> None:
    a, b = workers_of("a", "b")
    decode(a, 10)
    assert imbalanced([a, b], by=9, times=1.5)
    assert not imbalanced([a, b], by=10, times=1.5)
    decode(b, 10)
    decode(a, 5)
    assert imbalanced([a, b], by=4, times=1.4)
    assert not imbalanced([a, b], by=4, times=1.5)

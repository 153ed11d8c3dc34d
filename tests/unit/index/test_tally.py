"""Holders that are counted: beside a dictionary of sets."""

from collections.abc import Collection

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from router.ids import BlockKey, WorkerId
from router.index.holders import SHIFT
from router.index.tally import Tally

A, B, C = (WorkerId(name) for name in "abc")
PLACES = st.integers(0, 5)
KEYS = st.lists(st.builds(lambda part, low: part << SHIFT | low, PLACES, PLACES), max_size=12)


def chain(size: int) -> list[BlockKey]:
    return [place << SHIFT | place for place in range(size)]


def test_those_that_were_held_are_told_from_news() -> None:
    tally = Tally()
    assert tally.put(A, chain(3)) == []
    assert tally.put(B, chain(5)) == []
    assert tally.put(A, chain(5)) == chain(3)
    assert (tally.count(A), tally.count(B), tally.count(C)) == (5, 5, 0)


def test_what_is_not_held_cannot_be_taken() -> None:
    tally = Tally()
    tally.put(A, chain(3))
    tally.take(B, chain(3))
    tally.take(A, [*chain(2), *chain(2), 99])
    assert (tally.count(A), tally.keys(A)) == (1, chain(3)[2:])


def test_blocks_with_the_same_holders_share_what_says_so() -> None:
    tally = Tally()
    workers = [WorkerId(f"w{number}") for number in range(40)]
    for worker in workers:
        tally.put(worker, chain(50))
    for worker in workers[:3]:
        tally.take(worker, chain(50)[::-1])
    assert len({id(bits) for part in tally.parts for bits in part.values()}) == 1


def test_who_holds_nothing_gives_its_place_away() -> None:
    tally = Tally()
    tally.put(A, chain(2))
    tally.put(B, chain(2))
    tally.take(A, chain(2))
    tally.put(C, chain(1))
    assert tally.bit_of(C) == 1
    assert tally.lookup(chain(2)) == {B: 2, C: 1}


def test_nothing_put_takes_no_place() -> None:
    tally = Tally()
    assert tally.put(A, []) == []
    tally.hide(A)
    tally.put(B, chain(1))
    assert tally.bit_of(B) == 1


def test_a_hidden_one_keeps_its_place_until_all_is_taken() -> None:
    tally = Tally()
    tally.put(A, chain(3))
    tally.hide(A)
    assert tally.lookup(chain(3)) == {}
    tally.put(B, chain(1))
    assert tally.bit_of(B) == 2, "what A held is not B's"
    tally.take(A, chain(3))
    tally.put(C, chain(2))
    assert tally.bit_of(C) == 1
    assert tally.lookup(chain(3)) == {B: 1, C: 2}


def test_a_hidden_one_is_found_again_with_its_next_block() -> None:
    tally = Tally()
    tally.put(A, chain(2))
    tally.hide(A)
    tally.put(A, chain(3)[2:])
    assert tally.lookup(chain(3)) == {A: 3}


def test_what_is_held_is_walked_a_part_at_a_time() -> None:
    tally = Tally()
    tally.put(A, chain(1000))
    tally.put(B, chain(3))
    parts = list(tally.walk(A))
    assert len(parts) > 10
    assert all(parts)
    assert sorted(key for keys in parts for key in keys) == chain(1000)
    assert [key for keys in tally.walk(B) for key in keys] == chain(3)
    assert list(tally.walk(C)) == []


def test_blocks_may_come_and_go_while_they_are_walked() -> None:
    tally = Tally()
    tally.put(A, chain(1000))
    walk = tally.walk(A)
    first = next(walk)
    tally.take(A, chain(1000)[500:])
    tally.put(A, [999 << SHIFT | 7])
    rest = [key for keys in walk for key in keys]
    assert sorted([*first, *rest]) == [*chain(500), 999 << SHIFT | 7]


def test_one_that_loses_all_meanwhile_is_walked_to_its_end() -> None:
    tally = Tally()
    tally.put(A, chain(1000))
    walk = tally.walk(A)
    next(walk)
    tally.take(A, chain(1000))
    tally.put(B, chain(1000))
    assert tally.bit_of(B) == 1, "that was A's"
    assert list(walk) == []


class TallyMachine(RuleBasedStateMachine):
    """Any blocks come and go, one behind the other or not."""

    workers = st.sampled_from([A, B, C])

    def __init__(self) -> None:
        super().__init__()
        self.tally = Tally()
        self.naive: dict[WorkerId, set[BlockKey]] = {A: set(), B: set(), C: set()}

    @rule(worker=workers, keys=KEYS)
    def put(self, worker: WorkerId, keys: Collection[BlockKey]) -> None:
        known = set(self.tally.put(worker, keys))
        assert known >= self.naive[worker] & set(keys)
        self.naive[worker] |= set(keys)

    @rule(worker=workers, keys=KEYS)
    def take(self, worker: WorkerId, keys: Collection[BlockKey]) -> None:
        self.tally.take(worker, keys)
        self.naive[worker] -= set(keys)

    @rule(worker=workers)
    def hide(self, worker: WorkerId) -> None:
        self.tally.hide(worker)

    @invariant()
    def everybody_holds_what_it_was_given(self) -> None:
        for worker, keys in self.naive.items():
            assert set(self.tally.keys(worker)) == keys
            assert self.tally.count(worker) == len(keys)
        assert len(self.tally) == len(set().union(*self.naive.values()))

    @invariant()
    def only_who_holds_something_has_a_place(self) -> None:
        assert set(self.tally._taken) == {w for w, keys in self.naive.items() if keys}


TestTallyMachine = TallyMachine.TestCase
TestTallyMachine.settings = settings(max_examples=60, stateful_step_count=30, deadline=None)

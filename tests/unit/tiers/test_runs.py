"""Leading runs by few questions, against looking at everything."""

from collections.abc import Sequence
from itertools import takewhile

from hypothesis import given
from hypothesis import strategies as st

from router.tiers.runs import leading, leading_by_holder

FANS = st.integers(2, 40)


class Store:
    """Says which parts are there, and counts how it was asked."""

    def __init__(self, there: list[bool]) -> None:
        self.there = there
        self.rounds = 0
        self.most = 0

    async def complete(self, ranges: list[range]) -> list[bool]:
        assert all(ranges), "an empty range is no question"
        self.rounds += 1
        self.most = max(self.most, len(ranges))
        return [all(self.there[place] for place in part) for part in ranges]


@given(st.lists(st.booleans() | st.just(True), max_size=300), FANS)
async def test_the_run_is_exact_whatever_is_missing(there: list[bool], fan: int) -> None:
    store = Store(there)
    run = await leading(len(there), store.complete, fan=fan)
    assert run == len(list(takewhile(bool, there)))
    assert store.most <= fan


@given(st.integers(0, 1024))
async def test_two_rounds_do_for_a_thousand_parts(held: int) -> None:
    store = Store([place < held for place in range(1024)])
    assert await leading(1024, store.complete, fan=32) == held
    assert store.rounds <= 2


class Fleet:
    """Holders of a prompt's first parts, by how many they have."""

    def __init__(self, runs: dict[str, int]) -> None:
        self.runs = runs
        self.asked: list[list[int]] = []

    async def holders(self, places: list[int]) -> Sequence[frozenset[str]]:
        self.asked.append(places)
        return [
            frozenset(name for name, run in self.runs.items() if place < run) for place in places
        ]

    def within(self, length: int) -> dict[str, int]:
        return {name: min(run, length) for name, run in self.runs.items() if run and length}


RUNS = st.dictionaries(st.sampled_from("abcdef"), st.integers(0, 400))


@given(RUNS, st.integers(0, 400), FANS)
async def test_every_holders_run_is_found(runs: dict[str, int], length: int, fan: int) -> None:
    fleet = Fleet(runs)
    found = await leading_by_holder(length, fleet.holders, fan=fan, rounds=500)
    assert found == fleet.within(length)


@given(RUNS, st.integers(0, 400), st.integers(2, 16), st.integers(1, 3))
async def test_after_the_last_round_no_run_is_too_long(
    runs: dict[str, int], length: int, fan: int, rounds: int
) -> None:
    fleet = Fleet(runs)
    found = await leading_by_holder(length, fleet.holders, fan=fan, rounds=rounds)
    truth = fleet.within(length)
    assert found.keys() == truth.keys()
    assert all(run <= truth[name] for name, run in found.items())
    assert len(fleet.asked) <= rounds


@given(st.integers(0, 512))
async def test_three_rounds_of_sixteen_do_for_one_holder(held: int) -> None:
    fleet = Fleet({"a": held})
    found = await leading_by_holder(512, fleet.holders, fan=16)
    assert found == fleet.within(512)
    assert all(len(places) <= 16 for places in fleet.asked)


@given(st.lists(st.sets(st.sampled_from("abc")).map(frozenset), max_size=40), st.integers(2, 16))
async def test_holders_with_gaps_have_no_more_than_what_was_seen_of_them(
    parts: list[frozenset[str]], fan: int
) -> None:
    asked: set[int] = set()

    async def holders(places: list[int]) -> list[frozenset[str]]:
        asked.update(places)
        return [parts[place] for place in places]

    for name, run in (await leading_by_holder(len(parts), holders, fan=fan)).items():
        assert all(name in parts[place] for place in asked if place < run)
        assert run - 1 in asked

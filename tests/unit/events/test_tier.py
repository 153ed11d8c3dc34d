"""What an index is told, and when."""

import pytest

from router.events import tier as module
from router.events.counters import Counters
from router.events.tier import Tier
from tests.unit.events.support import A, SetIndex


def tier_of(index: SetIndex) -> Tier:
    return Tier(A, index, Counters())


def test_what_comes_and_goes_between_two_reports_is_not_told() -> None:
    index = SetIndex()
    tier = tier_of(index)
    shelf = tier.shelf(0)
    tier.hold(shelf, 1, 11, adds=True)
    tier.drop(shelf, 1)
    tier.tell()
    assert index.reports == 0
    tier.hold(shelf, 1, 11, adds=True)
    tier.tell()
    tier.drop(shelf, 1)
    tier.hold(shelf, 1, 11, adds=True)
    tier.tell()
    assert (index.reports, index.held[A]) == (1, {11})


def test_a_key_is_held_as_long_as_one_of_its_names_is() -> None:
    index = SetIndex()
    tier = tier_of(index)
    for group in (0, 1):
        tier.hold(tier.shelf(group), 1, 11, adds=True)
    tier.hold(tier.shelf(0), 2, 11, adds=True)
    for group, name in ((0, 1), (1, 1)):
        tier.drop(tier.shelf(group), name)
    tier.tell()
    assert (index.held[A], tier.blocks) == ({11}, 1)
    tier.drop(tier.shelf(0), 2)
    tier.tell()
    assert (index.held[A], tier.blocks) == (set(), 0)


def test_emptying_goes_in_portions_and_starts_afresh() -> None:
    index = SetIndex()
    tier = tier_of(index)
    for name in range(10):
        tier.hold(tier.shelf(0), name, 100 + name, adds=True)
    pauses = sum(1 for _ in tier.empty(4))
    assert pauses >= 3
    assert (index.held[A], tier.blocks, tier.find(3)) == (set(), 0, None)
    tier.hold(tier.shelf(0), 3, 103, adds=True)
    tier.tell()
    assert index.held[A] == {103}


def test_there_is_a_limit_to_what_is_remembered(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_BLOCKS", 2)
    index, counters = SetIndex(), Counters()
    tier = Tier(A, index, counters)
    for name in (1, 2, 3):
        tier.hold(tier.shelf(0), name, name, adds=True)
    tier.hold(tier.shelf(0), 2, 2, adds=True)
    tier.tell()
    assert (index.held[A], counters.refused) == ({1, 2}, 1)

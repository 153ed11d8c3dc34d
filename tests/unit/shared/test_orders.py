"""What operators say at one router is heeded by all, and the last word counts."""

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from router.discovery.registry import FORGET_S, UNWANTED, Discovery
from router.ids import WorkerId
from router.shared.base import Facts
from router.shared.orders import Orders, drain_key, wanted_key

A, NEW = WorkerId("a:8000"), WorkerId("new:8000")
URL = "http://new:8000"


class Store:
    """What routers tell each other through; a list of words, as the last of each counts."""

    def __init__(self) -> None:
        self.facts: dict[WorkerId, Facts] = {}
        self.now = 1000.0


class Side:
    """A router: what operators said there, and what it shares of that."""

    def __init__(self, store: Store, key: str | None = "sesame") -> None:
        self.store = store
        self.roster = Discovery(lambda targets: None)
        self.orders = Orders(lambda: store.now)
        self.orders.follow(self.roster)
        self.orders.key = key

    def tell(self) -> Mapping[WorkerId, Facts]:
        """What it has to tell is stored, and it reads what is."""
        news = self.orders.news()
        self.store.facts |= news
        self.orders.told(news)
        self.orders.take(self.store.facts)
        return news


def words(news: Mapping[WorkerId, Facts]) -> dict[str, bool | str]:
    return {
        key: facts.drained if key.startswith("/drained/") else facts.wanted
        for key, facts in news.items()
    }


@pytest.fixture
def store() -> Store:
    return Store()


def test_a_drain_is_told_once_and_heeded(store: Store) -> None:
    one, two = Side(store), Side(store)
    one.roster.drain(A, drained=True)
    assert words(one.tell()) == {drain_key(A): True}
    assert two.tell() == {}
    assert two.roster.drains == {A}
    assert one.tell() == two.tell() == {}
    two.roster.drain(A, drained=False)
    assert words(two.tell()) == {drain_key(A): False}
    one.tell()
    assert one.roster.drains == set()


def test_an_added_worker_is_told_and_taken_back(store: Store) -> None:
    one, two = Side(store), Side(store)
    one.roster.order(NEW, URL)
    assert words(one.tell()) == {wanted_key(NEW): URL}
    two.tell()
    assert two.roster.orders == {NEW: URL}
    two.roster.order(NEW, "")
    assert words(two.tell()) == {wanted_key(NEW): ""}
    one.tell()
    assert one.roster.orders == {}
    assert one.tell() == two.tell() == {}


def test_what_the_store_did_not_take_is_told_again(store: Store) -> None:
    side = Side(store)
    side.roster.drain(A, drained=True)
    lost = side.orders.news()
    assert side.orders.news() == lost
    side.orders.told(lost)
    assert side.orders.news() == {}


def test_after_the_store_was_emptied_all_is_told_again_and_the_last_word_counts(
    store: Store,
) -> None:
    """One router was told that the worker may be used again while the store was away."""
    one, two = Side(store), Side(store)
    one.roster.drain(A, drained=True)
    one.roster.order(NEW, UNWANTED)
    one.tell()
    two.tell()
    two.roster.drain(A, drained=False)
    two.roster.order(NEW, "")
    two.orders.news()
    store.facts.clear()
    for side in (one, two):
        side.orders.tell_again()
    for side in (one, two, one, two):
        side.tell()
    assert one.roster.drains == two.roster.drains == set()
    assert one.roster.orders == two.roster.orders == {}


def test_a_later_word_counts_whatever_the_clocks_say(store: Store) -> None:
    one, two = Side(store), Side(store)
    one.roster.drain(A, drained=True)
    one.tell()
    two.tell()
    store.now -= 500.0
    two.roster.drain(A, drained=False)
    two.tell()
    one.tell()
    assert one.roster.drains == set()


def test_a_drain_is_heeded_before_its_worker_is_there(store: Store) -> None:
    """A router that starts reads the store before it has found its workers."""
    one, late = Side(store), Side(store)
    one.roster.drain(A, drained=True)
    one.tell()
    late.tell()
    assert late.roster.drains == {A}


def test_what_is_only_forgotten_is_not_told(store: Store) -> None:
    side = Side(store)
    side.roster.drain(A, drained=True)
    side.roster.order(NEW, UNWANTED)
    side.tell()
    side.roster.keep(0.0)
    side.roster.keep(FORGET_S)
    assert (side.roster.drains, side.roster.orders) == (set(), {})
    assert side.orders.news() == {}


def test_without_a_roster_nothing_is_shared() -> None:
    orders = Orders()
    orders.take({drain_key(A): Facts(drained=True, at=1.0)})
    assert orders.news() == {}


@pytest.mark.parametrize("forged", ["no proof", "another's proof", "another url", "another time"])
def test_who_has_no_key_adds_no_worker(
    forged: str, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    """Whoever writes to the store must not say where prompts go."""
    one, two = Side(store), Side(store)
    one.roster.order(NEW, URL)
    (fact,) = one.orders.news().values()
    told = {
        "no proof": replace(fact, proof=""),
        "another's proof": replace(fact, proof="0" * 64),
        "another url": replace(fact, wanted="http://evil:8000"),
        "another time": replace(fact, at=fact.at + 1),
    }[forged]
    two.orders.take({wanted_key(NEW): told})
    assert two.roster.orders == {}
    assert "not with this admin_key" in caplog.text
    two.orders.take({wanted_key(WorkerId("other:1")): fact})
    assert two.roster.orders == {}, "it is proof for one worker only"


@pytest.mark.parametrize("key", [None, "another"])
def test_who_has_no_key_takes_no_worker_away_from_those_that_have_one(
    key: str | None, store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    keyed, other = Side(store), Side(store, key=key)
    other.roster.drain(A, drained=True)
    other.roster.order(NEW, UNWANTED)
    other.tell()
    for _ in range(3):
        keyed.tell()
    assert (keyed.roster.drains, keyed.roster.orders) == (set(), {})
    assert caplog.text.count("not with this admin_key") == 2
    (fact,) = (fact for name, fact in store.facts.items() if name == drain_key(A))
    keyed.roster.drain(A, drained=True)
    keyed.orders.take({drain_key(A): replace(keyed.orders.news()[drain_key(A)], drained=False)})
    assert keyed.roster.drains == {A}, "a proof is for one word only"
    assert fact.drained


def test_who_has_no_key_heeds_those_that_have_one(store: Store) -> None:
    keyed, other = Side(store), Side(store, key=None)
    keyed.roster.drain(A, drained=True)
    keyed.tell()
    other.tell()
    assert other.roster.drains == {A}


def test_an_old_word_is_not_heeded_again(store: Store) -> None:
    one, two = Side(store), Side(store)
    one.roster.order(NEW, URL)
    old = dict(one.tell())
    two.tell()
    two.roster.order(NEW, UNWANTED)
    two.tell()
    two.orders.take(old)
    assert two.roster.orders == {NEW: UNWANTED}


def test_without_a_key_only_less_is_said(store: Store) -> None:
    one, two = Side(store, key=None), Side(store, key=None)
    one.roster.order(NEW, URL)
    one.roster.order(A, UNWANTED)
    assert words(one.tell()) == {wanted_key(A): UNWANTED}
    two.tell()
    assert two.roster.orders == {A: UNWANTED}
    two.orders.take({wanted_key(NEW): Facts(wanted=URL, at=5000.0, proof="x")})
    assert NEW not in two.roster.orders

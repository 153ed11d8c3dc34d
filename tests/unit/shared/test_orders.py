"""What operators say at one router is heeded by all, and the last word counts."""

from collections.abc import Mapping

import pytest
from msgspec.structs import replace

from router.discovery.registry import FORGET_S, UNWANTED, Discovery
from router.fleet.target import Target
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
        self.clock = 0.0

    def knows(self, *hosts: str) -> None:
        """Workers that are found there from now on."""
        self.roster.set_sources([Target(url=f"http://{host}") for host in hosts], [])
        self.later(0.0)

    def later(self, seconds: float) -> None:
        """So much time passes there."""
        self.clock += seconds
        self.roster.keep(self.clock)

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
    one.roster.add(URL)
    assert words(one.tell()) == {wanted_key(NEW): URL}
    two.tell()
    assert two.roster.orders == {NEW: URL}
    assert two.roster.remove(NEW)
    assert words(two.tell()) == {wanted_key(NEW): UNWANTED}
    one.tell()
    assert one.roster.orders == {NEW: UNWANTED}
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
    one.knows(NEW)
    two.knows(NEW)
    one.roster.drain(A, drained=True)
    one.roster.remove(NEW)
    one.tell()
    two.tell()
    two.roster.drain(A, drained=False)
    two.roster.add(URL)
    two.orders.news()
    store.facts.clear()
    for side in (one, two):
        side.orders.tell_again()
    for side in (one, two, one, two):
        side.tell()
    assert one.roster.drains == two.roster.drains == set()
    assert one.roster.orders == two.roster.orders == {NEW: URL}


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


def gone_for_good(*sides: Side) -> None:
    """Nobody finds workers there any more, and what was said of them is forgotten."""
    for side in sides:
        side.knows()
        side.later(FORGET_S)
        side.later(FORGET_S)


def settled(*sides: Side) -> None:
    """All have told and read all that there is."""
    for side in sides * 5:
        side.tell()
    assert [dict(side.tell()) for side in sides] == [{}] * len(sides)


@pytest.mark.parametrize("key", ["sesame", None])
def test_what_all_have_forgotten_is_not_heeded_by_who_starts(key: str | None, store: Store) -> None:
    """Another worker may have the address by then."""
    one, two = sides = Side(store, key), Side(store, key)
    for side in sides:
        side.knows(A, NEW)
    one.roster.drain(A, drained=True)
    one.roster.remove(NEW)
    settled(*sides)
    assert two.roster.orders == {NEW: UNWANTED}
    gone_for_good(one, two)
    settled(*sides)
    late = Side(store, key)
    late.knows(A, NEW)
    settled(late, *sides)
    for side in (late, *sides):
        assert (side.roster.drains, side.roster.orders) == (set(), {})


@pytest.mark.parametrize("away_s", [0.0, FORGET_S / 2])
def test_what_one_has_forgotten_stands_while_another_remembers_the_worker(
    away_s: float, store: Store
) -> None:
    one, two = sides = Side(store), Side(store)
    for side in sides:
        side.knows(A, NEW)
    one.roster.drain(A, drained=True)
    one.roster.remove(NEW)
    settled(*sides)
    if away_s:
        two.knows()
        two.later(away_s)
    store.now -= 500.0  # a clock that is behind
    gone_for_good(one)
    settled(*sides)
    late = Side(store)
    settled(late, *sides)
    for side in (late, *sides):
        assert (side.roster.drains, side.roster.orders) == ({A}, {NEW: UNWANTED})
    gone_for_good(two)
    settled(*sides)
    assert (one.roster.drains, one.roster.orders) == (set(), {})


def test_what_is_forgotten_takes_no_added_worker_away(store: Store) -> None:
    """It was added by a router whose clock is behind."""
    one, two = sides = Side(store), Side(store)
    one.knows(NEW)
    one.roster.remove(NEW)
    settled(*sides)
    two.roster.add(URL)
    store.now += 500.0
    gone_for_good(one)
    settled(*sides)
    assert one.roster.orders == two.roster.orders == {NEW: URL}


def test_a_word_is_told_also_where_it_is_no_news(store: Store) -> None:
    """Others, or the store, may have heard another."""
    side = Side(store)
    for drained in (False, False):
        store.now += 1.0
        side.roster.drain(A, drained=drained)
        side.roster.add(URL)
        news = side.tell()
        assert {facts.at for facts in news.values()} == {store.now}
        assert words(news) == {drain_key(A): False, wanted_key(NEW): URL}


def test_who_has_no_key_leaves_what_is_proven_in_the_store(store: Store) -> None:
    keyed, other = Side(store), Side(store, key=None)
    keyed.roster.drain(A, drained=True)
    settled(keyed, other)
    gone_for_good(other)
    assert other.tell() == {}


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
    one.roster.add(URL)
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
    other.knows(A, NEW)
    other.roster.drain(A, drained=True)
    other.roster.remove(NEW)
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
    one.roster.add(URL)
    old = dict(one.tell())
    two.tell()
    two.roster.remove(NEW)
    two.tell()
    two.orders.take(old)
    assert two.roster.orders == {NEW: UNWANTED}


def test_without_a_key_only_less_is_said(store: Store) -> None:
    one, two = Side(store, key=None), Side(store, key=None)
    one.roster.add(URL)
    one.knows(A)
    one.roster.remove(A)
    assert words(one.tell()) == {wanted_key(A): UNWANTED}
    two.tell()
    assert two.roster.orders == {A: UNWANTED}
    two.orders.take({wanted_key(NEW): Facts(wanted=URL, at=5000.0, proof="x")})
    assert NEW not in two.roster.orders

"""Each policy's choice, and what every policy keeps to."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import get_args

import pytest

from router.fleet.load import PendingPrefill
from router.fleet.worker import Worker
from router.ids import WorkerId
from router.prompt.identity import TextIdentity
from router.prompt.request import Request
from router.prompt.session import SessionKeys
from router.routing.cost import Rates
from router.routing.policies import POLICIES, Tools
from router.routing.policy import Choice, Question
from router.settings import PolicyName
from tests.unit.support import chat, request, workers_of

LONG = chat("word " * 2000)
NOW = 100.0


@dataclass
class Table:
    """One policy with what it is built from."""

    name: str
    rates: Rates = field(default_factory=Rates)

    def __post_init__(self) -> None:
        self._choose = POLICIES[self.name](Tools(self.rates, SessionKeys(), seed=1))

    def choose(
        self,
        workers: Sequence[Worker],
        overlaps: Mapping[WorkerId, int] | None = None,
        asked: Request | None = None,
    ) -> Choice:
        asked = asked or request(LONG)
        identity = TextIdentity().identify(asked)
        return self._choose(Question(asked, identity, workers, overlaps or {}, NOW))


def busy(worker: Worker, count: int = 1, seconds: float = 0.0) -> None:
    for _ in range(count):
        worker.load.enter(PendingPrefill(seconds, seconds * 1000, streams=True), NOW)


def test_every_policy_can_be_set() -> None:
    assert set(POLICIES) == set(get_args(PolicyName))


@pytest.mark.parametrize("name", POLICIES)
def test_every_policy_picks_one_of_the_candidates(name: str) -> None:
    table, workers = Table(name), workers_of("a", "b", "c")
    for count in (1, 2, 3):
        for _ in range(5):
            choice = table.choose(workers[:count])
            assert choice.worker in workers[:count]
            assert choice.reason


@pytest.mark.parametrize("name", POLICIES)
def test_choosing_changes_no_load(name: str) -> None:
    workers = workers_of("a", "b")
    Table(name).choose(workers)
    assert [worker.load.inflight for worker in workers] == [0, 0]


@pytest.mark.parametrize("name", ["prefix", "least_load", "random"])
def test_equal_workers_share(name: str) -> None:
    table, workers = Table(name), workers_of("a", "b", "c")
    picked = Counter(table.choose(workers).worker.id for _ in range(300))
    assert all(picked[worker.id] > 50 for worker in workers)


class TestPrefix:
    def test_goes_where_the_prefix_is(self) -> None:
        a, b, c = workers_of("a", "b", "c")
        choice = Table("prefix").choose([a, b, c], {b.id: 20})
        assert choice == Choice(b, "cached")

    def test_more_of_the_prefix_is_better(self) -> None:
        a, b = workers_of("a", "b")
        assert Table("prefix").choose([a, b], {a.id: 5, b.id: 30}).worker is b

    def test_waits_for_the_prefix_only_as_long_as_it_pays(self) -> None:
        a, b = workers_of("a", "b")
        busy(a, seconds=0.01)
        assert Table("prefix").choose([a, b], {a.id: 35}).worker is a
        busy(a, seconds=10.0)
        assert Table("prefix").choose([a, b], {a.id: 35}) == Choice(b, "least_wait")

    def test_without_any_prefix_it_goes_where_least_waits(self) -> None:
        a, b = workers_of("a", "b")
        busy(a, seconds=1.0)
        busy(b, seconds=0.5)
        assert Table("prefix").choose([a, b]) == Choice(b, "least_wait")

    def test_fewer_in_flight_break_ties(self) -> None:
        a, b = workers_of("a", "b")
        busy(a, 2)
        busy(b, 1)
        assert all(Table("prefix").choose([a, b]).worker is b for _ in range(20))

    def test_a_slow_worker_s_wait_weighs_more(self) -> None:
        table = Table("prefix")
        a, b, c = workers_of("a", "b", "c")
        for _ in range(200):
            table.rates.learn(a.id, 0.1, 1.0)
            table.rates.learn(b.id, 0.1, 0.1)
            table.rates.learn(c.id, 0.1, 0.1)
        assert table.choose([a, b], {a.id: 10}).worker is b

    def test_overlaps_of_others_do_not_matter(self) -> None:
        a, b, gone = workers_of("a", "b", "gone")
        assert Table("prefix").choose([a, b], {gone.id: 40}).reason == "least_wait"


class TestLeastLoad:
    def test_goes_where_fewest_are_in_flight(self) -> None:
        a, b, c = workers_of("a", "b", "c")
        busy(a, 2)
        busy(b, 1)
        busy(c, 3)
        assert Table("least_load").choose([a, b, c], {c.id: 40}) == Choice(b, "least_inflight")


class TestRoundRobin:
    def test_takes_turns_in_the_fleet_s_order(self) -> None:
        table, workers = Table("round_robin"), workers_of("a", "b", "c")
        in_order = sorted(workers, key=lambda worker: worker.order)
        picked = [table.choose(workers[::-1]).worker for _ in range(6)]
        assert picked == in_order * 2

    def test_each_model_has_its_own_turns(self) -> None:
        table, workers = Table("round_robin"), workers_of("a", "b")
        first = [table.choose(workers, asked=request({"model": m})).worker for m in "xyxy"]
        assert first[0] is first[1]
        assert first[2] is first[3]
        assert first[0] is not first[2]


class TestSession:
    def asked(self, session: str) -> Request:
        return request(LONG, headers=[(b"x-session-id", session.encode())])

    def test_a_session_stays(self) -> None:
        table, workers = Table("session"), workers_of("a", "b", "c")
        first = table.choose(workers, asked=self.asked("s"))
        assert first.reason == "session"
        busy(first.worker, 50)
        assert table.choose(workers[::-1], asked=self.asked("s")) == first
        assert Table("session").choose(workers, asked=self.asked("s")) == first

    def test_sessions_spread(self) -> None:
        table, workers = Table("session"), workers_of("a", "b", "c")
        picked = Counter(
            table.choose(workers, asked=self.asked(str(n))).worker.id for n in range(300)
        )
        assert all(picked[worker.id] > 60 for worker in workers)

    def test_a_lost_worker_moves_only_its_own_sessions(self) -> None:
        table, workers = Table("session"), workers_of("a", "b", "c")
        for number in range(100):
            before = table.choose(workers, asked=self.asked(str(number))).worker
            after = table.choose(workers[:2], asked=self.asked(str(number))).worker
            assert after is before or before is workers[2]

    def test_without_a_session_it_goes_where_fewest_are_in_flight(self) -> None:
        a, b = workers_of("a", "b")
        busy(a)
        assert Table("session").choose([a, b]) == Choice(b, "least_inflight")

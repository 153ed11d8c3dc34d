"""What the router that looks after a worker tells of it, and what others make of that."""

import asyncio
from collections.abc import Callable
from dataclasses import replace

import msgspec
import pytest

from router.discovery.registry import Discovery
from router.engines.base import Condition, WorkerReport
from router.ids import WorkerId
from router.shared import facts as module
from router.shared.base import Facts, StoreError
from router.shared.facts import FactsKeeper, Told
from router.shared.leases import Leases
from router.shared.orders import drain_key
from tests.unit.shared.support import AWAY, Router, Town

A, B = WorkerId("a:8000"), WorkerId("b:8000")
PATIENCE_S = 20.0


class Side(Router):
    """A router that has `mine`, and its facts; what it follows is in `heard`."""

    def __init__(self, town: Town, name: str, *mine: WorkerId, takes_over: bool = False) -> None:
        router = town.router(name, leads=not takes_over)
        self.__dict__.update(router.__dict__)
        self.leases = Leases(town.registry, self.fleet, self.board, self.bond, self.replica)
        self.leases.mine = frozenset(mine)
        self.heard: dict[WorkerId, Told] = {}
        self.facts = FactsKeeper(
            town.registry,
            self.fleet,
            self.board,
            self.leases,
            self.bond,
            takes_over=takes_over,
        )
        self.facts.heard = lambda: self.heard
        self.discovery = Discovery(self.fleet.set_targets)
        self.discovery.set_sources([worker.target for worker in self.fleet], [])
        self.facts.orders.follow(self.discovery)

    def drained(self, worker: str) -> bool:
        return self.worker(worker).target.drained

    async def tick(self) -> None:
        """The board is read, then facts are told and read."""
        await self.beat()
        await self.facts.tick()

    def follow(self, worker: WorkerId, *, whole: bool = True) -> None:
        self.heard[worker] = Told(16, whole)

    def told(self) -> dict[WorkerId, Told]:
        return dict(self.facts.told())


async def ticks(*sides: Side, times: int = 2) -> None:
    for _ in range(times):
        for side in sides:
            await side.tick()


@pytest.fixture
async def owner(town: Town) -> Side:
    """It has worker `a`."""
    return Side(town, "owner", A)


@pytest.fixture
async def other(town: Town) -> Side:
    """It leads, too, and has no worker."""
    return Side(town, "other")


@pytest.fixture
async def follower(town: Town) -> Side:
    """It takes over what others say of workers, and thinks that all are down."""
    follower = Side(town, "follower", takes_over=True)
    for worker in follower.fleet:
        follower.fleet.mark_down(worker, "nobody asked yet")
    return follower


def known(town: Town) -> dict[WorkerId, Facts]:
    return {worker: facts for worker, (_, facts) in town.registry._facts.items()}


class TestTelling:
    async def test_own_workers_are_told_of(self, town: Town, owner: Side) -> None:
        report = WorkerReport({"m": {"id": "m"}}, 5000, 16, 12.5)
        owner.fleet.set_report(owner.worker("a"), report)
        await owner.tick()
        assert known(town) == {A: Facts(True, {"m": {"id": "m"}}, 5000, 16, 12.5)}

    async def test_once(self, town: Town, owner: Side) -> None:
        await ticks(owner, times=5)
        assert town.registry.version == 1

    async def test_and_again_when_they_change(self, town: Town, owner: Side) -> None:
        await owner.tick()
        worker = owner.worker("a")
        steps: list[Callable[[], None]] = [
            lambda: owner.fleet.mark_down(worker, "away"),
            lambda: owner.fleet.set_report(worker, replace(worker.report, started_at=9.0)),
            lambda: owner.follow(A, whole=False),
            lambda: owner.follow(A),
        ]
        for version, step in enumerate(steps, 2):
            step()
            await ticks(owner)
            assert town.registry.version == version
        assert known(town)[A] == Facts(
            False, {"m": {"id": "m"}}, started_at=9.0, block=16, whole=True
        )

    async def test_all_that_one_has_at_once(self, town: Town) -> None:
        await Side(town, "owner", A, B).tick()
        assert town.registry.calls["facts"] == 1
        assert known(town).keys() == {A, B}

    async def test_each_rank_of_a_server(self, town: Town, owner: Side) -> None:
        owner.fleet.set_report(owner.worker("a"), replace(owner.worker("a").report, ranks=2))
        owner.heard[WorkerId("a:8000#1")] = Told(32, True)
        await owner.tick()
        told = known(town)
        assert told.keys() == {A, "a:8000#1"}
        assert (told[A].block, told[WorkerId("a:8000#1")].block) == (0, 32)
        assert told[A].ranks == 2

    async def test_without_news_the_registry_is_left_alone(
        self, town: Town, owner: Side, other: Side
    ) -> None:
        await ticks(owner, other, times=3)
        before = town.registry.calls["facts"]
        await ticks(owner, other, times=5)
        assert town.registry.calls["facts"] == before

    async def test_what_could_not_be_told_is_told_later(self, town: Town, owner: Side) -> None:
        town.registry.error = AWAY
        with pytest.raises(StoreError):
            await owner.tick()
        assert known(town) == {}
        town.registry.error = None
        await owner.tick()
        assert known(town).keys() == {A}


class TestReading:
    async def test_whose_events_are_followed(self, owner: Side, other: Side) -> None:
        owner.follow(A, whole=False)
        await ticks(owner, other)
        assert other.told() == {A: Told(16, False)}
        assert owner.told() == {}, "that it knows better"
        owner.heard.clear()
        await ticks(owner, other)
        assert other.told() == {}

    async def test_not_while_the_store_is_away(self, owner: Side, other: Side) -> None:
        owner.follow(A)
        await ticks(owner, other)
        other.bond.failed(AWAY)
        assert other.told() == {}
        other.bond.worked()
        assert other.told() == {A: Told(16, True)}

    async def test_only_what_is_new_is_read(self, town: Town) -> None:
        one, two = Side(town, "one", A), Side(town, "two", B)
        since: list[int] = []
        facts = town.registry.facts

        async def noting(at: int, news: dict[WorkerId, Facts]) -> object:
            since.append(at)
            return await facts(at, news)

        town.registry.facts = noting  # type: ignore[assignment,method-assign]
        await ticks(one, two, times=3)
        assert since == [0, 0, 1]
        one.follow(A)
        await ticks(one, two)
        assert since[3:] == [2, 2]

    async def test_one_that_leads_looks_after_its_workers_itself(
        self, owner: Side, other: Side
    ) -> None:
        owner.fleet.mark_down(owner.worker("a"), "away")
        owner.fleet.set_report(owner.worker("a"), WorkerReport({"new": {}}))
        await ticks(owner, other)
        assert other.worker("a").up
        assert other.worker("a").models == ["m"]


class TestTakingOver:
    async def test_health_and_report(self, owner: Side, follower: Side) -> None:
        report = WorkerReport({"m": {"id": "m"}, "n": {}}, 5000, 16, 12.5, 1)
        owner.fleet.set_report(owner.worker("a"), report)
        await ticks(owner, follower)
        assert follower.worker("a").up
        assert follower.worker("a").report == report
        assert not follower.worker("b").up, "nobody tells of it"

    async def test_one_that_is_down(self, owner: Side, follower: Side) -> None:
        await ticks(owner, follower)
        owner.fleet.mark_down(owner.worker("a"), "no answer")
        await ticks(owner, follower)
        worker = follower.worker("a")
        assert not worker.up
        assert worker.last_error == "so says the router that looks after it"
        owner.fleet.mark_up(owner.worker("a"))
        await ticks(owner, follower)
        assert worker.up

    async def test_one_that_is_known_to_be_down_is_not_told_so_again(
        self, owner: Side, follower: Side
    ) -> None:
        owner.fleet.mark_down(owner.worker("a"), "no answer")
        await ticks(owner, follower)
        assert follower.worker("a").last_error == "nobody asked yet"

    async def test_ranks(self, owner: Side, follower: Side) -> None:
        owner.fleet.set_report(owner.worker("a"), replace(owner.worker("a").report, ranks=3))
        await ticks(owner, follower)
        assert [w.id for w in follower.fleet] == [A, "a:8000#1", "a:8000#2", B]
        assert all(w.up for w in follower.fleet if w.process == A)

    async def test_not_of_own_workers(self, town: Town) -> None:
        one = Side(town, "one", A)
        two = Side(town, "two", A, takes_over=True)
        one.fleet.mark_down(one.worker("a"), "away")
        await ticks(one, two)
        assert two.worker("a").up

    async def test_workers_that_are_not_known_here_are_passed_over(
        self, town: Town, follower: Side
    ) -> None:
        await town.registry.facts(0, {WorkerId("z:1"): Facts(True), A: Facts(True, {"x": {}})})
        await ticks(follower)
        assert follower.worker("a").models == ["x"]
        assert len(follower.fleet) == 2


class TestLives:
    @pytest.fixture(autouse=True)
    def one_by_one(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The next life is the least that it can be."""
        monkeypatch.setattr(module, "_now", int)

    async def test_nothing_counts_at_first(self, owner: Side, other: Side) -> None:
        for side in (owner, other):
            assert (side.facts.life(A), side.facts.next_life(A)) == (0, 0)

    async def test_what_is_told_anew_counts_when_all_was_told(
        self, owner: Side, other: Side
    ) -> None:
        owner.follow(A)
        owner.facts.begin_anew(A)
        await ticks(owner, other)
        assert (owner.facts.next_life(A), owner.facts.life(A), other.facts.life(A)) == (1, 0, 0)
        owner.facts.anew(A)
        await ticks(owner, other)
        assert (owner.facts.next_life(A), owner.facts.life(A), other.facts.life(A)) == (1, 1, 1)
        assert other.facts.next_life(A) == 1

    async def test_each_time_with_a_life_of_its_own(self, owner: Side, other: Side) -> None:
        owner.follow(A)
        for life in range(1, 5):
            owner.facts.begin_anew(A)
            assert owner.facts.next_life(A) == life
            await ticks(owner, other)
            assert other.facts.life(A) == life - 1, "meanwhile the last one counts"
            owner.facts.anew(A)
            await ticks(owner, other)
            assert other.facts.life(A) == life

    async def test_beginning_twice_is_another_life(self, owner: Side) -> None:
        for _ in range(3):
            owner.facts.begin_anew(A)
        assert owner.facts.next_life(A) == 3

    async def test_a_later_owner_has_a_later_life(
        self, owner: Side, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Also than one that was never told, of an owner that died before."""
        for now, life in ((500, 500), (400, 501), (600, 600)):
            monkeypatch.setattr(module, "_now", lambda now=now: now)
            owner.facts.begin_anew(A)
            assert owner.facts.next_life(A) == life

    async def test_whose_events_are_not_followed_has_none(self, owner: Side, other: Side) -> None:
        owner.facts.begin_anew(A)
        owner.facts.anew(A)
        await ticks(owner, other)
        assert other.facts.life(A) == 0

    async def test_the_next_owner_goes_on_from_there(self, owner: Side, other: Side) -> None:
        owner.follow(A)
        for _ in range(3):
            owner.facts.begin_anew(A)
        owner.facts.anew(A)
        await ticks(owner, other)
        owner.leases.mine, other.leases.mine = frozenset(), frozenset({A})
        owner.heard.clear()
        other.follow(A)
        other.facts.begin_anew(A)
        assert other.facts.next_life(A) == 4
        other.facts.anew(A)
        await ticks(other, owner)
        assert owner.facts.life(A) == owner.facts.next_life(A) == 4

    async def test_who_gets_a_worker_back_goes_on_from_what_others_told(
        self, town: Town, owner: Side
    ) -> None:
        owner.facts.begin_anew(A)
        owner.leases.mine = frozenset()
        await town.registry.facts(0, {A: Facts(True, block=16, life=9)})
        await ticks(owner)
        owner.leases.mine = frozenset({A})
        owner.facts.begin_anew(A)
        assert owner.facts.next_life(A) == 10


class TestForgetting:
    async def test_an_emptied_store_is_told_all_again(self, town: Town, owner: Side) -> None:
        await owner.tick()
        told = known(town)
        town.registry.empty()
        owner.facts.forget_all()
        await owner.tick()
        assert known(town) == told

    async def test_what_others_told_before_is_of_the_past(
        self, town: Town, owner: Side, other: Side
    ) -> None:
        owner.follow(A)
        owner.facts.begin_anew(A)
        owner.facts.anew(A)
        await ticks(owner, other)
        assert other.told()
        other.facts.forget_all()
        assert other.told() == {}
        assert other.facts.life(A) == 0
        await ticks(other)
        assert other.told() == {A: Told(16, True)}


class TestRunning:
    @staticmethod
    async def until(done: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not done():  # noqa: ASYNC110 - what is awaited has no event
                await asyncio.sleep(0.001)

    async def test_no_failure_ends_it(
        self,
        town: Town,
        owner: Side,
        monkeypatch: pytest.MonkeyPatch,
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        monkeypatch.setattr(module, "_TICK_S", 0.001)
        running = asyncio.create_task(owner.facts.run())
        try:
            await asyncio.sleep(0.01)
            assert town.registry.calls["facts"] == 0, "not before the store was heard of"
            await owner.beat()
            await self.until(lambda: A in known(town))
            for error, reason in ((AWAY, "failed"), (TimeoutError(), "late")):
                town.registry.error = error
                owner.follow(A, whole=reason == "late")
                await self.until(lambda reason=reason: owner.bond.failures[reason] > 0)  # type: ignore[misc]
                owner.bond.worked()
            town.registry.error = ZeroDivisionError("a mishap")
            await self.until(lambda: "sharing what is known of workers failed" in caplog.text)
            town.registry.error = None
            await self.until(lambda: known(town)[A].whole)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)


class TestMendings:
    """What others and failures leave behind is put right."""

    async def test_one_that_failed_here_and_is_well_comes_up_again(
        self, owner: Side, follower: Side
    ) -> None:
        await ticks(owner, follower)
        follower.fleet.mark_down(follower.worker("a"), "a request could not be sent")
        await ticks(owner, follower, times=100)
        assert follower.worker("a").up

    async def test_a_worker_that_comes_after_its_facts_is_known(
        self, owner: Side, follower: Side
    ) -> None:
        follower.fleet.set_workers(["http://b:8000"])
        await ticks(owner, follower)
        follower.fleet.set_workers(["http://a:8000", "http://b:8000"])
        await ticks(owner, follower, times=100)
        assert follower.worker("a").up


def test_facts_are_an_array_of_plain_values() -> None:
    facts = Facts(True, {"m": {"id": "m"}}, 5000, 16, 1.5, 2, 16, True, 7)
    packed = msgspec.msgpack.encode(facts)
    assert msgspec.msgpack.decode(packed, type=Facts) == facts
    assert msgspec.msgpack.decode(packed) == [
        True,
        {"m": {"id": "m"}},
        5000,
        16,
        1.5,
        2,
        16,
        True,
        7,
        "up",
        False,
        "",
        0.0,
        "",
    ]


class TestDraining:
    async def test_all_routers_drain_what_one_is_told_to(
        self, town: Town, owner: Side, other: Side, follower: Side
    ) -> None:
        await ticks(owner, other, follower)
        other.discovery.drain(A, drained=True)
        await ticks(owner, other, follower)
        assert all(side.drained("a") for side in (owner, other, follower))
        assert not any(side.drained("b") for side in (owner, other, follower))
        follower.discovery.drain(A, drained=False)
        await ticks(owner, other, follower)
        assert not any(side.drained("a") for side in (owner, other, follower))

    async def test_who_comes_later_too(self, town: Town, owner: Side) -> None:
        owner.discovery.drain(B, drained=True)
        await ticks(owner)
        late = Side(town, "late")
        await ticks(owner, late)
        assert late.drained("b")

    async def test_an_emptied_store_is_told_again(
        self, town: Town, owner: Side, other: Side
    ) -> None:
        owner.discovery.drain(A, drained=True)
        await ticks(owner, other)
        town.registry._facts.clear()
        owner.facts.forget_all()
        await ticks(owner)
        assert known(town)[drain_key(A)].drained

    async def test_followers_know_what_a_worker_does_not_do(
        self, town: Town, owner: Side, follower: Side
    ) -> None:
        owner.fleet.mark_up(owner.worker("a"))
        owner.fleet.set_condition(owner.worker("a"), Condition.ASLEEP)
        await ticks(owner, follower)
        assert follower.worker("a").up
        assert follower.worker("a").condition is Condition.ASLEEP

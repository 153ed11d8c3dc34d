"""Workers that are shared out between routers: soon, evenly, and by one at a time."""

import asyncio
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from math import ceil

import pytest

from router.ids import WorkerId
from router.shared import leases as module
from router.shared.base import StoreError
from router.shared.leases import Leases
from tests.unit.shared.support import AWAY, LEASE_S, Router, Town

NAMES = [f"w{number}" for number in range(6)]
WORKERS = [WorkerId(f"{name}:8000") for name in NAMES]
PATIENCE_S = 20.0


class Side(Router):
    """A router with its leases, and what it was told of them."""

    def __init__(self, town: Town, name: str, *, leads: bool = True) -> None:
        router = town.router(name, leads=leads, workers=NAMES)
        self.__dict__.update(router.__dict__)
        self.leases = Leases(town.registry, self.fleet, self.board, self.bond, self.replica)
        self.leases.on_change = self._note
        self.changes: list[tuple[set[WorkerId], set[WorkerId]]] = []
        self.gone = False

    @property
    def mine(self) -> frozenset[WorkerId]:
        return self.leases.mine

    def _note(self, won: Iterable[WorkerId], lost: Iterable[WorkerId]) -> None:
        self.changes.append((set(won), set(lost)))

    async def tick(self) -> None:
        """As `Leases.run` does it, after the board was kept."""
        await self.beat(0.0)
        try:
            await self.leases.tick()
        except StoreError as error:
            self.bond.failed(error)


async def seconds(sides: Sequence[Side], count: int) -> None:
    """So many pass for those that are there."""
    for _ in range(count):
        for side in sides:
            side.town.clock.now += 1 / len(sides)
            if not side.gone:
                await side.tick()


def counts(*sides: Side) -> list[int]:
    return [len(side.mine) for side in sides]


def check(town: Town, *sides: Side) -> None:
    """Everybody knows what it has, and nobody has what another has."""
    assert sum(counts(*sides)) == len(WORKERS)
    assert set().union(*(side.mine for side in sides)) == set(WORKERS)
    for side in sides:
        held = {w for w, name in town.registry.holders.items() if name == side.replica.name}
        assert held == side.mine
        won = [w for gained, _ in side.changes for w in gained]
        lost = [w for _, left in side.changes for w in left]
        assert set(side.mine) == {w for w in won if won.count(w) > lost.count(w)}


class TestSharing:
    @pytest.mark.parametrize("number", [1, 2, 3, 4, 6, 8])
    async def test_all_are_shared_out(self, town: Town, number: int) -> None:
        sides = [Side(town, f"r{place}") for place in range(number)]
        await seconds(sides, 12)
        check(town, *sides)
        assert max(counts(*sides)) <= ceil(len(WORKERS) / number)

    async def test_nobody_changes_what_is_even(self, town: Town) -> None:
        sides = [Side(town, name) for name in ("one", "two", "three")]
        await seconds(sides, 12)
        before = [side.mine for side in sides]
        changes = [len(side.changes) for side in sides]
        await seconds(sides, 20)
        assert [side.mine for side in sides] == before
        assert [len(side.changes) for side in sides] == changes
        assert counts(*sides) == [2, 2, 2]

    async def test_what_a_dead_one_had_is_taken_over(self, town: Town) -> None:
        sides = one, two, three = [Side(town, name) for name in ("one", "two", "three")]
        await seconds(sides, 12)
        two.gone = True
        await seconds(sides, int(LEASE_S) - 1)
        assert sum(counts(one, three)) == 4, "not before its lease has run out"
        await seconds(sides, 10)
        check(town, one, three)
        assert counts(one, three) == [3, 3]

    async def test_what_one_had_that_took_leave_is_taken_over_at_once(self, town: Town) -> None:
        one, two = Side(town, "one"), Side(town, "two")
        await seconds([one, two], 8)
        await two.leases.close()
        assert set(town.registry.holders.values()) == {"one"}
        assert len(town.registry.holders) == 3
        two.gone = True
        await seconds([one], 8)
        check(town, one)

    async def test_a_new_one_gets_its_share_one_by_one(self, town: Town) -> None:
        one = Side(town, "one")
        await seconds([one], 4)
        assert counts(one) == [6]
        two = Side(town, "two")
        before = len(one.changes)
        await seconds([one, two], 12)
        check(town, one, two)
        assert counts(one, two) == [3, 3]
        assert [len(lost) for _, lost in one.changes[before:]] == [1, 1, 1]

    async def test_a_third_one_too(self, town: Town) -> None:
        sides = [Side(town, "one"), Side(town, "two")]
        await seconds(sides, 8)
        sides.append(Side(town, "three"))
        await seconds(sides, 15)
        check(town, *sides)
        assert counts(*sides) == [2, 2, 2]

    async def test_one_that_was_stopped_for_long_learns_what_it_lost(self, town: Town) -> None:
        one, two = Side(town, "one"), Side(town, "two")
        await seconds([one, two], 8)
        two.gone = True
        await seconds([one, two], 12)
        assert counts(one) == [6]
        two.gone = False
        await seconds([one, two], 15)
        check(town, one, two)
        assert counts(one, two) == [3, 3]

    async def test_a_worker_that_left_is_given_back(self, town: Town) -> None:
        one = Side(town, "one")
        await seconds([one], 4)
        one.fleet.set_workers([f"http://{name}:8000" for name in NAMES[1:]])
        await seconds([one], 1)
        assert one.mine == set(WORKERS[1:])
        assert town.registry.asked[-1] == ("one", WORKERS[1:], WORKERS[:1])
        assert set(town.registry.holders) == set(WORKERS[1:])

    async def test_a_new_worker_is_taken(self, town: Town) -> None:
        one, two = Side(town, "one"), Side(town, "two")
        await seconds([one, two], 8)
        for side in (one, two):
            side.fleet.set_workers([f"http://{name}:8000" for name in [*NAMES, "new"]])
        await seconds([one, two], 8)
        assert sorted(counts(one, two)) == [3, 4]

    async def test_a_server_is_held_with_all_its_ranks(self, town: Town) -> None:
        one = Side(town, "one")
        worker = one.worker("w0")
        one.fleet.set_report(worker, replace(worker.report, ranks=3))
        await seconds([one], 4)
        assert one.mine == set(WORKERS)
        assert all(one.leases.owns(each.id) for each in one.fleet)
        assert one.leases.owns(WorkerId("w0:8000#2"))
        assert not one.leases.owns(WorkerId("other:8000#2"))


class TestFollowers:
    async def test_they_take_none_while_somebody_leads(self, town: Town) -> None:
        leader, follower = Side(town, "leader"), Side(town, "follower", leads=False)
        await seconds([follower, leader], 15)
        assert counts(leader, follower) == [6, 0]
        assert follower.changes == []

    async def test_they_look_rarely_meanwhile(self, town: Town) -> None:
        leader, follower = Side(town, "leader"), Side(town, "follower", leads=False)
        await seconds([leader, follower], 5)
        town.registry.asked.clear()
        await seconds([leader, follower], 20)
        asked = [name for name, _, _ in town.registry.asked]
        assert (asked.count("leader"), asked.count("follower")) == (20, 4)

    async def test_they_take_all_when_nobody_does(self, town: Town) -> None:
        sides = [Side(town, f"follower-{number}", leads=False) for number in range(2)]
        await seconds(sides, 12)
        check(town, *sides)
        assert counts(*sides) == [3, 3]

    async def test_they_take_over_from_the_last_that_led(self, town: Town) -> None:
        leader, follower = Side(town, "leader"), Side(town, "follower", leads=False)
        await seconds([leader, follower], 6)
        leader.gone = True
        await seconds([leader, follower], 15)
        check(town, follower)

    async def test_they_take_what_those_that_lead_do_not_know(self, town: Town) -> None:
        leader, follower = Side(town, "leader"), Side(town, "follower", leads=False)
        leader.fleet.set_workers([f"http://{name}:8000" for name in NAMES[:2]])
        await seconds([leader, follower], 60)
        assert leader.mine == set(WORKERS[:2])
        assert follower.mine == set(WORKERS[2:])


class TestAway:
    async def test_all_stays_as_it_is(self, town: Town) -> None:
        sides = one, two = Side(town, "one"), Side(town, "two")
        await seconds(sides, 8)
        before = one.mine, two.mine
        town.store.fail("all")
        town.registry.error = AWAY
        await seconds(sides, 9)
        assert (one.mine, two.mine) == before
        assert not one.bond.up

    async def test_after_a_while_one_that_leads_takes_all(self, town: Town) -> None:
        sides = one, two = Side(town, "one"), Side(town, "two")
        await seconds(sides, 8)
        town.store.fail("all")
        await seconds(sides, 12)
        assert one.mine == two.mine == set(WORKERS)

    async def test_one_that_follows_keeps_what_it_has(self, town: Town) -> None:
        follower = Side(town, "follower", leads=False)
        await seconds([follower], 6)
        assert follower.mine == set(WORKERS)
        town.store.fail("all")
        follower.fleet.set_workers([f"http://{name}:8000" for name in [*NAMES[1:], "new"]])
        await seconds([follower], 15)
        assert follower.mine == set(WORKERS[1:])

    async def test_one_that_has_none_takes_none(self, town: Town) -> None:
        follower = Side(town, "follower", leads=False)
        town.store.fail("all")
        await seconds([follower], 15)
        assert follower.mine == set()

    async def test_when_it_is_back_they_share_again(self, town: Town) -> None:
        sides = one, two = Side(town, "one"), Side(town, "two")
        await seconds(sides, 8)
        town.store.fail("all")
        await seconds(sides, 15)
        town.store.fail()
        await seconds(sides, 15)
        check(town, one, two)
        assert counts(one, two) == [3, 3]

    async def test_a_registry_that_fails_changes_nothing(self, town: Town) -> None:
        one = Side(town, "one")
        await seconds([one], 4)
        town.registry.error = AWAY
        with pytest.raises(StoreError):
            await one.leases.tick()
        assert one.mine == set(WORKERS)


class TestTakingLeave:
    async def test_without_leases_there_is_nothing_to_say(self, town: Town) -> None:
        one = Side(town, "one")
        await one.beat()
        await one.leases.close()
        assert town.registry.asked == []

    async def test_a_store_that_is_away_is_not_told(self, town: Town) -> None:
        one = Side(town, "one")
        await seconds([one], 4)
        one.bond.failed(AWAY)
        asked = len(town.registry.asked)
        await one.leases.close()
        assert len(town.registry.asked) == asked

    async def test_a_failure_is_nobodys_concern(
        self, town: Town, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = Side(town, "one")
        await seconds([one], 4)
        town.registry.error = AWAY
        await one.leases.close()

        async def hangs(*args: object) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(module, "_TIMEOUT_S", 0.01)
        monkeypatch.setattr(town.registry, "lease", hangs)
        await one.leases.close()


class TestRunning:
    @staticmethod
    async def until(done: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not done():  # noqa: ASYNC110 - what is awaited has no event
                await asyncio.sleep(0.001)

    async def test_no_failure_ends_it(
        self, town: Town, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        monkeypatch.setattr(module, "_TICK_S", 0.001)
        one = Side(town, "one")
        await one.beat()
        running = asyncio.create_task(one.leases.run())
        try:
            await self.until(lambda: len(one.mine) == 6)
            for error, reason in ((AWAY, "failed"), (TimeoutError(), "late")):
                town.registry.error = error
                await self.until(lambda reason=reason: one.bond.failures[reason] > 0)  # type: ignore[misc]
                one.bond.worked()
            town.registry.error = ZeroDivisionError("a mishap")
            await self.until(lambda: "sharing the workers out failed" in caplog.text)
            town.registry.error, asked = None, len(town.registry.asked)
            await self.until(lambda: len(town.registry.asked) > asked + 2)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
        assert one.mine == set(WORKERS)


class TestMendings:
    """What others and failures leave behind is put right."""

    async def test_followers_give_all_back_when_somebody_leads_again(self, town: Town) -> None:
        follower = Side(town, "follower", leads=False)
        await seconds([follower], 6)
        leader = Side(town, "leader")
        await seconds([follower, leader], 60)
        assert counts(leader, follower) == [6, 0]

    async def test_a_second_follower_gets_its_share(self, town: Town) -> None:
        one = Side(town, "one", leads=False)
        await seconds([one], 6)
        two = Side(town, "two", leads=False)
        await seconds([one, two], 60)
        assert counts(one, two) == [3, 3]

    async def test_one_whose_workers_nobody_else_has_keeps_them(self, town: Town) -> None:
        one, two = Side(town, "one"), Side(town, "two")
        two.fleet.set_workers([])
        await seconds([one, two], 20)
        before = len(one.changes)
        await seconds([one, two], 40)
        assert len(one.changes) == before

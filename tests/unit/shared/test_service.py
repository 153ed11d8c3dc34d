"""All that routers share, put together: what one learns the other one knows."""

import asyncio
from collections.abc import Callable

import pytest

from router.engines.base import Gauges
from router.ids import WorkerId
from router.index.union import UnionIndex
from router.prompt.identity import TokenIdentity
from router.prompt.segments import by_place
from router.prompt.token_blocks import token_keys
from router.shared.base import GPU, Replica, StoreError, as_store_error
from router.shared.base import Told as Gauged
from router.shared.bond import Bond
from router.shared.facts import Told
from router.shared.service import Ends, Shared
from router.telemetry.metrics import Histogram
from tests.conformance.index_suite import prompt
from tests.unit.shared.support import AWAY, KV_TOKENS, Town
from tests.unit.support import fleet_of

A, B = WorkerId("a:8000"), WorkerId("b:8000")
PATIENCE_S = 20.0
BLOCK = 16
TEXT_PROMPT = prompt("abcdefgh")
KEYS = token_keys(range(100), BLOCK)
TOKENS = TokenIdentity.of(KEYS, 100, BLOCK, TEXT_PROMPT)


class Side:
    """A router. It follows the events of the workers that it looks after."""

    def __init__(self, town: Town, name: str, *, leads: bool = True) -> None:
        self.town, self.disconnected = town, 0
        self.fleet = fleet_of("a", "b")
        ends = Ends(town.store, town.registry, Bond(now=town.clock), self._disconnect)
        self.shared = Shared(
            ends,
            self.fleet,
            Replica(name, leads),
            Histogram((1.0,)),
            deadline_s=PATIENCE_S,
            kv_tokens=lambda _: KV_TOKENS,
        )
        self.index = UnionIndex()
        self.events = self.shared.teller.sink(GPU, self.index)
        self.shared.facts.heard = lambda: {
            worker.id: Told(BLOCK, True) for worker in self.fleet if self.shared.owns(worker)
        }
        self.shared.teller.block_of = lambda _: BLOCK

    async def _disconnect(self) -> None:
        self.disconnected += 1

    async def second(self) -> None:
        """All that runs in the background has its turn."""
        shared = self.shared
        self.town.clock.now += 1.0
        steps = (shared.board.tick, shared.leases.tick, self._tell, shared.facts.tick)
        for step in steps:
            if not shared.bond.up and step != shared.board.tick and step != shared.leases.tick:
                continue
            try:
                await step()
            except (StoreError, TimeoutError) as error:
                shared.bond.failed(as_store_error(error))
        shared.board._forget_the_past()

    async def _tell(self) -> None:
        teller, writer = self.shared.teller, self.shared.writer
        while teller._walks:
            teller.step()
        while len(writer) and await writer._flush():
            pass

    @property
    def mine(self) -> set[WorkerId]:
        return set(self.shared.leases.mine)


async def seconds(*sides: Side, count: int = 8) -> None:
    for _ in range(count):
        for side in sides:
            await side.second()


@pytest.fixture
async def pair(town: Town) -> tuple[Side, Side]:
    """Each has a worker: the first of them worker `a`, or the second is given first."""
    one, two = Side(town, "one"), Side(town, "two")
    await seconds(one, two)
    return (one, two) if one.mine == {A} else (two, one)


class TestTogether:
    async def test_the_workers_are_shared_out(self, pair: tuple[Side, Side]) -> None:
        one, two = pair
        assert (one.mine, two.mine) == ({A}, {B})
        assert one.shared.owns(one.fleet.processes()[0])
        assert not two.shared.owns(two.fleet.processes()[0])

    async def test_what_one_hears_of_its_workers_the_other_knows(
        self, pair: tuple[Side, Side]
    ) -> None:
        one, two = pair
        one.events.stored(A, KEYS[:4])
        two.events.stored(B, KEYS[:2])
        await seconds(one, two, count=1)
        assert (await two.shared.known(TOKENS)).elsewhere == {A: 4}
        assert (await one.shared.known(TOKENS)).elsewhere == {B: 2}
        assert dict(two.shared.facts.told()) == {A: Told(BLOCK, True)}

    async def test_so_it_does_what_was_sent(self, pair: tuple[Side, Side]) -> None:
        one, two = pair
        one.shared.teller.sent(B, TOKENS)
        await seconds(one, two, count=1)
        found = await one.shared.known(TOKENS)
        assert found.text.elsewhere == {B: len(TEXT_PROMPT.keys)}
        assert found.elsewhere == {B: 6}
        assert (await two.shared.known(TEXT_PROMPT)).elsewhere == {B: len(TEXT_PROMPT.keys)}

    async def test_what_a_new_owner_knows_replaces_what_was_told(
        self, pair: tuple[Side, Side]
    ) -> None:
        one, two = pair
        one.events.stored(A, KEYS)
        two.index.stored(A, KEYS[:3])  # as it will hear when it follows the worker
        await seconds(one, two, count=1)
        await one.shared.close()
        third = Side(one.town, "third")
        await seconds(two, count=8)
        assert two.mine == {A, B}
        await seconds(third, two, count=2)
        assert (await third.shared.known(TOKENS)).elsewhere == {A: 3}

    async def test_what_its_last_owner_tells_late_changes_nothing(
        self, pair: tuple[Side, Side]
    ) -> None:
        one, two = pair
        for side in pair:
            side.index.stored(A, KEYS)
        one.events.stored(A, KEYS)
        await seconds(one, two, count=1)
        one.events.removed(A, KEYS[3:])
        one.events.stored(A, KEYS[3:])  # both wait, as `one` is stopped for a while
        await seconds(two, count=10)
        assert two.mine == {A, B}
        third = Side(one.town, "third", leads=False)
        await seconds(third, two, count=2)
        assert (await third.shared.known(TOKENS)).elsewhere == {A: 6}
        await seconds(one, two, third, count=2)
        assert (await third.shared.known(TOKENS)).elsewhere == {A: 6}

    async def test_what_an_owner_told_that_died_meanwhile_does_not_count(
        self, town: Town, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clock = [1_000]
        monkeypatch.setattr("router.shared.facts._now", lambda: clock[0])
        one, reader = Side(town, "one"), Side(town, "reader", leads=False)

        async def never() -> None:
            """It does not come to the point where what it tells counts."""

        monkeypatch.setattr(one.shared.facts, "tick", never)
        one.index.stored(A, KEYS)
        await seconds(one, count=4)
        assert one.mine == {A, B}
        await one.shared.close()
        clock[0] += 4
        two = Side(town, "two")
        two.index.stored(A, KEYS[:2])
        await seconds(two, reader)
        assert (await reader.shared.known(TOKENS)).elsewhere == {A: 2}

    async def test_responses(self, pair: tuple[Side, Side]) -> None:
        one, two = pair
        one.shared.homes.remember("resp_1", A)
        await one.shared.homes.close()
        assert await two.shared.home("resp_1") == A
        assert await two.shared.home("resp_2") is None

    async def test_one_that_only_follows_goes_by_what_others_say(self, town: Town) -> None:
        leader, follower = Side(town, "leader"), Side(town, "follower", leads=False)
        await seconds(leader, follower)
        worker = leader.fleet.processes()[0]
        leader.fleet.mark_down(worker, "away")
        await seconds(leader, follower)
        assert [each.up for each in follower.fleet] == [False, True]
        assert (leader.mine, follower.mine) == ({A, B}, set())


class TestEmptied:
    async def test_all_is_told_anew(self, pair: tuple[Side, Side]) -> None:
        one, two = pair
        one.events.stored(A, KEYS)
        one.shared.teller.sent(A, TEXT_PROMPT)
        await seconds(one, two, count=2)
        one.town.store.empty()
        one.town.registry.empty()
        assert (await two.shared.known(TOKENS)).elsewhere == {}
        await seconds(one, two, count=8)
        assert two.shared.board.epoch == one.shared.board.epoch == b"e1"
        owner, other = (one, two) if A in one.mine else (two, one)
        owner.events.stored(A, KEYS)
        await seconds(owner, other, count=2)
        found = await other.shared.known(TOKENS)
        assert found.elsewhere == {A: 6}
        assert found.text.elsewhere == {}, "text is not kept to be told again"

    async def test_what_waits_is_of_the_past(self, pair: tuple[Side, Side]) -> None:
        one, _ = pair
        one.shared.teller.sent(A, TEXT_PROMPT)
        assert len(one.shared.writer)
        one.town.store.empty()
        await one.shared.board.tick()
        one.town.clock.now += 1
        await one.shared.board.tick()
        assert len(one.shared.writer) == 0

    async def test_when_writes_were_lost_own_workers_are_told_anew(
        self, pair: tuple[Side, Side]
    ) -> None:
        one, two = pair
        one.events.stored(A, KEYS)
        await seconds(one, two, count=1)
        life = one.shared.facts.next_life(A)
        one.shared.writer.on_lost()
        assert one.shared.facts.next_life(A) > life
        assert two.shared.facts.next_life(A) == life
        await seconds(one, two, count=2)
        assert (await two.shared.known(TOKENS)).elsewhere == {A: 6}


class TestLookingAfter:
    async def test_who_leads_probes_all(self, pair: tuple[Side, Side]) -> None:
        for side in pair:
            assert all(side.shared.looks_after(worker) for worker in side.fleet)

    async def test_who_follows_probes_its_own(self, town: Town) -> None:
        leader, follower = Side(town, "leader"), Side(town, "follower", leads=False)
        await seconds(leader, follower)
        a, b = follower.fleet
        assert not follower.shared.looks_after(a)
        follower.shared.leases.mine = frozenset({A})
        assert follower.shared.looks_after(a)
        assert not follower.shared.looks_after(b)

    async def test_alone_it_looks_who_is_back(self, town: Town) -> None:
        leader, follower = Side(town, "leader"), Side(town, "follower", leads=False)
        await seconds(leader, follower)
        a, b = follower.fleet
        town.store.fail("all")
        await follower.second()
        follower.fleet.mark_down(a, "away")
        await follower.second()
        assert not follower.shared.bond.alone
        assert not follower.shared.looks_after(a)
        for _ in range(12):
            await follower.second()
        assert follower.shared.looks_after(a)
        assert not follower.shared.looks_after(b)

    async def test_a_cache_that_was_lost_is_told_by_its_owner(
        self, pair: tuple[Side, Side]
    ) -> None:
        one, two = pair
        keys = by_place(TEXT_PROMPT.keys)
        one.shared.teller.sent(A, TEXT_PROMPT)
        await seconds(one, two, count=1)
        assert (await two.shared.known(TEXT_PROMPT)).elsewhere == {A: len(keys)}
        for side in pair:
            worker = side.fleet.get(A)
            assert worker is not None
            side.shared.lost_cache(worker)
        await seconds(one, two, count=2)
        assert two.shared.board.row(A).clock == 2 * KV_TOKENS
        assert (await two.shared.known(TEXT_PROMPT)).elsewhere == {}


class TestMetrics:
    @staticmethod
    def report(side: Side, running: int = 5, waiting: int = 2, usage: float | None = 0.25) -> None:
        for worker in side.fleet:
            worker.load.report(Gauges(running, waiting, usage), worker.load.counts(), 0.0)

    @staticmethod
    def told(side: Side) -> dict[WorkerId, Gauged | None]:
        return {worker.id: side.shared.board.told(worker) for worker in side.fleet}

    async def test_own_workers_are_told_of(self, pair: tuple[Side, Side]) -> None:
        one, _ = pair
        assert self.told(one) == {A: None, B: None}
        self.report(one)
        assert self.told(one) == {A: Gauged(5, 2, 250), B: None}
        assert self.told(one) == {A: Gauged(5, 2, 250), B: None}, "the board knows what is news"
        self.report(one, waiting=1)
        assert self.told(one) == {A: Gauged(5, 1, 250), B: None}

    async def test_numbers_that_are_not_known_or_large(self, pair: tuple[Side, Side]) -> None:
        one, _ = pair
        self.report(one, 100_000, 100_000, None)
        assert self.told(one)[A] == Gauged(0xFFFF, 0xFFFF, 0)

    async def test_they_reach_one_that_only_follows(
        self, town: Town, pair: tuple[Side, Side]
    ) -> None:
        one, two = pair
        follower = Side(town, "follower", leads=False)
        await seconds(one, two, follower, count=2)
        self.report(one)
        self.report(two, running=9)
        await seconds(one, two, follower, count=2)
        assert [worker.load.reported_running for worker in follower.fleet] == [5, 9]

    async def test_what_could_not_be_told_is_told_later(self, pair: tuple[Side, Side]) -> None:
        one, _ = pair
        self.report(one)
        one.town.store.fail("publish")
        await one.second()
        one.town.store.fail()
        for _ in range(2):
            await one.second()
        assert one.shared.board.row(A).running == 5

    async def test_a_new_owner_tells_them_anew(self, pair: tuple[Side, Side]) -> None:
        one, two = pair
        self.report(one)
        self.report(two)
        assert self.told(two) == {A: None, B: Gauged(5, 2, 250)}
        await one.shared.close()
        for _ in range(8):
            await two.shared.leases.tick()
            two.town.clock.now += 1.0
            await two.shared.board.tick()
        assert two.mine == {A, B}
        rows = two.town.store.rows
        assert [rows[two.shared.board.numbers[worker]].running for worker in (A, B)] == [5, 5]


class TestService:
    async def test_how_it_goes(self, pair: tuple[Side, Side]) -> None:
        one, _ = pair
        one.shared.teller.sent(A, TEXT_PROMPT)
        sample = one.shared.sample()
        assert (sample.up, sample.leaders, sample.followers, sample.leased) == (True, 2, 0, 1)
        assert (sample.waiting, sample.written, sample.lost) == (8, 0, 0)
        await one.second()
        one.shared.bond.failed(AWAY)
        sample = one.shared.sample()
        assert (sample.up, sample.failures) == (False, {"failed": 1})
        assert (sample.waiting, sample.written) == (0, 8)

    async def test_closing_gives_back_and_disconnects(self, pair: tuple[Side, Side]) -> None:
        one, two = pair
        one.shared.homes.remember("resp_1", A)
        await one.shared.close()
        assert one.disconnected == 1
        assert one.town.registry.holders == {B: two.shared.replica.name}
        assert one.town.registry._homes == {"resp_1": A}

    async def test_keeping_says_when_a_break_lasts(
        self, pair: tuple[Side, Side], caplog: pytest.LogCaptureFixture
    ) -> None:
        one, _ = pair
        one.shared.bond.failed(AWAY)
        one.town.clock.now += 1
        one.shared.keep()
        assert "cannot be asked" in caplog.text

    async def test_its_tasks_do_all_that(self, town: Town) -> None:
        side = Side(town, "one")
        names, steps = zip(*side.shared.tasks(), strict=True)
        assert names == (
            "shared-board",
            "shared-writes",
            "shared-leases",
            "shared-facts",
            "shared-blocks",
        )
        running = [asyncio.ensure_future(step) for step in steps]
        try:
            await self.until(town, lambda: side.mine == {A, B})
            side.events.stored(A, KEYS)
            side.shared.teller.sent(B, TEXT_PROMPT)
            await self.until(town, lambda: side.shared.facts.life(A) > 0)
            await self.until(town, lambda: side.shared.writer.written >= len(KEYS))
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    @staticmethod
    async def until(town: Town, done: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not done():
                town.clock.now += 0.1
                await asyncio.sleep(0.01)

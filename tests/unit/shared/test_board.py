"""Routers that tell each other what they have under way, and what a worker's blocks are worth."""

import asyncio
import random
import struct
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest

from router.engines.base import Gauges
from router.fleet.load import PendingPrefill
from router.ids import WorkerId
from router.shared import board as module
from router.shared.base import (
    CPU,
    DISK,
    GPU,
    IGNORED,
    KINDS,
    TEXT,
    Row,
    Share,
    StoreError,
    Told,
    as_store_error,
    stamp_of,
)
from tests.unit.shared.support import AWAY, KV_TOKENS, Router, Town

A, B = WorkerId("a:8000"), WorkerId("b:8000")
PATIENCE_S = 20.0


@pytest.fixture
async def pair(town: Town) -> tuple[Router, Router]:
    """Two routers that have heard of each other."""
    one, two = town.router("one"), town.router("two")
    for router in (one, two, one, two):
        await router.beat()
    return one, two


class Crowd:
    """Three routers with a store that fails now and then, is emptied, or numbers workers otherwise."""

    def __init__(self, town: Town, seed: int) -> None:
        self.dice, self.town = random.Random(seed), town
        self.running: list[tuple[Router, str, PendingPrefill]] = []
        self.routers = [
            town.router(name, leads=name != "two", workers=self.dice.sample("ab", 2))
            for name in ("one", "two", "three")
        ]

    async def step(self) -> None:
        dice, router = self.dice, self.dice.choice(self.routers)
        chance = dice.randrange(20)
        if chance < 5:
            self.send(router, dice.choice("ab"))
        elif chance < 8 and self.running:
            self.end()
        elif chance < 10:
            self.town.store.fail(dice.choice(["all", "publish", "enrol"]))
            await router.beat(dice.random())
            self.town.store.fail()
        elif chance == 10:
            self.town.store.empty()
        elif chance == 11:
            await self.town.store.enrol([WorkerId(f"{name}:8000") for name in "zba"])
        else:
            await router.beat(dice.choice([dice.random()] * 8 + [4.0, 61.0]))

    def send(self, router: Router, name: str) -> None:
        prefill = router.send(name, context=self.dice.randrange(5000))
        self.running.append((router, name, prefill))

    def end(self) -> None:
        router, name, prefill = self.running.pop(self.dice.randrange(len(self.running)))
        router.end(name, prefill)

    def check(self) -> None:
        for router in self.routers:
            for worker in router.fleet:
                assert 0 <= worker.load.own <= worker.load.inflight

    async def settle(self) -> None:
        for router in self.routers * 4:
            await router.beat(0.6)


class TestLoads:
    async def test_what_one_has_under_way_counts_for_the_other(
        self, pair: tuple[Router, Router]
    ) -> None:
        one, two = pair
        sent = one.send("a", tokens=700, seconds=2.5, context=9000)
        await one.beat(0.0)
        await two.beat()
        load, now = two.worker("a").load, two.town.clock.now
        assert (load.inflight, load.own, load.context_tokens) == (1, 0, 9000)
        assert load.pending_tokens(now) == 700
        assert load.pending_seconds(now) == pytest.approx(2.5)
        assert two.worker("b").load.inflight == 0
        one.worker("a").load.prefilled(sent, now)
        await one.beat(0.0)
        await two.beat()
        assert (load.inflight, load.pending_tokens(two.town.clock.now)) == (1, 0)
        one.end("a", sent)
        await one.beat(0.0)
        await two.beat()
        assert (load.inflight, load.context_tokens) == (0, 0)

    async def test_own_requests_are_not_counted_twice(self, pair: tuple[Router, Router]) -> None:
        one, two = pair
        for _ in range(3):
            one.send("a")
            two.send("a")
            for router in (one, two, one, two):
                await router.beat(0.6)
        for router in pair:
            load = router.worker("a").load
            assert (load.own, load.inflight, load.context_tokens) == (3, 6, 6000)
            assert load.pending_tokens(router.town.clock.now) == pytest.approx(600)

    async def test_own_requests_that_were_not_told_yet_are_not_taken_for_others(
        self, pair: tuple[Router, Router]
    ) -> None:
        one, two = pair
        one.send("a")
        await one.beat(0.0)
        two.send("a")
        two.send("a")
        two.board.read(two.town.store.shelf.rows())
        assert two.worker("a").load.inflight == 3

    async def test_own_requests_that_ended_untold_are_not_taken_for_others(
        self, pair: tuple[Router, Router]
    ) -> None:
        one, _ = pair
        sent = one.send("a")
        await one.beat(0.0)
        one.end("a", sent)
        one.board.read(one.town.store.shelf.rows())
        assert one.worker("a").load.inflight == 0

    async def test_a_silent_router_is_forgotten(self, pair: tuple[Router, Router]) -> None:
        one, two = pair
        one.send("a")
        await one.beat(0.0)
        await two.beat()
        assert two.worker("a").load.inflight == 1
        await two.beat(3.5)
        assert two.worker("a").load.inflight == 0
        assert two.board.leaders == 1

    async def test_and_tells_all_again_when_it_is_back(self, pair: tuple[Router, Router]) -> None:
        one, two = pair
        one.send("a")
        await one.beat(0.0)
        await two.beat(3.5)
        assert two.worker("a").load.inflight == 0
        await one.beat(0.0)
        await one.beat(0.0)
        await two.beat()
        assert two.worker("a").load.inflight == 1
        assert one.worker("a").load.inflight == 1

    async def test_others_are_forgotten_when_the_store_is_away(
        self, pair: tuple[Router, Router]
    ) -> None:
        one, two = pair
        one.send("a")
        two.send("a")
        await one.beat(0.0)
        await two.beat()
        two.town.store.fail("all")
        await two.beat(2.0)
        assert two.worker("a").load.inflight == 2
        await two.beat(1.5)
        load = two.worker("a").load
        assert (load.own, load.inflight) == (1, 1)
        assert not two.bond.up

    async def test_and_are_heard_of_again_when_it_is_back(
        self, pair: tuple[Router, Router]
    ) -> None:
        one, two = pair
        one.send("a")
        await one.beat(0.0)
        await two.beat()
        two.town.store.fail("all")
        await two.beat(3.5)
        assert two.worker("a").load.inflight == 0
        two.town.store.fail()
        one.send("a")
        for router in (one, one, two):
            await router.beat(0.0)
        assert two.bond.up
        assert two.worker("a").load.inflight == 2

    @pytest.mark.parametrize("seed", range(12))
    async def test_any_routers_agree_in_the_end(self, town: Town, seed: int) -> None:
        """Whatever they do, and whatever the store does meanwhile."""
        crowd = Crowd(town, seed)
        for _ in range(150):
            await crowd.step()
            crowd.check()
        await crowd.settle()
        for router in crowd.routers:
            for name in "ab":
                sent = [prefill for _, at, prefill in crowd.running if at == name]
                load = router.worker(name).load
                assert load.inflight == len(sent)
                assert load.context_tokens == pytest.approx(sum(each.context for each in sent))


class TestPublishing:
    async def test_nothing_is_told_twice(self, pair: tuple[Router, Router]) -> None:
        one, _ = pair
        one.send("a")
        await one.beat(0.0)
        before = one.town.store.calls["publish"]
        prefill = next(iter(one.worker("a").load))
        one.worker("a").load.prefilled(prefill, one.town.clock.now)
        await one.beat(0.0)
        assert one.town.store.calls["publish"] == before + 1
        for _ in range(5):
            await one.beat(0.05)
        assert one.town.store.calls["publish"] == before + 1

    async def test_that_it_is_there_is_told_every_so_often(
        self, pair: tuple[Router, Router]
    ) -> None:
        one, _ = pair
        before = one.town.store.calls["publish"]
        for _ in range(25):
            await one.beat(0.11)
        assert one.town.store.calls["publish"] == before + 5

    async def test_while_the_store_is_away_each_tick_tries(
        self, pair: tuple[Router, Router]
    ) -> None:
        one, _ = pair
        one.town.store.fail("publish")
        await one.beat()
        before = one.town.store.calls["publish"]
        for _ in range(3):
            await one.beat(0.05)
        assert one.town.store.calls["publish"] == before + 3

    async def test_tokens_sent_advance_the_clock_once(self, pair: tuple[Router, Router]) -> None:
        one, two = pair
        for router, tokens in ((one, 3000), (two, 5000), (one, 200)):
            router.send("a", tokens=tokens)
            await router.beat(0.0)
            await router.beat()
        await two.beat()
        assert two.board.row(A).clock == 8200
        assert two.board.stamp(A) == 8
        assert two.board.stamp(B) == 0

    async def test_tokens_that_could_not_be_told_are_told_later(
        self, pair: tuple[Router, Router]
    ) -> None:
        one, _ = pair
        one.send("a", tokens=3000)
        one.town.store.fail("publish")
        await one.beat()
        one.send("a", tokens=1000)
        one.town.store.fail()
        await one.beat()
        assert one.board.row(A).clock == 4000

    async def test_large_numbers_fit(self, pair: tuple[Router, Router]) -> None:
        one, _ = pair
        one.send("a", tokens=1e12, seconds=1e9, context=1e12)
        await one.beat(0.0)
        row = one.town.store.rows[0]
        assert row[:5] == (1, 1, 2**32 - 1, 2**32 - 1, 2**32 - 1)


class TestEpochs:
    async def test_the_first_is_told_too(self, town: Town) -> None:
        one = town.router("one")
        await one.beat()
        assert one.epochs == [b"e0"]
        await one.beat()
        assert one.epochs == [b"e0"]

    async def test_a_store_that_was_emptied_is_told_all_anew(
        self, pair: tuple[Router, Router]
    ) -> None:
        one, two = pair
        one.send("a")
        two.send("a")
        for router in pair:
            await router.beat(0.0)
        one.town.store.empty()
        for router in (*pair, *pair, *pair):
            await router.beat(0.6)
        for router in pair:
            assert router.epochs == [b"e0", b"e1"]
            assert router.board.epoch == b"e1"
            assert router.worker("a").load.inflight == 2
        assert one.town.store.rows[one.board.numbers[A]].inflight == 2

    async def test_workers_have_the_numbers_of_the_new_one(
        self, pair: tuple[Router, Router]
    ) -> None:
        one, _ = pair
        one.town.store.empty()
        await one.town.store.enrol([B, A])
        await one.beat()
        assert one.board.numbers == {B: 0, A: 1}
        assert one.board.names == {0: B, 1: A}

    async def test_clocks_count_from_there(self, pair: tuple[Router, Router]) -> None:
        one, _ = pair
        one.send("a", tokens=5000)
        await one.beat()
        one.town.store.empty()
        await one.beat()
        one.send("a", tokens=2000)
        await one.beat()
        assert one.board.row(A).clock == 2000


class TestNumbers:
    async def test_a_new_worker_is_enrolled_at_once(self, pair: tuple[Router, Router]) -> None:
        one, _ = pair
        one.fleet.set_workers(["http://a:8000", "http://b:8000", "http://c:8000"])
        await one.beat(0.0)
        assert one.board.numbers[WorkerId("c:8000")] == 2
        assert one.board.names[2] == "c:8000"

    async def test_all_are_enrolled_again_every_so_often(self, pair: tuple[Router, Router]) -> None:
        one, _ = pair
        before = one.town.store.calls["enrol"]
        await one.beat(30.0)
        assert one.town.store.calls["enrol"] == before
        await one.beat(31.0)
        assert one.town.store.calls["enrol"] == before + 1

    async def test_one_that_left_has_none(self, pair: tuple[Router, Router]) -> None:
        one, _ = pair
        one.fleet.set_workers(["http://a:8000"])
        await one.beat(61.0)
        assert one.board.numbers == {A: 0}
        assert one.board.row(B) == Row()

    async def test_a_worker_for_which_none_is_left_is_not_shared(
        self, town: Town, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = town.router("one")

        async def enrol(workers: list[WorkerId]) -> list[int]:
            return [0 if worker == A else -1 for worker in workers]

        monkeypatch.setattr(town.store, "enrol", enrol)
        await one.beat()
        assert (one.board.numbers, one.board.names) == ({A: 0}, {0: A})
        one.send("b")
        await one.beat()
        assert one.board.row(B) == Row()
        assert one.worker("b").load.inflight == 1

    async def test_that_is_not_asked_for_again_and_again(
        self, town: Town, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one, asked = town.router("one"), 0

        async def enrol(workers: list[WorkerId]) -> list[int]:
            nonlocal asked
            asked += 1
            return [-1] * len(workers)

        monkeypatch.setattr(town.store, "enrol", enrol)
        for _ in range(20):
            await one.beat(0.05)
        assert asked < 10

    async def test_before_the_store_was_heard_of_nothing_is_known(self, town: Town) -> None:
        board = town.router("one").board
        assert (board.row(A), board.stamp(A), board.valid, board.epoch) == (Row(), 0, b"", b"")
        assert board.asks_rows()

    async def test_a_rank_has_one_of_its_own(self, town: Town) -> None:
        one = town.router("one", workers=("a",))
        one.fleet.set_report(one.worker("a"), replace(one.worker("a").report, ranks=2))
        await one.beat()
        assert one.board.numbers == {A: 0, WorkerId("a:8000#1"): 1}


class TestValidity:
    def stamps(self, router: Router, worker: WorkerId) -> list[tuple[int, int]]:
        number = router.board.numbers[worker]
        return [stamp_of(router.board.valid, number * KINDS + kind) for kind in range(KINDS)]

    async def test_text_counts_until_the_cache_was_filled_anew(
        self, pair: tuple[Router, Router]
    ) -> None:
        one, two = pair
        assert self.stamps(two, A)[TEXT] == (0, KV_TOKENS >> 10)
        one.send("a", tokens=10_000)
        await one.beat(0.0)
        await two.beat()
        assert self.stamps(two, A)[TEXT] == (9, KV_TOKENS >> 10)
        assert self.stamps(two, B)[TEXT] == (0, KV_TOKENS >> 10)

    @pytest.mark.parametrize(
        ("kv_tokens", "window"), [(0, 0), (1023, 0), (1 << 20, 1024), (1 << 40, 0x7FFF)]
    )
    async def test_its_window_is_what_the_cache_holds(
        self, town: Town, kv_tokens: int, window: int
    ) -> None:
        one = town.router("one", kv_tokens=kv_tokens)
        await one.beat()
        assert self.stamps(one, A)[TEXT] == (0, window)

    async def test_tokens_count_in_the_workers_life(self, town: Town) -> None:
        one = town.router("one")
        one.board.life = lambda worker: 7 if worker == A else 0
        await one.beat()
        stamps = self.stamps(one, A)
        assert [stamps[kind] for kind in (GPU, CPU, DISK)] == [(7, 0)] * 3
        stamps = self.stamps(one, B)
        assert [stamps[kind] for kind in (GPU, CPU, DISK)] == [IGNORED] * 3
        assert stamps[TEXT] != IGNORED

    async def test_stamps_are_of_sixteen_bits(self, town: Town) -> None:
        one = town.router("one")
        one.board.life = lambda _: 0x1_0003
        await one.beat()
        one.send("a", tokens=(0x1_0002 << 10) + 5)
        await one.beat()
        stamps = self.stamps(one, A)
        assert (stamps[TEXT][0], stamps[GPU][0]) == (2, 3)
        assert one.board.stamp(A) == 2

    async def test_others_workers_are_ignored(self, town: Town) -> None:
        await town.store.enrol([WorkerId("z:1"), WorkerId("y:1")])
        one = town.router("one", workers=("a",))
        await one.beat()
        assert one.board.numbers == {A: 2}
        assert len(one.board.valid) == 3 * KINDS * struct.calcsize(">HH")
        assert [stamp_of(one.board.valid, holder) for holder in range(2 * KINDS)] == [IGNORED] * 8

    async def test_it_is_up_to_date_with_each_answer(self, pair: tuple[Router, Router]) -> None:
        one, two = pair
        one.send("a", tokens=4096)
        await one.beat(0.0)
        two.town.clock.now += 0.2
        two.board.read(two.town.store.shelf.rows())
        assert self.stamps(two, A)[TEXT][0] == 4


class TestMetrics:
    """What a worker's metrics say, for those that do not ask themselves."""

    TOLD = Told(7, 3, 250)

    async def told(self, town: Town, reader: Router, *others: Router) -> Router:
        teller = town.router("teller")
        teller.board.told = lambda worker: self.TOLD if worker.id == A else None
        for _ in range(3):
            for router in (teller, *others, reader):
                await router.beat(0.6)
        return reader

    async def test_one_that_only_follows_goes_by_what_others_tell(self, town: Town) -> None:
        reader = await self.told(town, town.router("follower", leads=False))
        load = reader.worker("a").load
        assert (load.reported_running, load.reported_waiting, load.kv_usage) == (7, 3, 0.25)
        assert load.foreign == 10
        assert reader.worker("b").load.reported_running is None
        assert (reader.board.leaders, reader.board.followers) == (1, 1)

    async def test_they_are_told_when_they_change(self, town: Town) -> None:
        teller, gauges = town.router("teller"), [self.TOLD]
        teller.board.told = lambda worker: gauges[-1] if worker.id == A else None
        await teller.beat()
        await teller.beat()
        before = town.store.calls["publish"]
        for _ in range(4):
            await teller.beat(0.05)
        assert town.store.calls["publish"] == before
        gauges.append(Told(8, 3, 250))
        await teller.beat(0.05)
        assert town.store.calls["publish"] == before + 1
        assert town.store.rows[0].running == 8

    async def test_what_could_not_be_told_is_told_later(self, town: Town) -> None:
        teller = town.router("teller")
        await teller.beat()
        teller.board.told = lambda _: self.TOLD
        town.store.fail("publish")
        await teller.beat()
        town.store.fail()
        await teller.beat(0.05)
        assert [row.running for row in town.store.rows] == [7, 7]

    async def test_an_emptied_store_is_told_them_anew(self, town: Town) -> None:
        teller = town.router("teller")
        teller.board.told = lambda _: self.TOLD
        for _ in range(2):
            await teller.beat()
        town.store.empty()
        for _ in range(2):
            await teller.beat()
        assert [row.running for row in town.store.rows] == [7, 7]

    async def test_requests_of_all_routers_explain_it(self, town: Town) -> None:
        follower, other = town.router("follower", leads=False), town.router("other")
        for _ in range(4):
            follower.send("a")
            other.send("a")
        await self.told(town, follower, other)
        assert follower.worker("a").load.foreign == 2

    async def test_one_that_leads_asks_itself(self, town: Town) -> None:
        reader = await self.told(town, town.router("leader"))
        assert reader.worker("a").load.reported_running is None

    async def test_so_does_one_whose_worker_it_is(self, town: Town) -> None:
        follower = town.router("follower", leads=False)
        follower.board.owns = lambda worker: worker == A
        await self.told(town, follower)
        assert follower.worker("a").load.reported_running is None

    async def test_it_is_no_part_of_what_is_told(self, town: Town) -> None:
        follower = await self.told(town, town.router("follower", leads=False))
        follower.send("a", tokens=50)
        await follower.beat()
        row = town.store.rows[follower.board.numbers[A]]
        assert row[:3] == Row(1, 1, 50)[:3]

    async def test_a_leaders_own_metrics_are_not_told_as_its_requests(
        self, pair: tuple[Router, Router]
    ) -> None:
        one, two = pair
        load = one.worker("a").load
        load.report(Gauges(5, 4, 0.5), load.counts(), one.town.clock.now)
        one.send("a", tokens=60)
        await one.beat(0.0)
        await two.beat()
        load = two.worker("a").load
        assert (load.inflight, load.pending_tokens(two.town.clock.now)) == (1, 60)


class TestRunning:
    @pytest.fixture(autouse=True)
    def hasty(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "TICK_S", 0.001)
        monkeypatch.setattr(module, "_AFTER_FAILURE_S", 0.001)

    async def during(self, one: Router, steps: Callable[[], Awaitable[None]]) -> None:
        running = asyncio.create_task(one.board.run())
        try:
            async with asyncio.timeout(PATIENCE_S):
                await steps()
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    @staticmethod
    async def until(done: Callable[[], bool]) -> None:
        while not done():  # noqa: ASYNC110 - what is awaited has no event
            await asyncio.sleep(0.001)

    @pytest.mark.parametrize(
        ("error", "failures"),
        [(AWAY, {"failed"}), (TimeoutError(), {"late"}), (ZeroDivisionError("a mishap"), set())],
    )
    async def test_no_failure_ends_it(
        self,
        town: Town,
        error: Exception,
        failures: set[str],
        caplog: pytest.LogCaptureFixture,
    ) -> None:
        one = town.router("one")

        async def steps() -> None:
            await self.until(lambda: one.bond.up)
            town.store.fail("all", error=error)
            town.clock.now += 1.0
            calls = town.store.calls["publish"]
            await self.until(lambda: town.store.calls["publish"] > calls)
            town.store.fail()
            town.clock.now += 1.0
            calls = town.store.calls["publish"]
            await self.until(lambda: one.bond.up and town.store.calls["publish"] > calls)

        await self.during(one, steps)
        assert set(one.bond.failures) == failures
        assert ("keeping the shared board failed" in caplog.text) is (not failures)

    async def test_others_are_forgotten_while_it_fails(
        self, town: Town, pair: tuple[Router, Router]
    ) -> None:
        one, two = pair
        one.send("a")
        await one.beat(0.0)
        await two.beat()
        town.store.fail("all")

        async def steps() -> None:
            town.clock.now += 3.5
            await self.until(lambda: two.worker("a").load.inflight == 0)

        await self.during(two, steps)

    async def test_a_store_that_hangs_is_late(
        self, town: Town, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        one = town.router("one")
        monkeypatch.setattr(module, "_TIMEOUT_S", 0.01)

        async def publish(*args: object, **rest: object) -> None:
            await asyncio.Event().wait()

        monkeypatch.setattr(town.store, "publish", publish)
        await self.during(one, lambda: self.until(lambda: one.bond.failures["late"] > 1))


class TestNudging:
    """`TICK_S` is longer than the test has patience."""

    @pytest.fixture(autouse=True)
    def slow(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "TICK_S", 10 * PATIENCE_S)

    async def test_what_was_sent_is_told_at_once(self, town: Town) -> None:
        one = town.router("one")
        await one.beat()
        running = asyncio.create_task(one.board.run())
        try:
            async with asyncio.timeout(PATIENCE_S):
                for sent in range(1, 4):
                    one.send("a")
                    one.board.nudge()
                    while sum(row.inflight for row in town.store.rows) < sent:  # noqa: ASYNC110
                        await asyncio.sleep(0.001)
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def test_not_each_for_itself(self, town: Town, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(module, "_GAP_S", PATIENCE_S)
        one = town.router("one")
        await one.beat()
        running = asyncio.create_task(one.board.run())
        try:
            await asyncio.sleep(0.01)
            before = town.store.calls["publish"]
            for _ in range(10):
                one.send("a")
                one.board.nudge()
                await asyncio.sleep(0.001)
            assert town.store.calls["publish"] == before
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)

    async def test_nobody_is_in_haste_while_the_store_is_away(self, town: Town) -> None:
        one = town.router("one")
        one.board.nudge()
        assert not one.board._news.is_set()
        await one.beat()
        one.bond.failed(AWAY)
        one.board.nudge()
        assert not one.board._news.is_set()
        one.bond.worked()
        one.board.nudge()
        assert one.board._news.is_set()

    async def test_many_routers_go_slower(self, town: Town) -> None:
        board = town.router("one").board
        assert board.pace == 1
        board.leaders, board.followers = 30, 10
        assert board.pace == 1
        board.followers = 90
        assert board.pace == 3


def test_a_deadline_that_was_missed_is_a_failure_of_the_store() -> None:
    assert as_store_error(AWAY) is AWAY
    late = as_store_error(TimeoutError())
    assert isinstance(late, StoreError)
    assert late.reason == "late"


class TestReading:
    async def test_a_board_that_was_just_read_is_not_asked_for(
        self, pair: tuple[Router, Router]
    ) -> None:
        one, _ = pair
        await one.beat()
        assert not one.board.asks_rows()
        one.town.clock.now += 1.5 * module.FRESH_PER_WORKER_S
        assert not one.board.asks_rows(), "it has two workers"
        one.town.clock.now += module.FRESH_PER_WORKER_S
        assert one.board.asks_rows()
        one.board.read(one.town.store.shelf.rows())
        assert not one.board.asks_rows()

    async def test_a_large_one_is_asked_for_less_often_but_often_enough(
        self, pair: tuple[Router, Router]
    ) -> None:
        one, _ = pair
        await one.beat()
        one.board.numbers = {WorkerId(f"w{number}:1"): number for number in range(500)}
        one.town.clock.now += 400 * module.FRESH_PER_WORKER_S
        assert not one.board.asks_rows()
        one.town.clock.now += 200 * module.FRESH_PER_WORKER_S
        assert one.board.asks_rows()
        one.board.numbers = {WorkerId(f"w{number}:1"): number for number in range(10_000)}
        one.town.clock.now += module.FRESH_S
        assert one.board.asks_rows()

    async def test_nor_is_one_asked_for_with_news_that_was_just_read(
        self, pair: tuple[Router, Router]
    ) -> None:
        one, two = pair
        await one.beat()
        two.send("a")
        await two.beat(0.0)
        wanted = one.town.store.rows_wanted
        for after_s, rows, inflight in ((0.01, False, 1), (0.01, False, 2), (0.01, True, 4)):
            one.send("a")
            await one.beat(after_s)
            assert (wanted[-1], one.worker("a").load.inflight) == (rows, inflight)

    async def test_what_questions_read_counts_too(self, pair: tuple[Router, Router]) -> None:
        one, _ = pair
        one.town.clock.now += 1.0
        one.board.read(one.town.store.shelf.rows())
        await one.beat(0.0)
        assert not one.town.store.rows_wanted[-1]

    async def test_while_nothing_can_be_published_nothing_read_counts(
        self, pair: tuple[Router, Router]
    ) -> None:
        """Questions are answered, as by a replica that takes no writes: what they read is of the past."""
        one, two = pair
        one.send("a")
        two.send("a")
        await one.beat(0.0)
        await two.beat()
        two.town.store.fail("publish")
        for after_s, inflight in ((2.0, 2), (1.5, 1), (1.0, 1)):
            await two.beat(after_s)
            two.board.read(two.town.store.shelf.rows())
            assert two.worker("a").load.inflight == inflight
        two.town.store.fail()
        await one.beat(0.0)
        for router in (two, one, two):
            await router.beat(0.6)
        assert two.worker("a").load.inflight == 2

    async def test_a_board_that_is_cut_short_is_read_as_far_as_it_goes(
        self, pair: tuple[Router, Router]
    ) -> None:
        one, two = pair
        one.send("a")
        one.send("b")
        await one.beat(0.0)
        rows = one.town.store.shelf.rows()
        two.board.read(rows[:40])
        assert two.worker("a").load.inflight == 1
        assert two.worker("b").load.inflight == 0
        two.board.read(b"")
        assert two.worker("a").load.inflight == 0

    async def test_no_share_is_nothing(self) -> None:
        assert Share() == (0, 0, 0, 0, 0)


class TestMendings:
    """What others and failures leave behind is put right."""

    async def test_others_are_heard_of_again_though_nothing_changed(
        self, pair: tuple[Router, Router]
    ) -> None:
        one, two = pair
        one.worker("a").load.prefilled(one.send("a"), one.town.clock.now)
        await one.beat(0.0)
        await two.beat(0.6)
        for _ in range(9):
            two.town.store.fail()
            await one.beat(0.3)
            two.town.store.fail("all")
            await two.beat(0.3)
        assert two.worker("a").load.inflight == 0
        two.town.store.fail()
        for _ in range(4):
            await one.beat(0.3)
            await two.beat(0.3)
        assert two.town.store.rows[0].inflight == 1
        assert two.worker("a").load.inflight == 1

    async def test_what_others_have_under_way_at_a_new_worker_counts(
        self, pair: tuple[Router, Router]
    ) -> None:
        one, two = pair
        two.fleet.set_workers(["http://b:8000"])
        await two.beat(61.0)
        await one.beat(0.0)
        one.send("a")
        for router in (one, one, two):
            await router.beat(0.6)
        two.fleet.set_workers(["http://a:8000", "http://b:8000"])
        two.fleet.mark_up(two.worker("a"))
        for _ in range(5):
            await one.beat(0.6)
            await two.beat(0.6)
        assert two.board.row(A).inflight == 1
        assert two.worker("a").load.inflight == 1

    async def test_what_was_told_of_a_worker_that_left_is_taken_back(
        self, pair: tuple[Router, Router]
    ) -> None:
        one, two = pair
        sent = one.send("a")
        worker = one.worker("a")
        await one.beat(0.0)
        one.fleet.set_workers(["http://b:8000"])
        worker.load.leave(sent, one.town.clock.now)
        for _ in range(60):
            await two.beat(0.6)
            await one.beat(0.6)
        assert two.worker("a").load.inflight == 0

    async def test_tokens_of_a_worker_that_left_and_came_back_count(
        self, pair: tuple[Router, Router]
    ) -> None:
        one, _ = pair
        one.send("a", tokens=5000)
        await one.beat()
        one.fleet.set_workers(["http://b:8000"])
        await one.beat()
        one.fleet.set_workers(["http://a:8000", "http://b:8000"])
        one.send("a", tokens=2000)
        await one.beat()
        await one.beat()
        assert one.board.row(A).clock == 7000

    async def test_a_failure_while_a_new_epoch_begins_is_made_up_for(
        self, pair: tuple[Router, Router]
    ) -> None:
        one, _ = pair
        one.town.store.empty()
        one.town.store.fail("enrol")
        await one.beat()
        one.town.store.fail()
        for _ in range(3):
            await one.beat()
        assert one.board.epoch == b"e1"
        assert one.epochs == [b"e0", b"e1"]

    async def test_metrics_are_forgotten_when_the_store_is_away(self, town: Town) -> None:
        follower, teller = town.router("follower", leads=False), town.router("teller")
        teller.board.told = lambda _: Told(7, 3, 250)
        for _ in range(3):
            await teller.beat(0.3)
            await follower.beat(0.3)
        assert follower.worker("a").load.foreign == 10
        town.store.fail("all")
        for _ in range(20):
            await follower.beat(1.0)
        assert follower.worker("a").load.foreign == 0

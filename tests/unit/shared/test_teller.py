"""What the store is told of workers' caches: what events say of own workers, and what is sent."""

import asyncio
from collections.abc import Callable

import msgspec
import pytest

from router.ids import WorkerId
from router.index.union import UnionIndex
from router.prompt.identity import TokenIdentity
from router.prompt.segments import by_place
from router.prompt.token_blocks import token_keys
from router.shared import facts as facts_module
from router.shared import teller as module
from router.shared.base import CPU, GPU, KINDS, TEXT, Drop, Facts, Hold, Write
from router.shared.facts import FactsKeeper, Told
from router.shared.leases import Leases
from router.shared.teller import Teller
from router.shared.writer import Writer
from tests.conformance.index_suite import prompt
from tests.unit.shared.support import KV_TOKENS, Router, Town

A, B, C = (WorkerId(f"{name}:8000") for name in "abc")
PATIENCE_S = 20.0
BLOCK = 16
TEXT_PROMPT = prompt("abcdefgh")
KEYS = token_keys(range(100), BLOCK)
TOKENS = TokenIdentity.of(KEYS, 100, BLOCK, TEXT_PROMPT)


class Bench:
    """A router that follows the events of worker `a`, and tells."""

    def __init__(self, town: Town) -> None:
        self.town = town
        self.router: Router = town.router("one")
        router = self.router
        self.leases = Leases(town.registry, router.fleet, router.board, router.bond, router.replica)
        self.leases.mine = frozenset({A})
        self.facts = FactsKeeper(
            town.registry, router.fleet, router.board, self.leases, router.bond, takes_over=False
        )
        self.facts.heard = lambda: {A: Told(BLOCK, True)}
        router.board.life = self.facts.life
        self.writer = Writer(town.store, router.bond, lambda: router.board.epoch)
        self.teller = Teller(
            self.writer, router.board, self.leases, self.facts, renew_s=100.0, now=town.clock
        )
        self.teller.block_of = lambda worker: BLOCK if worker == A else None
        self.gpu, self.cpu = UnionIndex(), UnionIndex()
        self.sink = self.teller.sink(GPU, self.gpu)
        self.below = self.teller.sink(CPU, self.cpu)

    def writes(self) -> list[Write]:
        """What waits to be written; no more does it then."""
        waiting = list(self.writer._waiting)
        self.writer.forget()
        return waiting

    def holder(self, worker: WorkerId, kind: int = GPU) -> int:
        return self.router.board.numbers[worker] * KINDS + kind

    def walk(self) -> None:
        """Tell all that is to be told anew."""
        for _ in range(10_000):
            self.teller.step()
            if not self.teller._walks:
                return
        raise AssertionError("it does not end")

    async def tick(self) -> None:
        await self.router.beat()
        await self.facts.tick()

    async def found(self, keys: list[int], kind: int = GPU) -> dict[WorkerId, int]:
        """Who holds leading blocks, for a router that reads now; what waits is written first."""
        await self.town.store.write(b"", self.writes())
        self.router.board._validate()
        valid = self.router.board.valid
        (runs,) = (await self.town.store.look_up(b"", [keys], valid, rows=False)).runs
        return {
            self.router.board.names[h // KINDS]: n for h, n in runs.items() if h % KINDS == kind
        }


@pytest.fixture
async def bench(town: Town, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """It was told all of `a` anew, and counts by now. Lives are numbered one by one."""
    monkeypatch.setattr(facts_module, "_now", int)
    bench = Bench(town)
    await bench.tick()
    bench.teller.begin_anew([A])
    bench.walk()
    await bench.tick()
    assert bench.facts.life(A) == 1
    return bench


class TestEvents:
    async def test_what_own_workers_say_is_told_in_order(self, bench: Bench) -> None:
        bench.sink.stored(A, KEYS[:4])
        bench.below.stored(A, KEYS[:2])
        bench.sink.removed(A, KEYS[3:4])
        bench.sink.stored(A, KEYS[4:5])
        gpu, cpu = bench.holder(A), bench.holder(A, CPU)
        assert bench.writes() == [
            Hold(gpu, 1, KEYS[:4]),
            Hold(cpu, 1, KEYS[:2]),
            Drop(gpu, KEYS[3:4]),
            Hold(gpu, 1, KEYS[4:5]),
        ]

    async def test_and_reaches_the_index(self, bench: Bench) -> None:
        bench.sink.stored(A, KEYS[:4])
        bench.sink.removed(A, KEYS[3:4])
        bench.below.stored(A, KEYS[:2])
        assert bench.gpu.lookup(TOKENS) == {A: 3}
        assert bench.cpu.lookup(TOKENS) == {A: 2}

    async def test_what_others_workers_say_is_for_others_to_tell(self, bench: Bench) -> None:
        bench.sink.stored(B, KEYS[:4])
        bench.sink.removed(B, KEYS[2:4])
        assert bench.writes() == []
        assert bench.gpu.lookup(TOKENS) == {B: 2}, "it is known here all the same"

    async def test_a_rank_is_its_servers_owners(self, bench: Bench) -> None:
        rank = WorkerId("a:8000#1")
        bench.router.board.numbers[rank] = 9
        bench.facts.begin_anew(rank)
        bench.sink.stored(rank, KEYS[:1])
        assert bench.writes() == [Hold(9 * KINDS + GPU, 1, KEYS[:1])]

    async def test_a_worker_without_number_is_not_told_of(self, bench: Bench) -> None:
        bench.leases.mine = frozenset({A, C})
        bench.sink.stored(C, KEYS)
        bench.sink.removed(C, KEYS)
        bench.teller.sent(C, TOKENS)
        assert bench.writes() == []

    async def test_any_collection_of_keys_will_do(self, bench: Bench) -> None:
        bench.sink.stored(A, set(KEYS[:1]))
        assert bench.writes() == [Hold(bench.holder(A), 1, KEYS[:1])]

    async def test_before_a_life_began_nothing_is_told(self, town: Town) -> None:
        bench = Bench(town)
        await bench.tick()
        bench.sink.stored(A, KEYS)
        assert bench.writes() == []

    async def test_what_is_told_is_found(self, bench: Bench) -> None:
        bench.sink.stored(A, KEYS[:5])
        bench.sink.removed(A, KEYS[4:5])
        assert await bench.found(KEYS) == {A: 4}


class TestSent:
    async def test_text_of_all_workers_is_told(self, bench: Bench) -> None:
        bench.teller.sent(A, TEXT_PROMPT)
        bench.teller.sent(B, TEXT_PROMPT)
        keys = by_place(TEXT_PROMPT.keys)
        assert bench.writes() == [
            Hold(bench.holder(A, TEXT), 0, keys),
            Hold(bench.holder(B, TEXT), 0, keys),
        ]

    async def test_it_is_stamped_with_the_workers_clock(self, bench: Bench) -> None:
        bench.router.send("b", tokens=5000)
        await bench.router.beat()
        bench.teller.sent(B, TEXT_PROMPT)
        (write,) = bench.writes()
        assert isinstance(write, Hold)
        assert write.stamp == 4

    async def test_so_it_lasts_until_the_cache_was_filled_anew(self, bench: Bench) -> None:
        keys = by_place(TEXT_PROMPT.keys)
        bench.teller.sent(B, TEXT_PROMPT)
        assert await bench.found(keys, TEXT) == {B: len(keys)}
        bench.router.send("b", tokens=KV_TOKENS)
        await bench.router.beat()
        assert await bench.found(keys, TEXT) == {B: len(keys)}
        bench.router.send("b", tokens=1024)
        await bench.router.beat()
        assert await bench.found(keys, TEXT) == {}

    async def test_tokens_where_somebody_follows_blocks_of_that_size(self, bench: Bench) -> None:
        bench.teller.sent(A, TOKENS)
        text = Hold(bench.holder(A, TEXT), 0, by_place(TEXT_PROMPT.keys))
        assert bench.writes() == [text, Hold(bench.holder(A), 1, KEYS)]

    @pytest.mark.parametrize("block", [None, 2 * BLOCK])
    async def test_not_otherwise(self, bench: Bench, block: int | None) -> None:
        bench.teller.block_of = lambda _: block
        bench.teller.sent(A, TOKENS)
        (write,) = bench.writes()
        assert write.holder == bench.holder(A, TEXT)

    async def test_also_where_another_router_follows_them(self, bench: Bench) -> None:
        await bench.town.registry.facts(0, {B: Facts(True, block=BLOCK, life=7)})
        await bench.tick()
        bench.teller.block_of = lambda _: BLOCK
        bench.teller.sent(B, TOKENS)
        assert bench.writes()[1:] == [Hold(bench.holder(B), 7, KEYS)]

    async def test_a_short_prompt_is_nothing(self, bench: Bench) -> None:
        bench.teller.sent(A, prompt("", rest="short"))
        assert bench.writes() == []

    async def test_tokens_that_others_told_are_not_told_again(self, bench: Bench) -> None:
        for elsewhere, told in (({A: 4}, KEYS[4:]), ({B: 4}, KEYS), ({A: len(KEYS)}, [])):
            bench.teller.sent(A, msgspec.structs.replace(TOKENS, elsewhere=elsewhere))
            gpu = [write for write in bench.writes() if write.holder == bench.holder(A)]
            assert gpu == ([Hold(bench.holder(A), 1, told)] if told else [])

    async def test_others_are_told_soon_how_much_is_under_way(self, bench: Bench) -> None:
        assert not bench.router.board._news.is_set()
        bench.teller.sent(C, TEXT_PROMPT)
        assert bench.router.board._news.is_set()


class TestToldLately:
    """A prompt begins as many others do: of text only what is new is told."""

    def told(self, bench: Bench, letters: str, worker: WorkerId = B) -> int:
        """How many blocks are written for a prompt."""
        bench.teller.sent(worker, prompt(letters))
        return sum(len(write.keys) for write in bench.writes())

    async def test_what_was_told_is_not_told_again(self, bench: Bench) -> None:
        assert [self.told(bench, letters) for letters in ("abcd", "abcd", "abcdef")] == [4, 0, 2]
        assert self.told(bench, "abcdef", A) == 6, "of each worker for itself"
        keys = by_place(prompt("abcdef").keys)
        bench.teller.sent(B, prompt("abcdefg"))
        assert bench.writes() == [
            Hold(bench.holder(B, TEXT), 0, by_place(prompt("abcdefg").keys)[len(keys) :])
        ]

    async def test_but_with_a_newer_stamp(self, bench: Bench) -> None:
        self.told(bench, "abcd")
        for tokens, told in ((4096, 0), (1024, 4), (1024, 0)):
            bench.router.send("b", tokens=tokens)
            await bench.router.beat()
            assert self.told(bench, "abcd") == told

    async def test_or_after_a_while(self, bench: Bench) -> None:
        self.told(bench, "abcd")
        for seconds, told in ((50.0, 0), (20.0, 4), (20.0, 0)):
            bench.town.clock.now += seconds
            assert self.told(bench, "abcd") == told

    async def test_or_to_a_store_that_was_emptied(self, bench: Bench) -> None:
        self.told(bench, "abcd")
        bench.teller.forget_all()
        assert self.told(bench, "abcd") == 4

    async def test_what_is_remembered_of_it_is_bounded(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_MOST_TOLD", 4)
        assert [self.told(bench, letters) for letters in ("abcd", "xyz", "xyz", "a")] == [
            4,
            3,
            0,
            1,
        ]
        assert len(bench.teller._told) == 4


class TestGivingUp:
    async def test_what_waits_of_tokens_is_dropped(self, bench: Bench) -> None:
        bench.leases.mine = frozenset({A, B})
        bench.facts.begin_anew(B)
        bench.sink.stored(A, KEYS)
        bench.below.stored(A, KEYS)
        bench.sink.removed(A, KEYS[:1])
        bench.teller.sent(A, TEXT_PROMPT)
        bench.sink.stored(B, KEYS)
        bench.teller.give_up([A, C])
        assert [write.holder for write in bench.writes()] == [
            bench.holder(A, TEXT),
            bench.holder(B),
        ]

    async def test_of_one_without_a_number_nothing_waits(self, bench: Bench) -> None:
        bench.sink.stored(A, KEYS)
        bench.teller.give_up([C])
        assert len(bench.writes()) == 1


class TestAnew:
    async def test_all_blocks_are_told_with_a_new_life(self, bench: Bench) -> None:
        bench.sink.stored(A, KEYS)
        bench.below.stored(A, KEYS[:2])
        bench.gpu.stored(B, KEYS)
        bench.writes()
        bench.teller.begin_anew([A])
        bench.walk()
        writes = bench.writes()
        assert all(isinstance(write, Hold) and write.stamp == 2 for write in writes)
        told = {(write.holder, key) for write in writes for key in write.keys}
        gpu, cpu = bench.holder(A), bench.holder(A, CPU)
        assert told == {(gpu, key) for key in KEYS} | {(cpu, key) for key in KEYS[:2]}

    async def test_what_the_worker_has_no_more_stops_to_count(self, bench: Bench) -> None:
        bench.sink.stored(A, KEYS)
        await bench.found(KEYS)
        bench.gpu.removed(A, KEYS[2:])  # and nobody told
        assert await bench.found(KEYS) == {A: 6}
        bench.teller.begin_anew([A])
        assert await bench.found(KEYS) == {A: 6}, "not before all was told"
        bench.walk()
        await bench.tick()
        assert await bench.found(KEYS) == {A: 2}

    async def test_meanwhile_what_is_held_is_found(self, bench: Bench) -> None:
        many = token_keys(range(5000), 4)
        bench.sink.stored(A, many)
        assert await bench.found(many) == {A: 1250}
        bench.teller.begin_anew([A])
        while bench.teller._walks:
            bench.teller.step()
            assert await bench.found(many) == {A: 1250}
        await bench.tick()
        assert await bench.found(many) == {A: 1250}

    async def test_a_part_at_a_time(self, bench: Bench) -> None:
        many = token_keys(range(40_000), 4)
        bench.sink.stored(A, many)
        bench.writes()
        bench.teller.begin_anew([A])
        bench.teller.step()
        first = sum(len(write.keys) for write in bench.writes())
        assert 0 < first < len(many) / 4
        bench.walk()
        assert first + sum(len(write.keys) for write in bench.writes()) == len(many)

    async def test_what_comes_and_goes_meanwhile_is_told_in_order(self, bench: Bench) -> None:
        many = token_keys(range(4000), 4)
        bench.sink.stored(A, many)
        await bench.found(many)
        bench.teller.begin_anew([A])
        bench.teller.step()
        bench.sink.removed(A, many[300:])
        bench.walk()
        await bench.tick()
        assert await bench.found(many) == {A: 300}

    async def test_a_worker_that_was_lost_is_not_told_to_its_end(self, bench: Bench) -> None:
        many = token_keys(range(40_000), 4)
        bench.sink.stored(A, many)
        bench.teller.begin_anew([A])
        bench.teller.step()
        bench.writes()
        bench.leases.mine = frozenset()
        bench.walk()
        assert bench.writes() == []

    async def test_to_begin_twice_is_to_tell_all_once(self, bench: Bench) -> None:
        bench.sink.stored(A, KEYS)
        bench.writes()
        for _ in range(3):
            bench.teller.begin_anew([A])
        bench.walk()
        assert sum(len(write.keys) for write in bench.writes()) == len(KEYS)

    async def test_one_worker_after_the_other(self, bench: Bench) -> None:
        bench.leases.mine = frozenset({A, B})
        for worker in (A, B):
            bench.gpu.stored(worker, KEYS)
        bench.teller.begin_anew([A, B])
        bench.walk()
        holders = [write.holder for write in bench.writes()]
        assert holders == sorted(holders, key=[bench.holder(A), bench.holder(B)].index)
        assert set(holders) == {bench.holder(A), bench.holder(B)}

    async def test_nothing_is_told_anew_while_much_waits(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "_BACKLOG_BLOCKS", 10)
        bench.gpu.stored(A, KEYS)
        bench.teller.begin_anew([A])
        bench.writer.hold(1, 1, list(range(10)))
        for _ in range(5):
            bench.teller.step()
        assert len(bench.writes()) == 1
        bench.walk()
        assert sum(len(write.keys) for write in bench.writes()) == len(KEYS)

    async def test_every_so_often_it_is_done_anyway(self, bench: Bench) -> None:
        bench.gpu.stored(A, KEYS)
        bench.town.clock.now += 90
        bench.teller.step()
        assert not bench.teller._walks
        bench.town.clock.now += 20
        bench.teller.step()
        bench.walk()
        assert sum(len(write.keys) for write in bench.writes()) == len(KEYS)
        assert bench.facts.next_life(A) == 2
        bench.teller.step()
        assert not bench.teller._walks, "once"

    async def test_but_not_with_those_that_are_others(self, bench: Bench) -> None:
        bench.gpu.stored(A, KEYS)
        bench.leases.mine = frozenset()
        bench.town.clock.now += 1000
        bench.teller.step()
        assert not bench.teller._walks


async def test_it_runs_in_the_background(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_IDLE_S", 0.001)

    async def until(done: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not done():  # noqa: ASYNC110 - what is awaited has no event
                await asyncio.sleep(0.001)

    running = asyncio.create_task(bench.teller.run())
    try:
        bench.gpu.stored(A, KEYS)
        bench.teller.begin_anew([A])
        await until(lambda: not bench.teller._walks)
        assert sum(len(write.keys) for write in bench.writes()) == len(KEYS)
        bench.teller.begin_anew([A])
        await until(lambda: not bench.teller._walks)
        assert sum(len(write.keys) for write in bench.writes()) == len(KEYS)
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

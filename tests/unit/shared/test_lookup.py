"""What others know of a prompt: together with what this router knows, or not at all."""

import asyncio
from collections.abc import Mapping
from time import perf_counter

import msgspec
import pytest

from router.ids import BlockKey, Tier, WorkerId
from router.index.knowledge import Knowledge
from router.index.memory import MemoryIndex
from router.index.predicted import PredictedIndex
from router.index.union import UnionIndex
from router.prompt.identity import Identity, TokenIdentity
from router.prompt.segments import by_place
from router.prompt.stored import Loadable
from router.prompt.token_blocks import token_keys
from router.shared.base import CPU, DISK, GPU, KINDS, TEXT, Drop, Hold, StoreError
from router.shared.lookup import SharedLookup
from router.telemetry.metrics import Histogram
from tests.conformance.index_suite import prompt
from tests.unit.shared.support import AWAY, KV_TOKENS, Router, Town

A, B, C = (WorkerId(f"{name}:8000") for name in "abc")
PATIENCE_S = 30.0
BLOCK = 16
LIFE = 3
TEXT_PROMPT = prompt("abcdefgh")
KEYS = token_keys(range(100), BLOCK)
TOKENS = TokenIdentity.of(KEYS, 100, BLOCK, TEXT_PROMPT)


class Bench:
    """A router that asks, and what others have put into the store. The life of all workers is `LIFE`."""

    def __init__(self, town: Town, deadline_s: float = PATIENCE_S) -> None:
        self.town = town
        self.router: Router = town.router("one", workers=("a", "b", "c"))
        self.router.board.life = lambda _: LIFE
        self.own: set[WorkerId] = set()
        self.seconds = Histogram((1.0,))
        self.lookup = SharedLookup(
            town.store,
            self.router.board,
            self.router.bond,
            deadline_s=deadline_s,
            own=self.own.__contains__,
            seconds=self.seconds,
        )

    async def held(
        self, worker: WorkerId, keys: list[BlockKey], kind: int = GPU, stamp: int | None = None
    ) -> None:
        stamp = stamp if stamp is not None else 0 if kind == TEXT else LIFE
        holder = self.router.board.numbers[worker] * KINDS + kind
        await self.town.store.write(b"", [Hold(holder, stamp, keys)])

    async def text_held(self, worker: WorkerId, blocks: int, stamp: int = 0) -> None:
        await self.held(worker, by_place(TEXT_PROMPT.keys[:blocks]), TEXT, stamp)

    async def elsewhere(self, identity: Identity = TOKENS) -> Mapping[WorkerId, int]:
        return (await self.lookup.known(identity)).elsewhere


@pytest.fixture
async def bench(town: Town) -> Bench:
    bench = Bench(town)
    for _ in range(2):
        await bench.router.beat()
    return bench


class TestText:
    async def test_who_was_sent_it_by_others(self, bench: Bench) -> None:
        await bench.text_held(A, 3)
        await bench.text_held(B, 8)
        found = await bench.lookup.known(TEXT_PROMPT)
        assert found.elsewhere == {A: 3, B: 8}
        assert msgspec.structs.replace(found, elsewhere={}) == TEXT_PROMPT

    async def test_blocks_of_tokens_are_none_of_text(self, bench: Bench) -> None:
        await bench.held(A, by_place(TEXT_PROMPT.keys), GPU)
        assert await bench.elsewhere(TEXT_PROMPT) == {}

    async def test_what_was_pushed_out_meanwhile_does_not_count(self, bench: Bench) -> None:
        await bench.text_held(A, 5, stamp=0)
        bench.router.send("a", tokens=KV_TOKENS + 1024)
        await bench.router.beat()
        await bench.text_held(A, 2, stamp=bench.router.board.stamp(A))
        assert await bench.elsewhere(TEXT_PROMPT) == {A: 2}

    async def test_a_prompt_without_whole_blocks_is_not_asked_about(self, bench: Bench) -> None:
        short = prompt("", rest="short")
        assert await bench.lookup.known(short) is short
        assert bench.town.store.calls["look_up"] == 0
        assert not bench.router.degraded


class TestTokens:
    async def test_who_holds_it_and_who_was_sent_it(self, bench: Bench) -> None:
        await bench.held(A, KEYS[:4])
        await bench.text_held(B, 7)
        found = await bench.lookup.known(TOKENS)
        assert isinstance(found, TokenIdentity)
        assert (found.elsewhere, found.text.elsewhere) == ({A: 4}, {B: 7})
        assert (found.keys, found.block, found.tokens) == (KEYS, BLOCK, 100)

    async def test_those_of_another_life_do_not_count(self, bench: Bench) -> None:
        await bench.held(A, KEYS[:4], stamp=LIFE - 1)
        await bench.held(B, KEYS[:4], stamp=LIFE + 1)
        assert await bench.elsewhere() == {B: 4}, "what is newer than is known here does"

    async def test_those_of_a_worker_without_life_do_not_count(self, bench: Bench) -> None:
        await bench.held(A, KEYS[:4])
        await bench.text_held(A, 3)
        bench.router.board.life = lambda _: 0
        await bench.router.beat()
        found = await bench.lookup.known(TOKENS)
        assert (found.elsewhere, found.text.elsewhere) == ({}, {A: 3})

    async def test_what_was_dropped_does_not_count(self, bench: Bench) -> None:
        await bench.held(A, KEYS)
        holder = bench.router.board.numbers[A] * KINDS + GPU
        await bench.town.store.write(b"", [Drop(holder, KEYS[2:])])
        assert await bench.elsewhere() == {A: 2}

    async def test_of_workers_that_are_followed_here_only_text_counts(self, bench: Bench) -> None:
        bench.own.add(A)
        for worker in (A, B):
            await bench.held(worker, KEYS[:4])
            await bench.held(worker, KEYS[:5], CPU)
            await bench.text_held(worker, 6)
        found = await bench.lookup.known(TOKENS)
        assert found.elsewhere == {B: 4}
        assert found.text.elsewhere == {A: 6, B: 6}
        assert found.stored.keys() == {B}

    async def test_unknown_numbers_are_ignored(self, bench: Bench) -> None:
        strangers = await bench.town.store.enrol([WorkerId("y:1"), WorkerId("z:1")])
        await bench.held(B, KEYS[:1])
        writes = [Hold(number * KINDS + GPU, LIFE, KEYS) for number in strangers]
        await bench.town.store.write(b"", writes)
        assert await bench.elsewhere() == {B: 1}
        bench.router.board.valid = b"\0\3\0\0" * 5 * KINDS
        assert await bench.elsewhere() == {B: 1}, "even if the answer names them"


class TestTiers:
    @pytest.mark.parametrize(("kind", "tier"), [(CPU, Tier.CPU), (DISK, Tier.DISK)])
    async def test_what_can_be_loaded(self, bench: Bench, kind: int, tier: Tier) -> None:
        await bench.held(A, KEYS[:5], kind)
        found = await bench.lookup.known(TOKENS)
        assert found.stored == {A: Loadable(tier, 5 * BLOCK)}
        assert found.elsewhere == {}

    async def test_what_is_known_here_counts_more(self, bench: Bench) -> None:
        await bench.held(A, KEYS[:5], CPU)
        await bench.held(B, KEYS[:2], CPU)
        here = Loadable(Tier.REMOTE, 6 * BLOCK)
        found = await bench.lookup.known(TOKENS.with_stored({A: here}))
        assert found.stored == {A: here, B: Loadable(Tier.CPU, 2 * BLOCK)}

    @pytest.mark.parametrize(("cpu", "disk", "tier"), [(5, 2, Tier.CPU), (2, 5, Tier.DISK)])
    async def test_of_two_tiers_the_deeper_one_counts(
        self, bench: Bench, cpu: int, disk: int, tier: Tier
    ) -> None:
        await bench.held(A, KEYS[:cpu], CPU)
        await bench.held(A, KEYS[:disk], DISK)
        found = await bench.lookup.known(TOKENS)
        assert found.stored == {A: Loadable(tier, 5 * BLOCK)}


class TestTogether:
    """With what this router knows itself."""

    @pytest.fixture
    def knowledge(self) -> Knowledge:
        memory = MemoryIndex(capacity_tokens=1e9, max_blocks=10**9)
        known = Knowledge(PredictedIndex(memory, default_kv_tokens=10**9), UnionIndex())
        known.keep({A: BLOCK, B: BLOCK}, perf_counter())
        return known

    async def test_the_deeper_one_counts(self, bench: Bench, knowledge: Knowledge) -> None:
        knowledge.sent(A, TOKENS)
        await bench.held(A, KEYS[:2])
        await bench.held(B, KEYS[:3])
        found = await bench.lookup.known(TOKENS)
        assert knowledge.lookup(found) == {A: 6, B: 3}
        assert knowledge.lookup(TOKENS) == {A: 6}

    async def test_so_it_does_of_text(self, bench: Bench, knowledge: Knowledge) -> None:
        knowledge.sent(A, prompt("abc"))
        await bench.text_held(A, 5)
        await bench.text_held(C, 2)
        found = await bench.lookup.known(TEXT_PROMPT)
        assert knowledge.lookup(found) == {A: 5, C: 2}

    async def test_of_who_does_not_tell_what_it_holds_text_counts(
        self, bench: Bench, knowledge: Knowledge
    ) -> None:
        await bench.text_held(C, 8)
        found = await bench.lookup.known(TOKENS)
        assert knowledge.lookup(found) == {C: 6}


class TestFailing:
    async def test_an_answer_that_does_not_come_in_time(self, town: Town) -> None:
        bench = Bench(town, deadline_s=0.01)
        await bench.router.beat()

        async def hangs(*args: object, **rest: object) -> None:
            await asyncio.Event().wait()

        bench.town.store.look_up = hangs  # type: ignore[assignment]
        assert await bench.lookup.known(TOKENS) is TOKENS
        assert bench.router.degraded == {"shared_late": 1}
        assert not bench.router.bond.up
        assert bench.seconds.total == 0

    @pytest.mark.parametrize(
        ("error", "reason"),
        [(AWAY, "failed"), (StoreError("late", ""), "late"), (ZeroDivisionError("odd"), "failed")],
    )
    async def test_a_failure_costs_only_what_others_know(
        self, bench: Bench, error: Exception, reason: str
    ) -> None:
        await bench.held(A, KEYS)
        bench.town.store.fail("look_up", error=error)
        for identity in (TOKENS, TEXT_PROMPT):
            assert await bench.lookup.known(identity) is identity
        assert bench.router.degraded == {f"shared_{reason}": 2}
        assert bench.town.store.calls["look_up"] == 1, "the second was not asked any more"

    async def test_later_it_is_asked_again(self, bench: Bench) -> None:
        await bench.held(A, KEYS)
        bench.town.store.fail("look_up")
        await bench.lookup.known(TOKENS)
        bench.town.store.fail()
        assert await bench.elsewhere() == {}
        await bench.router.beat()
        assert await bench.elsewhere() == {A: 6}
        assert sum(bench.router.degraded.values()) == 2

    async def test_before_the_store_was_heard_of_it_is_not_asked(self, town: Town) -> None:
        bench = Bench(town)
        assert await bench.lookup.known(TOKENS) is TOKENS
        assert town.store.calls["look_up"] == 0
        assert bench.router.degraded == {"shared_connecting": 1}


class TestBoard:
    async def test_an_old_board_is_read_with_the_answer(self, bench: Bench) -> None:
        other = bench.town.router("two", workers=("a", "b", "c"))
        await other.beat(0.0)
        other.send("a", tokens=70)
        await other.beat(0.0)
        load = bench.router.worker("a").load
        assert load.inflight == 0
        await bench.lookup.known(TEXT_PROMPT)
        assert load.inflight == 0, "it was read a moment ago"
        bench.town.clock.now += 0.1
        await bench.lookup.known(TEXT_PROMPT)
        assert load.inflight == 1
        assert not bench.router.board.asks_rows()

    async def test_it_asks_in_the_boards_epoch(self, bench: Bench) -> None:
        await bench.lookup.known(TOKENS)
        assert bench.town.store.epochs_asked == [b"e0"]

    async def test_questions_are_timed(self, bench: Bench) -> None:
        for _ in range(3):
            await bench.lookup.known(TEXT_PROMPT)
        assert sum(bench.seconds.counts) == 3

"""Whether a worker can begin with another request soon, and what it lacks."""

import pytest

from router.engines.base import WorkerReport
from router.fleet.worker import Worker
from router.ids import WorkerId
from router.routing.cost import CostModel, Rates
from router.routing.options import QueueOptions
from router.routing.policy import Question
from router.routing.room import Room
from tests.unit.routing.loads import learned
from tests.unit.routing.table import BLOCK, NOW, decode, prefill, prompt, question
from tests.unit.support import workers_of

ROOM, MOST = 1000.0, 8
KV_TOKENS = 10_000


class Bench:
    """Room on worker `a` of three, whose metrics nobody has asked for."""

    def __init__(self) -> None:
        self.cost = CostModel(Rates())
        self.workers = workers_of("a", "b", "c")
        self.a: Worker = self.workers[0]
        self.room = Room(self.cost, QueueOptions(room_tokens=ROOM, max_inflight=MOST))

    def at(self) -> bool:
        return self.room.at(self.a, NOW)

    def ask(self, tokens: int, cached: int = 0) -> Question:
        overlaps = {self.a.id: cached // BLOCK} if cached else {}
        return question(self.workers, overlaps, prompt(blocks=tokens // BLOCK))

    def fits(self, tokens: int, cached: int = 0) -> bool:
        return self.room.fits(self.ask(tokens, cached), self.a, NOW)

    def report(self, kv_usage: float | None, kv_tokens: int | None = KV_TOKENS) -> None:
        self.a.report = WorkerReport({"m": {}}, kv_tokens=kv_tokens)
        self.a.load.kv_usage = kv_usage


@pytest.fixture
def bench() -> Bench:
    return Bench()


class TestPrefill:
    @pytest.mark.parametrize(
        ("pending", "has_room"), [([], True), ([999], True), ([1000], False), ([600, 600], False)]
    )
    def test_there_is_room_while_less_waits_than_one_step_takes(
        self, bench: Bench, pending: list[int], has_room: bool
    ) -> None:
        for tokens in pending:
            prefill(bench.a, tokens)
        assert bench.at() is has_room

    @pytest.mark.parametrize(
        ("factor", "full_at"), [(0.2, ROOM), (1.0, ROOM), (2.0, ROOM / 2), (100.0, ROOM / 4)]
    )
    def test_a_slower_worker_has_less_but_never_next_to_none(
        self, bench: Bench, factor: float, full_at: float
    ) -> None:
        """It would hold for longer what another could have begun with."""
        factors = dict(zip(bench.workers, (factor, 1.0, 1.0), strict=True))
        learned(bench.cost.rates, factors)
        prefill(bench.a, full_at * 0.95)
        assert bench.at()
        prefill(bench.a, full_at * 0.1)
        assert not bench.at()


class TestSequences:
    def test_there_is_room_while_a_sequence_is_free(self, bench: Bench) -> None:
        decode(bench.a, MOST - 1)
        assert bench.at()
        decode(bench.a)
        assert not bench.at()

    def test_others_requests_take_sequences_too(self, bench: Bench) -> None:
        decode(bench.a, MOST - 3)
        bench.a.load.foreign = 3
        assert not bench.at()


class TestMemory:
    def test_what_is_not_cached_must_fit_beside_what_runs(self, bench: Bench) -> None:
        decode(bench.a)
        bench.report(0.5)
        assert bench.fits(4900)
        assert not bench.fits(5100)
        assert bench.fits(8000, cached=4000)

    def test_so_must_what_was_sent_just_before(self, bench: Bench) -> None:
        prefill(bench.a, 2000)
        bench.report(0.5)
        assert bench.fits(2900)
        assert not bench.fits(3100)

    def test_answers_that_run_need_some_to_grow(self, bench: Bench) -> None:
        bench.report(0.5)
        decode(bench.a)
        assert bench.fits(4900)
        decode(bench.a, 50)
        assert not bench.fits(4900)

    def test_other_workers_caches_do_not_help(self, bench: Bench) -> None:
        decode(bench.a)
        bench.report(0.5)
        asked = question(bench.workers, {WorkerId("other"): 60}, prompt(blocks=60))
        assert not bench.room.fits(asked, bench.a, NOW)

    def test_an_idle_worker_takes_what_it_is_given(self, bench: Bench) -> None:
        """Nothing there could end and make room; the engine knows best."""
        bench.report(0.99)
        assert bench.fits(50_000)

    def test_what_no_cache_could_hold_is_for_the_engine_to_refuse(self, bench: Bench) -> None:
        """It would wait for ever, and those behind it with it."""
        decode(bench.a, 10)
        bench.report(0.9)
        assert not bench.fits(KV_TOKENS - BLOCK)
        assert bench.fits(KV_TOKENS)

    @pytest.mark.parametrize(("usage", "capacity"), [(None, KV_TOKENS), (0.99, None)])
    def test_memory_that_is_not_known_is_no_condition(
        self, bench: Bench, usage: float | None, capacity: int | None
    ) -> None:
        decode(bench.a)
        bench.report(usage, capacity)
        assert bench.fits(50_000)


class TestLacking:
    def test_nothing(self, bench: Bench) -> None:
        assert bench.room.lacking(bench.ask(500), bench.a, NOW) == ""

    def test_each_reason_has_a_name(self, bench: Bench) -> None:
        asked = bench.ask(9000)
        decode(bench.a)
        bench.report(0.5)
        assert bench.room.lacking(asked, bench.a, NOW) == "kv_cache_full"
        prefill(bench.a, ROOM)
        assert bench.room.lacking(asked, bench.a, NOW) == "prefill_pending"
        decode(bench.a, MOST)
        assert bench.room.lacking(asked, bench.a, NOW) == "max_inflight"

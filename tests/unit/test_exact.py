"""Which prompts are tokenized, what is known of them then, and what answers say of that."""

import asyncio
import logging
import threading
from array import array
from collections.abc import AsyncIterator, Sequence
from typing import Any

import msgspec
import pytest

from router import exact as module
from router.engines.base import WorkerReport
from router.exact import Deep, ExactPrompts, TierEvents
from router.ids import Tier, WorkerId
from router.index.memory import MemoryIndex
from router.index.predicted import PredictedIndex
from router.index.union import UnionIndex
from router.prompt.identity import Identity, TextIdentity, TokenIdentity
from router.prompt.request import Request
from router.prompt.stored import Loadable, Stored
from router.prompt.token_blocks import prompt_extras, token_keys
from router.routing.policy import Decision
from router.tokens.audit import CACHE_PATIENCE
from router.tokens.prompt import ChatPrompt, Inexact, Reason, TextPrompt, TokenIds
from router.tokens.service import Run, TokenService
from tests.unit.support import at_once, chat, fleet_of, knowledge_of, request

A, B = WorkerId("a:8000"), WorkerId("b:8000")
IDS = array("I", range(100))
ASKED = request(chat("word " * 100))
TEXT = TextIdentity().identify(ASKED)


class Source:
    """Gives every prompt the same `ids`, or fails with `failure`."""

    def __init__(self) -> None:
        self.ids_given: TokenIds = IDS
        self.failure: Exception | None = None
        self.threads: set[str] = set()

    async def ids(self, prompt: ChatPrompt | TextPrompt, run: Run) -> TokenIds:
        if self.failure is not None:
            raise self.failure
        return self.ids_given


class Below:
    """What lower tiers hold (`exact.Deep`), and what was asked."""

    def __init__(self, *found: Stored) -> None:
        self.found = found
        self.asked: list[tuple[int, str, str | None]] = []

    async def stored(self, ids: TokenIds, root: str, salt: str | None) -> Sequence[Stored]:
        self.asked.append((len(ids), root, salt))
        return self.found


class Bench:
    """Two workers that serve `m` and its adapter `tuned`; `a` says what it holds."""

    def __init__(self, *, deep: Deep | None = None, exact: Sequence[WorkerId] = (A,)) -> None:
        self.fleet = fleet_of("a", "b")
        cards: dict[str, dict[str, Any]] = {
            "m": {"id": "m", "root": "org/m"},
            "tuned": {"id": "tuned", "root": "/adapters/tuned", "parent": "m"},
        }
        for worker in self.fleet:
            self.fleet.set_report(worker, WorkerReport(cards, 5000, 16))
        self.a, self.b = self.fleet
        memory = MemoryIndex(capacity_tokens=1e9, max_blocks=10**9)
        self.knowledge = knowledge_of(PredictedIndex(memory, default_kv_tokens=10**9))
        self.knowledge.keep(dict.fromkeys(exact, 16), 0.0)
        self.source = Source()
        self.service = TokenService({"m": self.source}, deadline_s=10.0)
        self.cpu = UnionIndex()
        self.sizes = {16}
        self.exact = ExactPrompts(
            self.knowledge,
            self.service,
            events=[TierEvents(Tier.CPU, self.cpu, lambda: self.sizes)],
            deep=deep,
        )

    async def identity(self, asked: Request = ASKED, text: Identity = TEXT) -> Identity:
        return await self.exact.identity(asked, text, (self.a, self.b))

    async def token_identity(self, asked: Request = ASKED) -> TokenIdentity:
        found = await self.identity(asked)
        assert isinstance(found, TokenIdentity)
        return found


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    bench.service.close()


class TestWanted:
    def test_a_prompt_for_a_worker_that_says_what_it_holds(self, bench: Bench) -> None:
        assert bench.exact.wanted(ASKED, (bench.a, bench.b))
        assert not bench.exact.wanted(ASKED, (bench.b,))
        assert not bench.exact.wanted(ASKED, ())

    def test_or_where_lower_tiers_can_be_asked(self) -> None:
        bench = Bench(deep=Below(), exact=())
        assert bench.exact.wanted(ASKED, (bench.b,))

    @pytest.mark.parametrize(
        ("body", "path"),
        [
            ({"model": "m"}, "/v1/chat/completions"),
            ({"model": "m", "input": "text"}, "/v1/embeddings"),
            (b"", "/v1/chat/completions"),
        ],
    )
    def test_nothing_that_has_no_prompt_to_continue(
        self, body: Any, path: str, bench: Bench
    ) -> None:
        assert not bench.exact.wanted(request(body, path=path), (bench.a,))

    def test_what_is_not_wanted_is_not_asked_for(self, bench: Bench) -> None:
        assert at_once(bench.exact.if_wanted(ASKED, TEXT, (bench.b,))) is TEXT
        assert bench.service.exact == 0

    async def test_what_is_wanted_is(self, bench: Bench) -> None:
        assert await bench.exact.if_wanted(ASKED, TEXT, (bench.a,)) != TEXT
        assert bench.service.exact == 1


class TestIdentity:
    async def test_it_is_the_tokens_in_the_engine_s_blocks(self, bench: Bench) -> None:
        found = await bench.token_identity()
        assert found.keys == token_keys(IDS, 16)
        assert (found.tokens, found.block, found.text) == (100, 16, TEXT)
        assert found.stored == {}

    async def test_blocks_are_those_of_who_says_what_it_holds(self, bench: Bench) -> None:
        bench.knowledge.keep({A: 32}, 0.0)
        found = await bench.exact.identity(ASKED, TEXT, (bench.b, bench.a))
        assert isinstance(found, TokenIdentity)
        assert found.keys == token_keys(IDS, 32)

    async def test_a_worker_that_does_not_say_has_vllm_s_usual_blocks(self, bench: Bench) -> None:
        bench.fleet.set_report(bench.a, WorkerReport(bench.a.report.models))
        assert (await bench.token_identity()).block == 16

    async def test_adapters_and_salts_are_in_the_keys(self, bench: Bench) -> None:
        asked = request(chat("hi", cache_salt="s") | {"model": "tuned"})
        extras = prompt_extras(6, 16, adapter="tuned", salt="s")
        assert (await bench.token_identity(asked)).keys == token_keys(IDS, 16, extras)

    async def test_a_long_prompt_is_hashed_beside_the_loop(
        self, bench: Bench, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        threads: list[str] = []
        plain = token_keys

        def watched(*arguments: Any) -> Any:
            threads.append(threading.current_thread().name)
            return plain(*arguments)

        monkeypatch.setattr("router.tokens.service.token_keys", watched)
        short = await bench.token_identity()
        bench.source.ids_given = array("I", range(module._INLINE_TOKENS))
        long = await bench.token_identity(request(chat("another")))
        assert threads[0] == threading.current_thread().name
        assert threads[1].startswith("tokens")
        assert long.keys[: len(short.keys)] == short.keys

    @pytest.mark.parametrize(
        "failure", [Inexact(Reason.RENDER, "odd"), OSError("odd"), KeyError("odd")]
    )
    async def test_what_cannot_be_tokenized_goes_by_its_text(
        self, failure: Exception, bench: Bench
    ) -> None:
        bench.source.failure = failure
        assert await bench.identity() is TEXT

    async def test_a_defect_costs_no_request(self, caplog: pytest.LogCaptureFixture) -> None:
        class Broken:
            async def stored(self, ids: TokenIds, root: str, salt: str | None) -> Sequence[Stored]:
                raise ZeroDivisionError("ours")

        bench = Bench(deep=Broken())
        assert await bench.identity() is TEXT
        assert "ZeroDivisionError" in caplog.text

    async def test_who_leaves_meanwhile_is_not_held(self, bench: Bench) -> None:
        """A cancellation is no mishap: it goes through."""
        begun, never = asyncio.Event(), asyncio.Event()

        async def hang(prompt: ChatPrompt | TextPrompt, run: Run) -> TokenIds:
            begun.set()
            await never.wait()
            return IDS

        bench.source.ids = hang  # type: ignore[method-assign]
        task = asyncio.create_task(bench.identity())
        await begun.wait()
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
        assert bench.service.pending == 0


class TestLowerTiers:
    async def test_what_events_tell_of_them(self, bench: Bench) -> None:
        bench.cpu.stored(B, token_keys(IDS, 16)[:4])
        assert (await bench.token_identity()).stored == {B: Loadable(Tier.CPU, 64)}

    async def test_blocks_of_any_size(self, bench: Bench) -> None:
        bench.sizes = {16, 48}
        bench.cpu.stored(A, token_keys(IDS, 16)[:2])
        bench.cpu.stored(A, token_keys(IDS, 48))
        assert (await bench.token_identity()).stored == {A: Loadable(Tier.CPU, 96)}

    async def test_salts_are_not_told_there(self, bench: Bench) -> None:
        bench.cpu.stored(A, token_keys(IDS, 16))
        salted = request(chat("hi", cache_salt="s"))
        assert (await bench.token_identity(salted)).stored == {}

    async def test_adapters_are_not_kept_apart_there(self, bench: Bench) -> None:
        """As in LMCache: what one computed is loaded for another."""
        bench.cpu.stored(A, token_keys(IDS, 16))
        tuned = request(chat("hi") | {"model": "tuned"})
        assert (await bench.token_identity(tuned)).stored == {A: Loadable(Tier.CPU, 96)}

    async def test_what_a_worker_that_left_has_told_goes_with_it(self, bench: Bench) -> None:
        bench.cpu.stored(A, token_keys(IDS, 16))
        bench.exact.remove(A)
        assert (await bench.token_identity()).stored == {}
        bench.cpu.removed(A, token_keys(IDS, 16))
        assert not bench.cpu._holders._slots[0], "its place can be another's"

    async def test_what_is_asked(self) -> None:
        below = Below()
        bench = Bench(deep=below)
        await bench.token_identity(request(chat("hi", cache_salt="s")))
        assert below.asked == [(100, "org/m", "s")]
        await bench.token_identity(request(chat("hi") | {"model": "tuned"}))
        assert below.asked[1:] == [(100, "org/m", None)], "its base is what was loaded"

    async def test_what_is_shared_all_can_load(self) -> None:
        bench = Bench(deep=Below(Stored(Tier.REMOTE, 64)))
        below = Loadable(Tier.REMOTE, 64)
        assert (await bench.token_identity()).stored == {A: below, B: below}

    async def test_what_is_on_a_host_only_its_workers_can(self) -> None:
        bench = Bench(deep=Below(Stored(Tier.CPU, 64, frozenset({"b", "c"}))))
        assert (await bench.token_identity()).stored == {B: Loadable(Tier.CPU, 64)}

    async def test_the_most_counts_whoever_told(self) -> None:
        below = Below(Stored(Tier.DISK, 64), Stored(Tier.REMOTE, 32), Stored(Tier.CPU, 0))
        bench = Bench(deep=below)
        bench.cpu.stored(A, token_keys(IDS, 16)[:5])
        assert (await bench.token_identity()).stored == {
            A: Loadable(Tier.CPU, 80),
            B: Loadable(Tier.DISK, 64),
        }


def decision(bench: Bench, cached: float = 96.0) -> Decision:
    return Decision(bench.a, "p", "why", 6, cached, 4.0, 1.0, 0.1, 0.0, 0.1)


class TestLearning:
    async def test_a_model_that_is_tokenized_otherwise_goes_by_text_for_a_while(
        self, bench: Bench, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        found = await bench.token_identity()
        for count in range(3):
            assert bench.exact.wanted(ASKED, (bench.a,)), count
            bench.exact.learn(ASKED, found, decision(bench), (103, 96))
        assert not bench.exact.wanted(ASKED, (bench.a,))
        other = request(chat("hi") | {"model": "tuned"})
        assert bench.exact.wanted(other, (bench.a,)), "others are as before"
        (warning,) = (each for each in caplog.records if each.levelno == logging.WARNING)
        assert "gives 100 tokens, the worker counted 103" in warning.getMessage()
        assert "go by their text for 60 s" in warning.getMessage()
        later = module.perf_counter() + module._DISTRUST_S + 1
        monkeypatch.setattr(module, "perf_counter", lambda: later)
        assert bench.exact.wanted(ASKED, (bench.a,))

    async def test_agreement_is_no_verdict(self, bench: Bench) -> None:
        found = await bench.token_identity()
        for cached in (96, 80, None, 96, 96):
            bench.exact.learn(ASKED, found, decision(bench), (100, cached))
        assert bench.exact.audit.verdicts == {}
        assert bench.exact.wanted(ASKED, (bench.a,))

    async def test_a_cache_that_goes_by_something_else(self, bench: Bench) -> None:
        found = await bench.token_identity()
        for _ in range(CACHE_PATIENCE):
            bench.exact.learn(ASKED, found, decision(bench), (100, 0))
        assert "the worker found none" in bench.exact.audit.verdicts["m"][0]

    @pytest.mark.parametrize("case", ["a guess", "loaded"])
    async def test_guesses_and_lower_tiers_say_nothing_of_the_cache(
        self, case: str, bench: Bench
    ) -> None:
        found, made = await bench.token_identity(), decision(bench)
        if case == "loaded":
            found = found.with_stored({A: Loadable(Tier.CPU, 96)})
        else:
            made = msgspec.structs.replace(made, worker=bench.b)
        for _ in range(5):
            bench.exact.learn(ASKED, found, made, (100, 0))
        assert bench.exact.audit.verdicts == {}

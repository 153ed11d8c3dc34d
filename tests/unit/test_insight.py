"""All that knows the workers' caches, put together: events that come in, questions that go out."""

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from router.engines.base import WorkerReport
from router.ids import Tier, WorkerId
from router.index.memory import MemoryIndex
from router.index.predicted import PredictedIndex
from router.insight import insight
from router.prompt.identity import TextIdentity, TokenIdentity
from router.prompt.stored import Loadable
from router.prompt.token_blocks import token_keys
from router.routing.policy import Decision
from router.settings import Settings
from tests.unit.stage import UNREACHABLE, ScriptedPool, answered
from tests.unit.support import chat, fleet_of, request
from tests.unit.tokens.models import tokenizer_of, write_model

A, B = WorkerId("a:8000"), WorkerId("b:8000")
SIZE = 4
IDS = list(range(100, 120))
SOURCES = b'{"0":{"endpoint":"tcp://*:5557"}}'
KNOWN = TokenIdentity.of(token_keys(IDS, SIZE), len(IDS), SIZE)
ASKED = request({"model": "m", "prompt": IDS}, path="/v1/completions")
TEXT = TextIdentity().identify(ASKED)


def event(blocks: int = 5, medium: str = "GPU") -> dict[str, Any]:
    """The first blocks of the prompt were stored."""
    return {
        "type": "BlockStored",
        "block_hashes": list(range(1, blocks + 1)),
        "parent_block_hash": None,
        "token_ids": IDS[: blocks * SIZE],
        "block_size": SIZE,
        "lora_id": None,
        "medium": medium,
        "lora_name": None,
        "group_idx": 0,
    }


class Bench:
    """Insight into two workers on scripted connections; what `tell` says came as `a`'s events."""

    def __init__(self, **settings: Any) -> None:
        self.fleet = fleet_of("a", "b")
        self.a, self.b = self.fleet
        self.pools = {worker.id: ScriptedPool(worker) for worker in self.fleet}
        for worker in self.fleet:
            worker.pool = self.pools[worker.id]  # type: ignore[assignment]
            self.fleet.set_report(worker, WorkerReport({"m": {"id": "m"}}, 5000, SIZE))
        memory = MemoryIndex(capacity_tokens=1e9, max_blocks=10**9)
        self.predicted = PredictedIndex(memory, default_kv_tokens=10**9)
        self.insight = insight(
            Settings(**{"token_deadline_s": 10.0, **settings}), self.fleet, self.predicted
        )
        self.number = 0

    async def listen(self) -> None:
        """Ask the workers where their events are; only `a` publishes some."""
        self.pools[A].connects = [answered(200, SOURCES)]
        self.pools[B].connects = [answered(404, b"{}")]
        assert self.insight.finder is not None
        await self.insight.finder.look()

    async def tell(self, *events: dict[str, Any]) -> None:
        """A batch of `a`'s events comes and is worked on."""
        if A not in self.insight.event_samples():
            await self.listen()
        subscriber = self.insight.feeds._feeds[A, 0].subscriber
        subscriber.offer(self.number, msgspec.msgpack.encode([1e9, events, 0]))
        self.number += 1
        while subscriber.step():
            pass
        self.insight.keep(0.0)

    def blocks_at(self, worker: WorkerId) -> int:
        return self.insight.knowledge.lookup(KNOWN).get(worker, 0)

    async def until_loaded(self, model: str) -> None:
        """Load tokenizers until this one is there."""
        task = asyncio.create_task(self.insight.library.run())
        async with asyncio.timeout(10):
            while self.insight.library.get(model) is None:  # noqa: ASYNC110 - a thread loads it
                await asyncio.sleep(0.001)
        task.cancel()

    async def prompt_of(self, body: dict[str, Any]) -> str:
        """The prompt that a chat's tokens are."""
        found = await self.insight.exact.tokens.tokens(request(body))
        assert found is not None, self.insight.prompts()
        return str(tokenizer_of().decode(list(found.ids), skip_special_tokens=False))

    async def end(self) -> None:
        self.insight.feeds.close()
        await self.insight.close()


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    yield bench
    await bench.end()


class TestEvents:
    async def test_what_a_worker_tells_is_known(self, bench: Bench) -> None:
        assert (bench.insight.known_by(A), bench.blocks_at(A)) == ("predictions", 0)
        await bench.tell(event())
        assert (bench.insight.known_by(A), bench.blocks_at(A)) == ("events", 5)
        assert bench.insight.known_by(B) == "predictions"
        identity = await bench.insight.exact.identity(ASKED, TEXT, (bench.a, bench.b))
        assert bench.insight.knowledge.lookup(identity) == {A: 5}

    async def test_blocks_by_tier(self, bench: Bench) -> None:
        bench.predicted.sent(B, TextIdentity().identify(request(chat("word " * 200))))
        assert bench.insight.blocks(A) == {"gpu": 0}
        await bench.tell(event(), event(3, "CPU"))
        assert bench.insight.blocks(A) == {"gpu": 5, "cpu": 3}
        assert bench.insight.blocks(B) == {"gpu": bench.predicted.blocks(B)}

    @pytest.mark.parametrize(("medium", "tier"), [("CPU", Tier.CPU), ("STORAGE", Tier.DISK)])
    async def test_lower_tiers_can_be_loaded_from(
        self, medium: str, tier: Tier, bench: Bench
    ) -> None:
        await bench.tell(event(1), event(3, medium))
        identity = await bench.insight.exact.identity(ASKED, TEXT, (bench.a, bench.b))
        assert identity.stored == {A: Loadable(tier, 3 * SIZE)}
        cached = bench.insight.knowledge.cached_tokens(A, identity, 1)
        assert cached == 3 * SIZE

    async def test_a_worker_that_left_is_forgotten_whole(self, bench: Bench) -> None:
        await bench.tell(event(), event(3, "CPU"))
        bench.insight.knowledge.sent(A, KNOWN)
        bench.insight.removed(A)
        while bench.insight.feeds._ingest.slice():
            pass
        bench.fleet.set_workers(["http://b:8000"])
        bench.insight.keep(0.0)
        assert bench.insight.known_by(A) == "predictions"
        assert bench.insight.event_samples() == {}
        reported = bench.insight.knowledge._reported
        for index in (reported, *(each._index for each in bench.insight.exact._events)):
            assert not index._holders
            assert not index._expected

    async def test_answers_that_contradict_them_have_all_events_told_anew(
        self, bench: Bench
    ) -> None:
        await bench.tell(event())
        for _ in range(3):
            bench.insight.knowledge.audit(A, KNOWN, 5, (16.0, 0))
        assert bench.insight.event_samples()[A].counts["resyncs"] == 1
        assert bench.insight.known_by(A) == "predictions"

    async def test_samples_by_worker(self, bench: Bench) -> None:
        await bench.tell(event(2))
        (sample,) = bench.insight.event_samples().values()
        assert (sample.counts["stored"], sample.counts["batches"]) == (2, 1)
        assert "lag_s" not in sample.counts
        assert sample.lag_s > 1e6, "by the clock that the batch was stamped with"

    @pytest.mark.parametrize(
        ("setting", "names"),
        [
            ("auto", ["tokenizers", "kv-events", "kv-event-sources"]),
            ("off", ["tokenizers"]),
        ],
    )
    async def test_what_runs(self, setting: str, names: list[str]) -> None:
        bench = Bench(kv_events=setting)
        tasks = dict(bench.insight.tasks())
        for task in tasks.values():
            task.close()
        assert list(tasks) == names
        await bench.end()

    async def test_workers_that_do_not_say_where_are_listened_to_where_it_is_set(self) -> None:
        bench = Bench(kv_events_endpoint="tcp://*:5600")
        await bench.listen()
        assert set(bench.insight.event_samples()) == {A, B}
        sources = {place[0]: feed.source for place, feed in bench.insight.feeds._feeds.items()}
        assert sources[A].endpoint == "tcp://a:5557", "its own word counts more"
        assert sources[B].endpoint == "tcp://b:5600"
        await bench.end()


class TestTokenizers:
    async def test_a_configured_one_with_the_workers_template_and_arguments(
        self, tmp_path: Path
    ) -> None:
        template = tmp_path / "chat.jinja"
        template.write_text("{{ tone }}: {{ messages[0].content }}")
        bench = Bench(
            tokenizers={"m": write_model(tmp_path / "m")},
            chat_templates={"m": template},
            chat_template_kwargs={"m": {"tone": "kind"}},
        )
        await bench.until_loaded("m")
        assert await bench.prompt_of(chat("hi")) == "kind: hi"
        assert bench.insight.prompts() == {"tokens": 1}
        await bench.end()

    async def test_one_that_is_where_a_worker_loaded_its_model_from(self, tmp_path: Path) -> None:
        directory = write_model(tmp_path / "models--org--m/snapshots/1")
        refs = tmp_path / "models--org--m/refs"
        refs.mkdir()
        (refs / "main").write_text("1")
        bench = Bench(hub_cache_dir=tmp_path)
        cards: dict[str, dict[str, Any]] = {
            "tuned": {"id": "tuned", "root": str(directory), "parent": "m"},
            "bare": {"id": "bare", "root": None},
            "m": {"id": "m", "root": "org/m"},
        }
        bench.fleet.set_report(bench.a, WorkerReport(cards))
        bench.insight.reported(bench.a)
        await bench.until_loaded("m")
        assert (await bench.prompt_of(chat("hi"))).startswith("<|im_start|>user\nhi")
        assert bench.insight.library.get("tuned") is None, "adapters have none of their own"
        assert bench.insight.library._loading.empty()
        await bench.end()

    async def test_without_one_the_least_busy_worker_is_asked(self) -> None:
        bench = Bench(worker_api_key="key")
        bench.a.load.inflight = 1
        bench.pools[B].connects = [answered(200, b'{"tokens":[7,8,9]}')]
        found = await bench.insight.exact.tokens.tokens(request(chat("hi")))
        assert found is not None
        assert list(found.ids) == [7, 8, 9]
        ((head, body, _),) = bench.pools[B].connections[0].sent
        assert head.startswith(b"POST /tokenize HTTP/1.1\r\n")
        assert b"authorization: Bearer key\r\n" in head
        assert json.loads(body)["messages"] == chat("hi")["messages"]
        again = await bench.insight.exact.tokens.tokens(request(chat("hi", seed=1)))
        assert again == found, "and not asked twice"
        await bench.end()

    async def test_after_a_failure_workers_are_left_alone_for_a_while(self, bench: Bench) -> None:
        for pool in bench.pools.values():
            pool.connects = [UNREACHABLE] * 3
        tokens = bench.insight.exact.tokens
        for number in range(3):
            assert await tokens.tokens(request(chat(f"{number}"))) is None
        opened = sum(pool.opened for pool in bench.pools.values())
        assert opened == 2, "a kept-alive connection and a new one, for the first alone"

    @pytest.mark.parametrize("model", ["m", "unknown"])
    async def test_workers_that_cannot_say_cost_no_request(self, model: str, bench: Bench) -> None:
        for pool in bench.pools.values():
            pool.connects = [answered(404, b"{}")]
        body = chat("hi") | {"model": model}
        assert await bench.insight.exact.tokens.tokens(request(body)) is None
        assert bench.insight.prompts() == {"tokens": 0, "tokens_failed": 1}

    async def test_what_is_wrong_is_told_by_model(self, bench: Bench) -> None:
        made = Decision(bench.a, "p", "why", 0, 0.0, 20.0, 1.0, 0.1, 0.0, 0.1)
        for _ in range(3):
            bench.insight.exact.learn(ASKED, KNOWN, made, (21, None))
        assert bench.insight.mismatches() == {"m": 1}
        (complaint,) = bench.insight.complaints(["n", "m"])
        assert "gives 20 tokens, the worker counted 21" in complaint
        assert bench.insight.complaints(["n"]) == []

    async def test_when_closed_no_more_is_tokenized(self, bench: Bench) -> None:
        await bench.insight.close()
        assert await bench.insight.exact.tokens.tokens(ASKED) is None

"""Real workers that publish their KV events, and what the router's parts make of those, without a router."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

from router.events.counters import Counters
from router.events.feeds import EventFeeds
from router.events.sources import EventSource, discover
from router.ids import WorkerId
from router.index.union import UnionIndex
from router.prompt.identity import TokenIdentity
from router.prompt.token_blocks import prompt_extras, token_keys
from router.upstream.pool import Address, Pool
from tests.e2e.harness import ask
from tests.fakes.ports import free_ports

MODEL = "tiny-qwen3"
BLOCK = 32
ADAPTERS = ("alpha", "beta")


def event_specs(
    engine: ModuleType,
    count: int = 1,
    *,
    blocks: int = 60,
    ranks: int = 1,
    dial: bool = False,
    extra: Sequence[str] = (),
) -> list[Any]:
    """`count` workers with tiny models and pools of `blocks` that publish events; start them before asking for more.

    `dial`: they all connect to the router, instead of listening for it. Ports of `ranks` follow each other.
    """
    each = 1 + 2 * ranks
    *ports, router = free_ports((count + 1) * each)[: count * each + 1]
    return [
        _event_spec(engine, ports[first : first + each], blocks, router if dial else None, extra)
        for first in range(0, count * each, each)
    ]


def _event_spec(
    engine: ModuleType, ports: list[int], blocks: int, dial: int | None, extra: Sequence[str]
) -> Any:
    http, *others = ports
    ranks = len(others) // 2
    config = {
        "enable_kv_cache_events": True,
        "publisher": "zmq",
        "endpoint": f"tcp://127.0.0.1:{dial}" if dial else f"tcp://*:{others[0]}",
        "replay_endpoint": f"tcp://127.0.0.1:{others[ranks]}",
        "topic": f"kv@127.0.0.1:{http}@{MODEL}",
    }
    options = ["--num-gpu-blocks-override", f"{blocks}", "--kv-events-config", json.dumps(config)]
    if ranks > 1:
        options += ["--api-server-count", "1"]  # not one for each rank: less to start
    return engine.WorkerSpec(
        http, "tiny", kv_mb=64, max_model_len=1024, ranks=ranks, extra_args=(*options, *extra)
    )


def lora_args(engine: ModuleType) -> tuple[str, ...]:
    """What makes a tiny worker serve `ADAPTERS`."""
    folder = engine.engine_dir() / "model"
    modules = [f"{name}={folder / f'tiny-{name}'}" for name in ADAPTERS]
    return (
        *("--enable-lora", "--max-loras", f"{len(ADAPTERS)}", "--max-lora-rank", "8"),
        *("--lora-modules", *modules),
    )


class Watch:
    """What workers' events tell: `index` knows of their own blocks, `below` of those that LMCache keeps for them."""

    def __init__(self) -> None:
        self.index = UnionIndex()
        self.below = UnionIndex()
        self.feeds = EventFeeds({"GPU": self.index, "CPU": self.below})

    async def quiet(self) -> None:
        """Wait until no more events come."""
        before = -1
        while before != (before := self._batches()):  # noqa: ASYNC110
            await asyncio.sleep(0.1)

    def _batches(self) -> int:
        return sum(counters.batches for counters in self.feeds.counters().values())


async def until(condition: Callable[[], bool]) -> None:
    """Wait until it is true, 10 s at most."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


class Seen:
    """A worker that is watched."""

    def __init__(self, worker: Any, watch: Watch) -> None:
        self.id = WorkerId(worker.id)
        self.watch = watch
        self.sources: list[EventSource] = []
        self._url = worker.url

    async def follow(self) -> None:
        """Ask where the events are, and listen."""
        pool = Pool(Address.parse(self._url), None, connect_s=5.0, idle_s=4.0)
        self.sources = await discover(self.id, pool, api_key=None, timeout_s=5.0) or []
        pool.retire()
        assert self.sources
        self.watch.feeds.follow(self.id, self.sources)

    @property
    def counters(self) -> Counters:
        """What came from its first rank."""
        return self.watch.feeds.counters()[self.id]

    async def ask(
        self,
        prompt: list[int],
        *,
        adapter: str | None = None,
        rank: int | None = None,
        **fields: Any,
    ) -> tuple[int, int]:
        """Send a prompt of token ids: (cached tokens that were to be expected, those that were found)."""
        predicted = self.predict(prompt, adapter, fields.get("cache_salt"), self.holder(rank or 0))
        answer = await self.post("/v1/completions", completion(prompt, adapter, **fields), rank)
        await self.watch.quiet()
        return predicted, cached_tokens(answer)

    def holder(self, rank: int) -> WorkerId:
        """What an index calls one of its ranks."""
        return WorkerId(f"{self.id}#{rank}") if rank else self.id

    def predict(
        self,
        prompt: list[int],
        adapter: str | None = None,
        salt: str | None = None,
        holder: WorkerId | None = None,
    ) -> int:
        """An engine shares whole blocks and always computes the last token."""
        extras = prompt_extras(len(prompt) // BLOCK, BLOCK, adapter=adapter, salt=salt)
        keys = token_keys(prompt, BLOCK, extras)
        held = self.watch.index.lookup(TokenIdentity.of(keys, len(prompt), BLOCK))
        return min(held.get(holder or self.id, 0), (len(prompt) - 1) // BLOCK) * BLOCK

    async def post(
        self, path: str, body: Mapping[str, Any], rank: int | None = None
    ) -> dict[str, Any]:
        """Ask the worker anything."""
        headers = {"x-session-id": "session"} if "vllm_xargs" in body else {}
        if rank is not None:
            headers["x-data-parallel-rank"] = str(rank)
        answer = await asyncio.to_thread(ask, self._url, path, dict(body), headers)
        assert answer.status == 200, answer.body
        return answer.json() if answer.body else {}


def completion(prompt: list[int], adapter: str | None = None, **fields: Any) -> dict[str, Any]:
    """A request that is answered soon."""
    usual = {"model": adapter or MODEL, "prompt": prompt, "max_tokens": 3, "temperature": 0}
    return usual | fields


def cached_tokens(answer: Mapping[str, Any]) -> int:
    """Prompt tokens that the engine found, in its own cache or in LMCache."""
    return (answer["usage"]["prompt_tokens_details"] or {}).get("cached_tokens") or 0


@asynccontextmanager
async def watching(*workers: Any) -> AsyncIterator[list[Seen]]:
    """Listen to workers."""
    watch = Watch()
    running = asyncio.ensure_future(watch.feeds.run())
    seen = [Seen(worker, watch) for worker in workers]
    try:
        for each in seen:
            await each.follow()
        await watch.quiet()
        yield seen
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

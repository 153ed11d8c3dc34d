"""What a real worker's events say is what it finds: predicted hits are `cached_tokens`, to the token."""

import asyncio
import json
import random
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from types import ModuleType
from typing import Any

import pytest

from router.events.feeds import EventFeeds
from router.events.sources import discover
from router.ids import WorkerId
from router.index.union import UnionIndex
from router.prompt.identity import TokenIdentity
from router.prompt.token_blocks import prompt_extras, token_keys
from router.upstream.pool import Address, Pool
from tests.e2e.harness import free_ports

pytestmark = pytest.mark.engine

BLOCK = 32
POOL_BLOCKS = 40
MODEL = "tiny-qwen3"
REQUESTS = 150


@pytest.fixture(scope="module")
def start(engine: ModuleType) -> Iterator[Callable[[], Any]]:
    """Start a worker with a small pool that publishes its events; each time on the same ports."""
    http_port, events_port, replay_port = free_ports(3)
    config = {
        "enable_kv_cache_events": True,
        "publisher": "zmq",
        "endpoint": f"tcp://*:{events_port}",
        "replay_endpoint": f"tcp://127.0.0.1:{replay_port}",
        "topic": "kv@worker",
    }
    options = ("--num-gpu-blocks-override", f"{POOL_BLOCKS}", "--kv-events-config")
    spec = engine.WorkerSpec(
        http_port,
        model="tiny",
        kv_mb=64,
        max_model_len=1024,
        extra_args=(*options, json.dumps(config)),
    )
    started: list[Any] = []

    def start() -> Any:
        worker = engine.start(spec)
        started.append(worker)
        engine.wait_healthy([worker])
        return worker

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_SERVER_DEV_MODE", "1")
        try:
            yield start
        finally:
            engine.stop(started)


class Seen:
    """A worker, and what its events tell."""

    def __init__(self, worker: Any, feeds: EventFeeds, index: UnionIndex) -> None:
        self.id = WorkerId(worker.id)
        self.feeds = feeds
        self._url = worker.url
        self._index = index

    async def follow(self) -> None:
        """Ask where the events are."""
        pool = Pool(Address.parse(self._url), None, connect_s=5.0, idle_s=4.0)
        sources = await discover(self.id, pool, api_key=None, timeout_s=5.0)
        assert sources
        self.feeds.follow(self.id, sources)

    async def ask(self, prompt: list[int], **fields: Any) -> tuple[int, int]:
        """Send a prompt of token ids: (cached tokens that were to be expected, those that were found)."""
        predicted = self.predict(prompt, fields.get("cache_salt"))
        headers = {"X-Session-ID": "session"} if "vllm_xargs" in fields else {}
        body = {"model": MODEL, "prompt": prompt, "max_tokens": 3, "temperature": 0, **fields}
        answer = await asyncio.to_thread(self.post, "/v1/completions", body, headers)
        details = answer["usage"]["prompt_tokens_details"]
        await self.quiet()
        return predicted, (details or {}).get("cached_tokens") or 0

    def predict(self, prompt: list[int], salt: str | None = None) -> int:
        """An engine shares whole blocks and always computes the last token."""
        blocks = len(prompt) // BLOCK
        keys = token_keys(prompt, BLOCK, prompt_extras(blocks, BLOCK, salt=salt))
        held = self._index.lookup(TokenIdentity.of(keys, len(prompt), BLOCK)).get(self.id, 0)
        return min(held, (len(prompt) - 1) // BLOCK) * BLOCK

    def post(self, path: str, body: dict[str, Any], headers: dict[str, str]) -> dict[str, Any]:
        request = urllib.request.Request(
            self._url + path,
            json.dumps(body).encode(),
            {"content-type": "application/json", **headers},
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            found: dict[str, Any] = json.load(answer)
            return found

    async def quiet(self) -> None:
        """Wait until no more events come."""
        before = -1
        while before != (before := self.feeds.counters(self.id).batches):  # noqa: ASYNC110
            await asyncio.sleep(0.1)


@asynccontextmanager
async def watching(worker: Any) -> AsyncIterator[Seen]:
    index = UnionIndex()
    feeds = EventFeeds({"GPU": index})
    running = asyncio.ensure_future(feeds.run())
    seen = Seen(worker, feeds, index)
    try:
        await seen.follow()
        await seen.quiet()
        yield seen
    finally:
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)


def prompts(seed: int) -> Iterator[tuple[list[int], dict[str, Any]]]:
    """Prompts that share beginnings, more than the pool holds; some end with a block, some are salted or reported."""
    chance = random.Random(seed)
    stems = [[chance.randrange(3, 4000) for _ in range(24 * BLOCK)] for _ in range(4)]
    while True:
        stem = chance.choice(stems)
        shared = chance.randrange(0, 20 * BLOCK)
        if chance.random() < 0.4:
            shared -= shared % BLOCK
        tail = [] if shared and chance.random() < 0.4 else [chance.randrange(3, 4000)]
        tail = tail * chance.choice((1, 7, BLOCK, 3 * BLOCK))
        fields: dict[str, Any] = {}
        if chance.random() < 0.2:
            fields["cache_salt"] = chance.choice(("one", "two"))
        if chance.random() < 0.15:
            fields["vllm_xargs"] = {"kv_cache_report_mode": "full"}
        if chance.random() < 0.2:
            fields["max_tokens"] = 2 * BLOCK
        yield [*stem[:shared], *tail], fields


@pytest.mark.timeout(400)
async def test_predicted_hits_are_what_the_worker_finds(
    start: Callable[[], Any], report: Callable[[str], None]
) -> None:
    worker = start()
    async with watching(worker) as seen:
        asked = prompts(seed=1)
        pairs = []
        for _ in range(REQUESTS):
            prompt, fields = next(asked)
            pairs.append(await seen.ask(prompt, **fields))
        right = sum(predicted == actual for predicted, actual in pairs)
        hits = sum(actual > 0 for _, actual in pairs)
        counters = seen.feeds.counters(seen.id)
        report(
            f"events: {right} of {len(pairs)} predictions exact, {hits} with hits; {counters.removed} blocks evicted"
        )
        assert counters.removed > POOL_BLOCKS
        assert hits > REQUESTS / 4
        assert right >= 0.99 * len(pairs), [pair for pair in pairs if pair[0] != pair[1]]

        prompt, _ = next(asked)
        await seen.ask(prompt)
        await asyncio.to_thread(seen.post, "/reset_prefix_cache", {}, {})
        await seen.ask([5] * 10)  # the reset is told with the next step
        assert seen.feeds.counters(seen.id).cleared == 1
        assert await seen.ask(prompt) == (0, 0)

        late_feeds = EventFeeds({"GPU": (late := UnionIndex())})
        running = asyncio.ensure_future(late_feeds.run())
        other = Seen(worker, late_feeds, late)
        await other.follow()
        await other.quiet()
        assert other.predict(prompt) == seen.predict(prompt) > 0
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)

        worker.kill()
        start()
        await seen.quiet()
        assert await seen.ask(prompt) == (0, 0)
        predicted, actual = await seen.ask(prompt)
        assert predicted == actual > 0

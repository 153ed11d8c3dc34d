"""What workers hold, as the router knows it."""

import logging
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.component.conftest import StartRouter
from tests.component.harness import RunningRouter, chat, eventually
from tests.component.test_exact import Simulated, settled, warm
from tests.fakes.kv_publisher import KvPublisher
from tests.fakes.wire import Request, Wire
from tests.field.support import asked, explained, hangs, pinned, scraped, states
from tests.field.telling import PROMPT, Telling, telling_worker

COMPLETIONS = "/v1/completions"


def ids(tokens: tuple[int, ...] = PROMPT) -> dict[str, Any]:
    """A request for a prompt of tokens."""
    return {"model": "m", "prompt": list(tokens)}


async def held(router: RunningRouter, tokens: tuple[int, ...] = PROMPT) -> dict[str, int]:
    """How much of a prompt each worker holds, as the router would say."""
    workers = (await explained(router, ids(tokens), COMPLETIONS))["workers"]
    return {each["id"]: each["cached_tokens"] for each in workers}


async def holds(router: RunningRouter, wanted: dict[str, int], tokens: Any = PROMPT) -> None:
    """Wait until the router knows just this of a prompt."""

    async def known() -> bool:
        return await held(router, tokens) == wanted

    await asked(known)


@pytest.fixture
async def telling(stack: AsyncExitStack) -> list[Telling]:
    """Two workers of different seeds."""
    return [await telling_worker(stack, seed) for seed in (1, 2)]


async def test_chats_are_known_by_their_tokens(
    stack: AsyncExitStack, start_router: StartRouter
) -> None:
    """kvaware-chat: only plain prompts are tokenized as the engine does, so that chats never find their cache."""
    simulated = Simulated()
    await simulated.serve(stack)
    router = await start_router(simulated.url, token_deadline_s=10.0)
    await warm(router, simulated)
    body = chat("what the cache is for " * 40, max_tokens=1)
    expected, found = [], []
    for _ in range(2):
        answer = await router.post(body, headers=[("x-router-explain", "1")])
        expected.append(int(answer.header("x-router-cached-tokens") or -1))
        found.append(answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"])
        await settled(router, simulated)
    assert expected == found
    assert found[1] > found[0]
    assert await scraped(router, "router_prompts_identified_total", by="tokens") >= 2


async def test_chats_that_cannot_be_tokenized_are_counted(
    stack: AsyncExitStack, start_router: StartRouter
) -> None:
    """kvaware-chat: where tokenizing fails the request goes by its text, and a metric says so."""
    worker = await telling_worker(stack)  # it has no /tokenize worth the name
    router = await start_router(worker.url)
    worker.store(PROMPT)
    await holds(router, {worker.id: 64})
    before = await scraped(router, "router_prompts_identified_total")
    assert (await router.post(chat("hello"))).status == 200
    assert await scraped(router, "router_prompts_identified_total") == before + 1
    assert await scraped(router, "router_prompts_identified_total", by="tokens") == before


async def test_hashes_of_any_seed(start_router: StartRouter, telling: list[Telling]) -> None:
    """kv-hash-seed: each engine hashes its blocks with another seed, and the router's own hashes never match."""
    router = await start_router(*(worker.url for worker in telling))
    for worker in telling:
        worker.store(PROMPT)
    await holds(router, {worker.id: 64 for worker in telling})
    telling[0].evict(PROMPT)
    await holds(router, {telling[0].id: 0, telling[1].id: 64})


async def test_missed_events_are_replayed(
    start_router: StartRouter, telling: list[Telling]
) -> None:
    """kv-event-gap: a message that was lost leaves the index wrong for good."""
    worker, other = telling
    router = await start_router(worker.url, other.url)
    worker.store(PROMPT)
    await holds(router, {worker.id: 64, other.id: 0})
    lost = tuple(range(2000, 2033))
    worker.publisher.muted = True
    worker.store(lost)
    worker.evict(PROMPT)
    worker.publisher.muted = False
    worker.store(tuple(range(3000, 3033)))
    await holds(router, {worker.id: 32, other.id: 0}, lost)
    await holds(router, {worker.id: 0, other.id: 0})
    assert await scraped(router, "router_kv_events_total", kind="gaps", worker=worker.id) == 1


async def test_restarted_worker_holds_nothing(
    stack: AsyncExitStack, start_router: StartRouter
) -> None:
    """kv-event-gap: a worker that was restarted counts from zero again, and what it held before is gone."""
    first = KvPublisher()
    await first.__aenter__()
    worker = await stack.enter_async_context(Telling(first))
    router = await start_router(worker.url)
    worker.store(PROMPT)
    await holds(router, {worker.id: 64})
    ports = first.port, first.replay_port
    await first.__aexit__(None, None, None)
    again = KvPublisher(f"tcp://*:{ports[0]}", replay_port=ports[1])
    worker.publisher = await stack.enter_async_context(again)
    new = tuple(range(5000, 5033))
    worker.store(new)
    await holds(router, {worker.id: 32}, new)
    await holds(router, {worker.id: 0})


async def test_the_longest_run_wins(start_router: StartRouter, telling: list[Telling]) -> None:
    """kv-longest: whoever holds anything of a prompt gets it, not who holds the most."""
    short, long = telling
    router = await start_router(short.url, long.url)
    prompt = tuple(range(1, 4098))
    short.store(prompt[:256])
    long.store(prompt)
    await holds(router, {short.id: 256, long.id: 4096}, prompt)
    for _ in range(3):
        answer = await router.post(ids(prompt), COMPLETIONS)
        assert answer.header("x-router-worker") == long.id


async def test_of_equal_runs_the_less_loaded_wins(
    start_router: StartRouter, telling: list[Telling]
) -> None:
    """kv-longest: between workers that hold the same, load decides."""
    busy, free = telling
    router = await start_router(busy.url, free.url)
    for worker in telling:
        worker.store(PROMPT)
    await holds(router, {worker.id: 64 for worker in telling})
    busy.script = hangs
    async with router.connect() as client:
        long = tuple(range(10_000, 30_000))
        await client.post(COMPLETIONS, ids(long), pinned(busy))
        await busy.received_count(1)
        for _ in range(3):
            answer = await router.post(ids(), COMPLETIONS)
            assert answer.header("x-router-worker") == free.id


async def _cached(request: Request, wire: Wire) -> None:
    details = {"cached_tokens": 512}
    usage = {"prompt_tokens": 600, "completion_tokens": 1, "prompt_tokens_details": details}
    await wire.json({"usage": usage})


async def test_worker_that_never_tells(start_router: StartRouter, telling: list[Telling]) -> None:
    """kv-events-absent: a worker that publishes nothing passes for one whose cache is empty."""
    for worker in telling:
        worker.script = _cached
    router = await start_router(*(worker.url for worker in telling))
    body = chat("the same again " * 200)
    answers = [await router.post(body, headers=[("x-router-explain", "1")]) for _ in range(5)]
    assert len({answer.header("x-router-worker") for answer in answers}) == 1
    assert int(answers[-1].header("x-router-cached-tokens") or 0) > 100
    assert {each["known_by"] for each in (await states(router)).values()} == {"predictions"}


async def test_worker_that_never_tells_is_named(
    start_router: StartRouter,
    telling: list[Telling],
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """kv-events-absent: that a worker's events never come is worth a warning."""
    worker, _ = telling
    worker.script = _cached
    monkeypatch.setattr("router.events.silence._PATIENCE_S", 0.2)
    with caplog.at_level(logging.WARNING):
        router = await start_router(worker.url)
        for n in range(40):
            await router.post(chat(f"{n % 4} again " * 200))
        await eventually(lambda: any(worker.id in r.getMessage() for r in caplog.records))

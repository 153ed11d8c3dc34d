"""Workers that say what they hold: prompts are tokenized, and what is predicted of caches is what is found there."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from contextlib import AsyncExitStack
from typing import Any, TypeAlias

import pytest
import uvicorn

from router.events.ledger import GPU
from router.ids import WorkerId
from router.simworker.app import App
from router.simworker.config import WorkerConfig
from router.simworker.worker import Worker as SimulatedWorker
from tests.component.conftest import StartRouter
from tests.component.harness import CHAT, RunningRouter, Server, chat, eventually
from tests.fakes.client import Response
from tests.fakes.ports import free_ports

TEXT = "What an engine announces is what its prompts are made of. " * 30
COMPLETIONS = "/v1/completions"
BLOCK = 16


class Simulated:
    """A simulated worker that serves on loopback and publishes its events; `hold` stops it from tokenizing."""

    def __init__(self, **options: Any) -> None:
        self._listening = socket.create_server(("127.0.0.1", 0))
        options = {
            "models": ("m", "tuned"),
            "time_scale": 0.01,
            "block_size": BLOCK,
            "port": self._listening.getsockname()[1],
            "kv_events_port": free_ports(2)[0],
            **options,
        }
        self.config = WorkerConfig(**options)
        self.worker = SimulatedWorker.create(self.config)
        self.free = asyncio.Event()
        self.free.set()
        self._app = App(self.worker)

    @property
    def id(self) -> WorkerId:
        return WorkerId(f"127.0.0.1:{self.config.port}")

    @property
    def url(self) -> str:
        return f"http://{self.id}"

    async def __call__(self, scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        if scope.get("path") == "/tokenize":
            await self.free.wait()
        await self._app(scope, receive, send)  # type: ignore[arg-type]

    async def serve(self, stack: AsyncExitStack) -> None:
        """Serve until `stack` is unwound."""
        stack.enter_context(self._listening)
        await stack.enter_async_context(self.worker.running())
        server = Server(
            uvicorn.Config(self, lifespan="off", ws="none", log_config=None, access_log=False)
        )
        task = asyncio.get_running_loop().create_task(server.serve([self._listening]))
        await eventually(server.up.is_set)

        async def end() -> None:
            self.free.set()
            server.stop.set()
            await asyncio.wait_for(task, 15.0)

        stack.push_async_callback(end)


StartSimulated: TypeAlias = Callable[..., Awaitable[Simulated]]


@pytest.fixture
async def start_simulated() -> AsyncIterator[StartSimulated]:
    """Start a simulated worker."""
    async with AsyncExitStack() as stack:

        async def start(**options: Any) -> Simulated:
            simulated = Simulated(**options)
            await simulated.serve(stack)
            return simulated

        yield start


@pytest.fixture
async def simulated(start_simulated: StartSimulated, stack: AsyncExitStack) -> Simulated:
    """One that outlives the router."""
    return await start_simulated()


@pytest.fixture
def start(start_router: StartRouter, start_simulated: StartSimulated) -> StartRouter:
    """Start a router that takes its time to tokenize."""

    async def start(*workers: Simulated, **settings: Any) -> RunningRouter:
        urls = [worker.url for worker in workers]
        router = await start_router(*urls, **{"token_deadline_s": 10.0, **settings})
        await eventually(lambda: all(worker.up for worker in router.workers))
        return router

    return start


@pytest.fixture
async def router(simulated: Simulated, start: StartRouter) -> RunningRouter:
    """A router before one simulated worker, which has told of itself."""
    router = await start(simulated)
    await warm(router, simulated)
    return router


async def warm(router: RunningRouter, simulated: Simulated) -> None:
    """The worker has computed something, and told so."""
    await router.post(
        chat("first of all " * 20, max_tokens=1), headers=[("x-router-worker", simulated.id)]
    )
    await eventually(lambda: router.app.insight.known_by(simulated.id) == "events")
    await settled(router, simulated)


async def settled(router: RunningRouter, *workers: Simulated) -> None:
    """All that the workers have in their caches is known here."""
    blocks = router.app.insight.feeds.blocks
    await eventually(
        lambda: all(blocks(each.id, GPU) == each.worker.engine.pool.cached for each in workers)
    )


async def explained(router: RunningRouter, body: dict[str, Any], path: str = CHAT) -> Any:
    answer = await router.post(body, f"/explain?endpoint={path}")
    assert answer.status == 200, answer.body
    return answer.json()


def cached(answer: Response) -> int:
    """Cached tokens by the answer's usage."""
    return int(answer.json()["usage"]["prompt_tokens_details"]["cached_tokens"])


def errors(router: RunningRouter, le: str) -> float:
    """How many predictions that rest on events were wrong by this much at most."""
    return router.total("router_cached_tokens_prediction_error_bucket", by="events", le=le)


class Checked:
    """Sends requests one after the other; each finds cached what was predicted."""

    def __init__(self, router: RunningRouter, *workers: Simulated) -> None:
        self.router = router
        self.workers = workers

    async def post(self, body: dict[str, Any], path: str = CHAT) -> Response:
        explanation = await explained(self.router, body, path)
        assert explanation["prompt"]["by"] == "tokens"
        expected = {each["id"]: each["cached_tokens"] for each in explanation["workers"]}
        number = len(self.router.lines())
        answer = await self.router.post(body, path)
        assert answer.status == 200, answer.body
        worker = answer.header("x-router-worker") or ""
        assert cached(answer) == expected[worker]
        assert answer.json()["usage"]["prompt_tokens"] == explanation["prompt"]["tokens"]
        line = await self.router.line(number)
        assert line["predicted_cached_tokens"] == line["cached_tokens"] == cached(answer)
        await settled(self.router, *self.workers)
        return answer


# -- what is predicted is what is found ----------------------------------------------------------


async def test_before_a_worker_has_told_anything_its_prompts_go_by_text(
    simulated: Simulated, start: StartRouter
) -> None:
    router = await start(simulated)
    assert (await explained(router, chat(TEXT)))["prompt"]["by"] == "text"
    assert router.app.insight.known_by(simulated.id) == "predictions"
    await warm(router, simulated)
    assert (await explained(router, chat(TEXT)))["prompt"]["by"] == "tokens"


async def test_a_repeated_prompt(router: RunningRouter, simulated: Simulated) -> None:
    checked = Checked(router, simulated)
    first = await checked.post(chat(TEXT, max_tokens=1))
    again = await checked.post(chat(TEXT, max_tokens=1))
    tokens = again.json()["usage"]["prompt_tokens"]
    assert cached(first) < cached(again) == (tokens - 1) // BLOCK * BLOCK


async def test_a_conversation_that_goes_on(router: RunningRouter, simulated: Simulated) -> None:
    """Each turn finds the answers before it too: their blocks were announced as they were written."""
    checked, body, found = Checked(router, simulated), chat(TEXT, max_tokens=40), list[int]()
    for turn in range(4):
        answer = await checked.post(body)
        found.append(cached(answer))
        body["messages"] += [
            {"role": "assistant", "content": answer.json()["choices"][0]["message"]["content"]},
            {"role": "user", "content": f"And then, the {turn}th time? "},
        ]
    assert found == sorted(set(found))


@pytest.mark.parametrize(
    "fields", [{"cache_salt": "s"}, {"model": "tuned"}], ids=["salt", "adapter"]
)
async def test_what_keeps_prompts_apart(
    fields: dict[str, Any], router: RunningRouter, simulated: Simulated
) -> None:
    checked = Checked(router, simulated)
    await checked.post(chat(TEXT, max_tokens=1))
    body = chat(TEXT, max_tokens=1) | fields
    other, again = await checked.post(body), await checked.post(body)
    assert cached(other) < BLOCK * 3, "nothing but the beginning of the template is shared"
    assert cached(again) > 300


@pytest.mark.parametrize("form", ["text", "ids"])
async def test_completions(form: str, router: RunningRouter, simulated: Simulated) -> None:
    prompt: Any = TEXT if form == "text" else list(range(1000, 1400))
    checked, body = Checked(router, simulated), {"model": "m", "prompt": prompt, "max_tokens": 1}
    assert cached(await checked.post(body, COMPLETIONS)) == 0
    assert cached(await checked.post(body, COMPLETIONS)) > 300
    more = {**body, "prompt": prompt + prompt[:100]}
    assert cached(await checked.post(more, COMPLETIONS)) > 300


async def test_several_workers(start_simulated: StartSimulated, start: StartRouter) -> None:
    """Each is known by what it says, wherever a prompt goes."""
    workers = [await start_simulated() for _ in range(3)]
    router = await start(*workers)
    for each in workers:
        await warm(router, each)
    checked = Checked(router, *workers)
    for name in "abcdef" * 3:
        await checked.post(chat(name * 8 + TEXT, max_tokens=8))
    assert errors(router, le="-1.0") == 0
    assert errors(router, le="0.0") == errors(router, le="+Inf") == 18


async def test_a_burst_goes_where_the_first_of_it_went(
    start_simulated: StartSimulated, start: StartRouter
) -> None:
    """The second one counts on what was sent, before any event of it can be there."""
    workers = [await start_simulated(time_scale=1.0) for _ in range(2)]
    router = await start(*workers)
    for each in workers:
        await warm(router, each)
    first = asyncio.ensure_future(router.post(chat(TEXT, max_tokens=1)))
    await eventually(lambda: router.inflight == 1)
    best = (await explained(router, chat(TEXT)))["workers"][0]
    assert best["inflight"] == 1
    assert best["cached_tokens"] > 300
    answer = await first
    assert answer.header("x-router-worker") == best["id"]


# -- what workers lose is known ------------------------------------------------------------------


async def test_a_cache_that_was_reset_is_empty(router: RunningRouter, simulated: Simulated) -> None:
    checked = Checked(router, simulated)
    await checked.post(chat(TEXT, max_tokens=1))
    await eventually(simulated.worker.engine.pool.clear)
    # Events are told at the engine's next step: it is given something else to do.
    await router.post(chat("something else " * 20, max_tokens=1))
    await settled(router, simulated)
    assert cached(await checked.post(chat(TEXT, max_tokens=1))) == 0
    assert cached(await checked.post(chat(TEXT, max_tokens=1))) > 300


async def test_what_was_evicted_is_not_expected(
    start_simulated: StartSimulated, start: StartRouter
) -> None:
    small = await start_simulated(kv_tokens=60 * BLOCK)
    router = await start(small)
    await warm(router, small)
    checked = Checked(router, small)
    found = [
        cached(await checked.post(chat(letter * 8 + TEXT, max_tokens=1)))
        for letter in "abcabca"
        for _ in range(2)
    ]
    assert max(found[1::2]) > 300, "what has just been sent is there"
    assert min(found[2::2]) < 100, "what was there before is not"
    assert router.total("router_kv_events_total", kind="removed") > 0


async def test_a_worker_that_leaves_takes_its_blocks_with_it(
    start_simulated: StartSimulated, start: StartRouter
) -> None:
    stays, leaves = [await start_simulated() for _ in range(2)]
    router = await start(stays, leaves)
    for each in (stays, leaves):
        await warm(router, each)
    assert router.samples("router_kv_events_total")
    router.app.fleet.set_workers([stays.url])
    assert router.total("router_kv_events_total", worker=leaves.id) == 0
    assert set(router.app.insight.event_samples()) == {stays.id}
    await Checked(router, stays).post(chat(TEXT, max_tokens=1))
    router.app.fleet.set_workers([stays.url, leaves.url])
    await eventually(lambda: router.app.insight.known_by(leaves.id) == "events")
    await settled(router, stays, leaves)


# -- going without -------------------------------------------------------------------------------


async def test_a_prompt_that_takes_too_long_goes_by_its_text(
    simulated: Simulated, start: StartRouter
) -> None:
    router = await start(simulated, token_deadline_s=0.02)
    await warm(router, simulated)
    simulated.free.clear()
    before = router.total("router_prompts_identified_total", by="tokens_deadline")
    answer = await router.post(chat(TEXT, max_tokens=1))
    assert answer.status == 200
    assert router.total("router_prompts_identified_total", by="tokens_deadline") == before + 1
    assert (await explained(router, chat(TEXT)))["prompt"]["by"] == "text"


async def test_a_client_that_leaves_while_its_prompt_is_tokenized(
    router: RunningRouter, simulated: Simulated
) -> None:
    simulated.free.clear()
    number = len(router.lines())
    tokens = router.app.insight.exact.tokens
    async with router.connect() as client:
        await client.post(CHAT, chat(TEXT))
        await eventually(lambda: tokens.pending == 1)
    await eventually(lambda: tokens.pending == 0)
    line = await router.line(number)
    assert (line["outcome"], line["status"], line["attempts"]) == ("cancelled", 499, 0)


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"model": "m", "input": TEXT, "max_output_tokens": 16}, "/v1/responses"),
        (chat(TEXT, max_tokens=1), "/v1/messages"),
    ],
)
async def test_endpoints_whose_prompts_are_not_rendered_here(
    body: dict[str, Any], path: str, router: RunningRouter
) -> None:
    assert (await explained(router, body, path))["prompt"]["by"] == "text"
    assert (await router.post(body, path)).status == 200
    assert router.total("router_prompts_identified_total", by="tokens_endpoint") == 2


async def test_with_events_off_nothing_is_asked_for(
    simulated: Simulated, start: StartRouter
) -> None:
    router = await start(simulated, kv_events="off")
    for _ in range(2):
        assert (await router.post(chat(TEXT, max_tokens=1))).status == 200
    assert router.app.insight.known_by(simulated.id) == "predictions"
    assert router.samples("router_kv_events_total") == {}
    assert router.total("router_prompts_identified_total") == 0


# -- what is shown -------------------------------------------------------------------------------


async def test_it_is_on_the_page_of_metrics(router: RunningRouter, simulated: Simulated) -> None:
    await Checked(router, simulated).post(chat(TEXT, max_tokens=1))
    page = (await router.get("/metrics")).body.decode()
    blocks = simulated.worker.engine.pool.cached
    assert f'router_index_blocks{{tier="gpu",worker="{simulated.id}"}} {blocks}.0' in page
    assert f'router_kv_events_total{{kind="stored",worker="{simulated.id}"}} {blocks}.0' in page
    assert f'router_kv_event_lag_seconds{{worker="{simulated.id}"}}' in page
    assert 'router_prompts_identified_total{by="tokens"}' in page
    assert 'router_cached_tokens_prediction_error_bucket{by="events",le="0.0"} 1.0' in page


async def test_workers_are_shown_with_what_they_are_known_by(
    router: RunningRouter, simulated: Simulated
) -> None:
    listing = json.loads((await router.get("/workers")).body)
    (shown,) = listing["workers"]
    assert shown["known_by"] == "events"
    assert shown["index_blocks"] == {"gpu": simulated.worker.engine.pool.cached}
    assert shown["mismatches"] == []

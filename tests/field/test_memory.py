"""What is kept and what is done on the loop: small, counted versions of what benches measure at full size."""

import asyncio
import gc
import json
import subprocess
import sys
import threading
import tracemalloc
from collections import Counter
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from router.tokens.encode import Encoder
from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CHAT, RunningRouter, chat, eventually
from tests.component.test_exact import Simulated, warm
from tests.e2e.harness import ROOT
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker, sse
from tests.field.support import SLOW_PROBES, asked, delta, hangs, resets, scraped, states
from tests.field.telling import PROMPT, Telling, telling_worker
from tests.unit.tokens.models import write_model

KB = 1024


async def test_prompts_that_never_repeat(worker: FakeWorker, start_router: StartRouter) -> None:
    """index-oom: what is remembered of prompts grows until the process is killed.

    `bench.index` measures the bytes of a full index.
    """
    router = await start_router(worker, index_max_blocks=400, **SLOW_PROBES)
    known = []
    async with router.connect() as client:
        for n in range(400):
            assert (await client.call(CHAT, chat(f"{n} " + "x" * 4 * KB))).status == 200
            if n % 50 == 49:
                known.append(await scraped(router, "router_index_blocks"))
    assert max(known) <= 440, known
    assert known[-1] >= 200, "it forgets the oldest, not all"


async def test_long_streams_are_not_kept(worker: FakeWorker, router: RunningRouter) -> None:
    """stream-buffered-memory: streams are gathered while they pass, so that memory grows with every answer.

    `bench.dataplane` measures the resident memory under hundreds of streams.
    """
    count, event, each = 20, b"data: " + b"y" * 16_000 + b"\n\n", 120
    release = asyncio.Event()

    async def script(request: Request, wire: Wire) -> None:
        await wire.stream([event] * each, end=False)
        await release.wait()
        await wire.end()

    worker.script = script
    read = 0

    async def one() -> None:
        nonlocal read
        async with router.connect() as client:
            await client.post(CHAT, chat(stream=True))
            response = await client.head()
            async for piece in client.chunks(response):
                read += len(piece)
                response.pieces.clear()

    tracemalloc.start()
    try:
        before = _held_by_router()
        streams = asyncio.gather(*(one() for _ in range(count)))
        await eventually(lambda: read == count * each * len(event), 20)
        grown = _held_by_router() - before
    finally:
        tracemalloc.stop()
    release.set()
    await streams
    assert grown < count * 200 * KB, f"{grown} of {read} bytes are still here"


def _held_by_router() -> int:
    """Bytes that the router's own lines have allocated and not given back."""
    ours = tracemalloc.Filter(inclusive=True, filename_pattern=f"{ROOT}/router/*")
    found = tracemalloc.take_snapshot().filter_traces([ours]).statistics("filename")
    return sum(each.size for each in found)


async def test_nothing_is_left_of_requests(worker: FakeWorker, start_router: StartRouter) -> None:
    """proxy-leaks: something stays behind of every request, and memory climbs for days.

    `bench.dataplane.soak` measures the resident memory under 100,000 requests.
    """

    async def script(request: Request, wire: Wire) -> None:
        kind = request.header("x-do")
        if kind == "stream":
            await wire.stream(sse(delta()))
        elif kind == "hang":
            await wire.hang()
        elif kind == "reset":
            await resets(request, wire)
        else:
            await wire.json({}, int(kind or 200))

    worker.script = script
    router = await start_router(worker, worker_idle_s=0.3, metrics_interval_s=60, **SLOW_PROBES)

    async def rounds(count: int) -> Counter[str]:
        for _ in range(count):
            for kind in ("200", "stream", "500", "reset", "hang"):
                async with router.connect() as client:
                    await client.post(CHAT, chat(stream=kind == "stream"), [("x-do", kind)])
                    if kind != "hang":
                        await client.response()
                        continue
                    sent = len(worker.requests)
                    await worker.received_count(sent)
        await eventually(lambda: not router.server.server_state.connections)
        await eventually(lambda: not worker.wires)
        router.app.reporter.settle()
        gc.collect()
        kinds = (type(each) for each in gc.get_objects())
        return Counter(
            kind.__name__ for kind in kinds if str(kind.__module__).startswith("router.")
        )

    await rounds(5)
    before = await rounds(2)
    left = await rounds(30) - before
    assert sum(left.values()) <= 20, left


async def test_health_while_prompts_are_many(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """probe-kills-router: under load the router misses its own health check, and is restarted.

    `bench.dataplane` measures the latencies at full load.
    """
    worker = await start_worker(script=hangs)
    router = await start_router(worker, room_tokens=10**9, max_inflight=10**4, **SLOW_PROBES)
    async with AsyncExitStack() as clients:
        for n in range(60):
            client = await clients.enter_async_context(router.connect())
            await client.post(CHAT, chat(f"{n}" + "x" * 32 * KB))
            if n % 10 == 9:
                assert (await router.get("/health")).status == 200
        await worker.received_count(60)
        for target in ("/health", "/ready", "/metrics", "/workers"):
            assert (await router.get(target)).status == 200


async def test_health_while_workers_tokenize(
    stack: AsyncExitStack, start_router: StartRouter
) -> None:
    """probe-kills-router: waiting for a prompt's tokens must keep nobody else waiting."""
    simulated = Simulated()
    await simulated.serve(stack)
    router = await start_router(simulated.url, token_deadline_s=30.0)
    await warm(router, simulated)
    simulated.free.clear()
    waiting = [asyncio.ensure_future(router.post(chat(f"{n} " * 500))) for n in range(20)]
    await eventually(lambda: router.app.insight.exact.tokens.pending == 20)
    for _ in range(5):
        assert (await router.get("/health")).status == 200
    assert not any(each.done() for each in waiting)
    simulated.free.set()
    assert {each.status for each in await asyncio.gather(*waiting)} == {200}


async def test_tokenizing_is_done_beside_the_loop(
    stack: AsyncExitStack,
    start_router: StartRouter,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """tokenise-blocking: long prompts are tokenized on the event loop, and all streams stutter.

    `bench.events` and `bench.micro` measure what a prompt costs.
    """
    worker = await telling_worker(stack)
    model = write_model(tmp_path / "model")
    router = await start_router(
        worker.url, tokenizers={"m": str(model)}, token_deadline_s=30.0, **SLOW_PROBES
    )
    await _knows(router, worker)
    threads, begun, go_on = set[threading.Thread](), threading.Event(), threading.Event()
    encode = Encoder.encode

    def watched(self: Encoder, *args: Any, **named: Any) -> Any:
        threads.add(threading.current_thread())
        begun.set()
        assert go_on.wait(20)
        return encode(self, *args, **named)

    monkeypatch.setattr(Encoder, "encode", watched)
    body = {"model": "m", "prompt": "word " * 50_000}
    answer = asyncio.ensure_future(router.post(body, "/v1/completions"))
    try:
        await eventually(begun.is_set, 20)
        assert (await router.get("/health")).status == 200, "the loop is free"
    finally:
        go_on.set()
    assert (await answer).status == 200
    assert threads
    assert threading.main_thread() not in threads
    assert await scraped(router, "router_prompts_identified_total", by="tokens") == 1


async def _knows(router: RunningRouter, worker: Telling) -> None:
    """The router goes by what the worker says."""
    worker.store(PROMPT)

    async def told() -> bool:
        return bool((await states(router))[worker.id]["known_by"] == "events")

    await asked(told)


async def test_work_for_a_long_prompt_is_bounded(
    worker: FakeWorker, start_router: StartRouter
) -> None:
    """long-ctx-overhead: what routing does with a long prompt delays its first token.

    `bench.dataplane` (r100k) and `bench.micro` measure the time for each request.
    """
    router = await start_router(worker, room_tokens=10**9, **SLOW_PROBES)
    texts = [f"{n:03d}" * (256 * KB // 3) for n in range(40)]
    bodies = [json.dumps(chat(text)).encode() for text in texts]
    answers = await asyncio.gather(*(router.post(body) for body in bodies))
    assert {answer.status for answer in answers} == {200}
    assert sorted(sent.body for sent in worker.requests) == sorted(bodies)
    assert await scraped(router, "router_index_lookup_seconds_count") == 40, "one look each"
    blocks = await scraped(router, "router_index_blocks")
    assert blocks <= 40 * 300, "a block is about a kilobyte"


@pytest.mark.parametrize("module", ["bench.dataplane.loadgen", "bench.policies.load"])
def test_load_generators_do_not_tokenize(module: str) -> None:
    """loadgen-limits: the load generator is busy with tokenizing, and its own delays pass for the server's."""
    heavy = ("tokenizers", "transformers", "tiktoken")
    code = f"import sys, {module}; print([n for n in {heavy} if n in sys.modules])"
    ran = subprocess.run(
        [sys.executable, "-c", code],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert ran.stdout.strip() == "[]", ran.stderr

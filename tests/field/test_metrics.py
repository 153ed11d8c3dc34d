"""What operators can see."""

import asyncio

from tests.component.harness import CHAT, RunningRouter, chat
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker, sse
from tests.field.support import delta, scraped

LABELS = {"model": "m", "endpoint": "chat_completions"}


async def _series(router: RunningRouter) -> int:
    router.app.reporter.settle()
    return (await router.get("/metrics")).body.count(b"\n")


async def test_made_up_models_are_no_series(worker: FakeWorker, router: RunningRouter) -> None:
    """metrics-cardinality: every model name that a client makes up becomes a series of its own."""
    assert (await router.post(chat())).status == 200
    assert (await router.post(chat(model="first"))).status == 404
    before = await _series(router)

    async def client(number: int) -> None:
        async with router.connect() as connection:
            for n in range(250):
                answer = await connection.call(CHAT, chat(model=f"made up {number} {n}"))
                assert answer.status == 404

    await asyncio.gather(*map(client, range(20)))
    assert await _series(router) == before
    assert await scraped(router, "router_requests_total", outcome="client_error") == 5001


async def test_latencies_of_streams(worker: FakeWorker, router: RunningRouter) -> None:
    """metrics-missing-ttft: dashboards have no times to the first token, and none between tokens."""

    async def script(request: Request, wire: Wire) -> None:
        await wire.stream(sse(*(delta(str(n)) for n in range(4))), delay_s=0.01)

    worker.script = script
    for _ in range(10):
        assert (await router.post(chat(stream=True))).complete
    for name, count in [
        ("router_time_to_first_token_seconds", 10),
        ("router_time_per_output_token_seconds", 10),
        ("router_request_duration_seconds", 10),
    ]:
        assert await scraped(router, f"{name}_count", **LABELS) == count
        assert await scraped(router, f"{name}_sum", **LABELS) > 0
    assert await scraped(router, "router_inter_token_latency_seconds_count", **LABELS) > 0
    ranges = await scraped(router, "router_time_to_first_token_seconds_bucket", **LABELS, le="+Inf")
    assert ranges == 10


async def test_latencies_of_whole_answers(router: RunningRouter) -> None:
    """metrics-missing-ttft: answers that do not stream have a duration, and no first token that nobody saw."""
    for _ in range(3):
        assert (await router.post(chat())).status == 200
    assert await scraped(router, "router_request_duration_seconds_count", **LABELS) == 3
    assert await scraped(router, "router_time_to_first_token_seconds_count", **LABELS) == 0

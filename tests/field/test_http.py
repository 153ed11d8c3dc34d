"""Browsers, sloppy base URLs, and tenants that share a fleet."""

import asyncio
from hashlib import sha256
from pathlib import Path

import pytest

from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import CHAT, RunningRouter, chat, eventually
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker, held

ORIGIN = "https://app.example"


async def test_preflight(worker: FakeWorker, start_router: StartRouter) -> None:
    """cors: the question that a browser asks first gets an error, and pages cannot use the API."""
    router = await start_router(worker, cors_origins=[ORIGIN], api_keys="app=key-of-app")
    for target, method in ((CHAT, "POST"), ("/v1/messages", "POST"), ("/v1/models", "GET")):
        asked = [
            ("Origin", ORIGIN),
            ("Access-Control-Request-Method", method),
            ("Access-Control-Request-Headers", "authorization,x-stainless-os"),
        ]
        answer = await router.get(target, asked, method="OPTIONS")
        assert answer.status in {200, 204}
        assert answer.header("access-control-allow-origin") == ORIGIN
        assert method in (answer.header("access-control-allow-methods") or "")
        allowed = (answer.header("access-control-allow-headers") or "").lower().replace(" ", "")
        assert {"authorization", "x-stainless-os"} <= set(allowed.split(","))
    assert worker.requests == []


async def test_answers_to_pages(worker: FakeWorker, start_router: StartRouter) -> None:
    """cors: answers and errors must be readable for the pages that are allowed, and for no others."""
    router = await start_router(worker, cors_origins=[ORIGIN])
    for body in (chat(), chat(model="nope")):
        answer = await router.post(body, headers=[("Origin", ORIGIN)])
        assert answer.header("access-control-allow-origin") == ORIGIN
        stranger = await router.post(body, headers=[("Origin", "https://evil.example")])
        assert stranger.header("access-control-allow-origin") is None


@pytest.mark.parametrize(
    "target", ["/v1/chat/completions/", "//v1/chat/completions", "/v1//chat/completions//"]
)
async def test_sloppy_base_url(target: str, worker: FakeWorker, router: RunningRouter) -> None:
    """trailing-slash: a slash too many is answered with a redirect, on which the key gets lost."""
    answer = await router.post(chat(), target, [("Authorization", "Bearer secret")])
    assert answer.status == 200
    assert answer.header("location") is None
    assert worker.requests[0].header("authorization") == "Bearer secret"


async def test_tenants_are_served_in_turn(
    start_worker: StartWorker, start_router: StartRouter
) -> None:
    """multi-tenant: one tenant's flood makes all others wait until it is over."""
    order: list[str] = []

    async def notes(request: Request, wire: Wire) -> None:
        order.append(request.header("authorization") or "")
        await asyncio.sleep(0.01)
        await wire.json({})

    worker = await start_worker(script=notes)
    router = await start_router(worker, max_inflight=1)
    flood = [router.post(chat(f"a{n}"), headers=[("Authorization", "Bearer a")]) for n in range(60)]
    flooding = asyncio.gather(*flood)
    await eventually(lambda: router.total("router_queue_depth") >= 40)
    before = len(order)
    for n in range(3):
        answer = await router.post(chat(f"b{n}"), headers=[("Authorization", "Bearer b")])
        assert answer.status == 200
    waited = order[before:]
    assert waited.count("Bearer b") == 3
    last = len(waited) - waited[::-1].index("Bearer b")
    assert waited[:last].count("Bearer a") <= 12, "it waited for no more than its share"
    await flooding


async def test_tenant_over_its_rate(
    start_worker: StartWorker, start_router: StartRouter, tmp_path: Path
) -> None:
    """multi-tenant: a tenant that asks more often than it may is told when to come back; others are served."""
    worker = await start_worker()
    router = await start_router(
        worker,
        tenants_file=_tenants(tmp_path, a="requests_per_minute: 3", b="requests_per_minute: 1000"),
    )
    mine, other = ([("Authorization", f"Bearer key-of-{name}")] for name in "ab")
    answers = [await router.post(chat(), headers=mine) for _ in range(5)]
    assert [answer.status for answer in answers] == [200, 200, 200, 429, 429]
    assert int(answers[-1].header("retry-after") or 0) > 0
    assert answers[-1].json()["error"]["message"]
    assert (await router.post(chat(), headers=other)).status == 200
    assert (await router.post(chat())).status == 401
    assert len(worker.requests) == 4


async def test_tenant_with_too_much_at_a_time(
    start_worker: StartWorker, start_router: StartRouter, tmp_path: Path
) -> None:
    """multi-tenant: a tenant may have only so many requests under way; others are served meanwhile."""
    release = asyncio.Event()

    worker = await start_worker(script=held(release))
    file = _tenants(tmp_path, a="max_inflight: 1", b="max_inflight: 8")
    router = await start_router(worker, tenants_file=file)
    mine, other = ([("Authorization", f"Bearer key-of-{name}")] for name in "ab")
    first = asyncio.ensure_future(router.post(chat(), headers=mine))
    await worker.received_count(1)
    assert (await router.post(chat(), headers=mine)).status == 429
    served = asyncio.ensure_future(router.post(chat(), headers=other))
    await worker.received_count(2)
    release.set()
    assert {(await first).status, (await served).status} == {200}


def _tenants(folder: Path, **limits: str) -> Path:
    """A file of tenants, each with the key `key-of-NAME` and one limit."""
    file = folder / "tenants.yaml"
    keys = {name: f"sha256:{sha256(f'key-of-{name}'.encode()).hexdigest()}" for name in limits}
    entries = [
        f"  {name}:\n    keys: [{keys[name]}]\n    {limit}\n" for name, limit in limits.items()
    ]
    file.write_text("tenants:\n" + "".join(entries))
    return file

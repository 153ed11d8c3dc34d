"""The console as browsers ask for it: its page, its events, who may have them, and when they end."""

import asyncio
import json
from collections.abc import AsyncIterator
from io import BytesIO
from typing import Any

import pytest

from router import app as composition
from router.servers import Server, server_config
from router.settings import Settings
from router.telemetry.logs import RequestLog
from tests.component.conftest import StartRouter, StartWorker
from tests.component.harness import RunningRouter, asgi_config, chat, eventually
from tests.fakes.client import Client, Fields, Response, connect, request
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker

BROWSER: Fields = [("Accept", "text/html")]
KEY: Fields = [("Authorization", "Bearer s3cret")]
STREAM = "/console/stream"

Event = tuple[str, dict[str, Any]]


async def events(client: Client, response: Response) -> AsyncIterator[Event]:
    """The stream's events as they come."""
    rest = b""
    async for piece in client.chunks(response):
        *blocks, rest = (rest + piece).split(b"\n\n")
        for block in blocks:
            name, data = block.split(b"\n")
            yield name.decode().removeprefix("event: "), json.loads(data.removeprefix(b"data: "))


async def watch(client: Client, headers: Fields = ()) -> tuple[Response, AsyncIterator[Event]]:
    await client.send(request("GET", STREAM, headers=headers))
    response = await client.head()
    assert response.status == 200
    return response, events(client, response)


async def until(told: AsyncIterator[Event], wanted: str) -> dict[str, Any]:
    async for name, data in told:
        if name == wanted:
            return data
    raise AssertionError(f"no {wanted}")


async def hears(told: AsyncIterator[Event], text: str) -> None:
    """Wait for a request in whose row `text` is."""
    async for name, data in told:
        if name == "requests" and any(text in row for row in data["rows"]):
            return
    raise AssertionError(f"no {text}")


async def usage(_request: Request, wire: Wire) -> None:
    details = {"cached_tokens": 30}
    numbers = {"prompt_tokens": 40, "completion_tokens": 2, "prompt_tokens_details": details}
    await wire.json({"choices": [], "usage": numbers})


async def test_the_page_for_browsers(router: RunningRouter) -> None:
    page = await router.get("/", BROWSER)
    assert page.status == 200
    assert b"<!doctype html>" in page.body
    assert (await router.get("/", BROWSER, method="HEAD")).header("content-type") == page.header(
        "content-type"
    )
    assert (await router.get("/")).json()["service"] == "prefix-router"
    script = await router.get("/console/main.js")
    assert script.header("content-type") == "text/javascript; charset=utf-8"
    known = [("If-None-Match", script.header("etag") or "")]
    assert (await router.get("/console/main.js", known)).status == 304
    assert (await router.get("/console/nothing.js")).json()["error"]["code"] == "unknown_file"


@pytest.mark.parametrize("how", ["own", "asgi"])
async def test_events(start_router: StartRouter, worker: FakeWorker, how: str) -> None:
    worker.script = usage
    router = await start_router(worker, **({"configure": asgi_config} if how == "asgi" else {}))
    async with router.connect() as client:
        response, told = await watch(client)
        assert (response.header("content-type") or "").startswith("text/event-stream")
        assert response.header("cache-control") == "no-store"
        assert (await until(told, "hello"))["policy"] == "prefix"
        fleet = await until(told, "fleet")
        assert [row for row, _ in fleet["rows"]] == [worker.id]
        await until(told, "points")
        secret = "nobody may see this prompt"
        await router.post(chat(secret), headers=[("X-Request-Id", "asked-1")])
        await hears(told, "asked-1")
        assert secret.encode() not in b"".join(data for _, data in response.pieces)
        await until(told, "fleet")
        points = await until(told, "points")
        assert points["hit"] == [0.75]
    await eventually(lambda: router.app.console.watched_by == 0)


async def test_one_worker(router: RunningRouter, worker: FakeWorker) -> None:
    found = await router.get(f"/console/workers/{worker.id}")
    assert found.json()["url"] == worker.url
    assert (await router.get("/console/workers/nobody")).status == 404


async def test_with_a_key(start_router: StartRouter, worker: FakeWorker) -> None:
    router = await start_router(worker, admin_key="s3cret")
    for public in ("/console/main.js", "/console/uPlot.min.css", "/console/console.css"):
        assert (await router.get(public)).status == 200
    assert (await router.get("/", BROWSER)).status == 200
    for secret in ("/", STREAM, f"/console/workers/{worker.id}"):
        assert (await router.get(secret)).status == 401
        assert (await router.get(secret, [("Authorization", "Bearer wrong")])).status == 401
    async with router.connect() as client:
        _, told = await watch(client, KEY)
        await until(told, "points")


async def test_other_sites_may_not_watch(router: RunningRouter) -> None:
    answer = await router.get(STREAM, [("Sec-Fetch-Site", "cross-site")])
    assert (answer.status, answer.json()["error"]["code"]) == (403, "cross_site_request")
    assert router.app.console.watched_by == 0


async def test_there_are_only_so_many_viewers(router: RunningRouter) -> None:
    console = router.app.console
    places = [console.join() for _ in range(31)]
    async with router.connect() as client:
        _, told = await watch(client)
        await until(told, "fleet")
        refused = await router.get(STREAM)
        assert (refused.status, refused.json()["error"]["code"]) == (503, "too_many_viewers")
    await eventually(lambda: console.watched_by == 31)
    for place in places:
        console.leave(place)


async def test_who_does_not_read_costs_little(
    start_router: StartRouter, start_worker: StartWorker
) -> None:
    workers = [await start_worker(script=usage) for _ in range(3)]
    router = await start_router(*workers)
    async with router.connect(receive_buffer=4096) as client:
        await client.send(request("GET", STREAM))
        await eventually(lambda: router.app.console.watched_by == 1)
        for _ in range(40):
            await asyncio.gather(*(router.post(chat()) for _ in range(10)))
        assert router.buffered < 2 << 20
    await eventually(lambda: router.app.console.watched_by == 0)


async def test_viewers_do_not_hold_up_the_end(worker: FakeWorker) -> None:
    settings = Settings(
        workers=(worker.url,), host="127.0.0.1", port=0, shutdown_timeout_s=600, drain_grace_s=0
    )
    app = composition.build(settings, RequestLog(BytesIO(), json=True))
    server = Server(server_config(app))
    running = asyncio.ensure_future(composition.run(app, server))
    try:
        await eventually(lambda: running.done() or server.started, 15.0)
        port = server.servers[0].sockets[0].getsockname()[1]
        async with connect("127.0.0.1", port) as client:
            response, told = await watch(client)
            await until(told, "points")
            app.services.drain.ask(graceful=True)
            await until(told, "bye")
            assert [event async for event in told] == []
            assert response.complete
            await asyncio.wait_for(running, 30.0)
    finally:
        app.services.drain.ask(graceful=False)
        app.services.drain.ask(graceful=False)
        await asyncio.wait_for(running, 15.0)

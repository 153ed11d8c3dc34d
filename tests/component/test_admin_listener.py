"""The administrator's routes: with a key, on a listener of their own, and never for web pages."""

import asyncio
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest

from router import app as composition
from router.servers import Server, admin_server, server_config
from router.settings import Settings
from router.telemetry.logs import RequestLog
from tests.component.conftest import StartRouter
from tests.component.harness import CHAT, chat, eventually
from tests.fakes.client import Fields, Response, connect, request
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker, sse

ROOT = Path(__file__).parents[2]
ADMIN = ["/workers", "/explain", "/docs", "/openapi.json", "/redoc", "/"]
PUBLIC = ["/health", "/ping", "/ready", "/metrics", "/v1/models", "/v1/models/m"]
KEY: Fields = [("Authorization", "Bearer s3cret")]


class Both:
    """A router with two listeners."""

    def __init__(self, app: composition.App, public: Server, admin: Server) -> None:
        self.app = app
        self.public = public
        self.admin = admin

    async def ask(
        self, server: Server, target: str, headers: Fields = (), method: str = "GET"
    ) -> Response:
        async with connect("127.0.0.1", port_of(server)) as client:
            await client.send(request(method, target, headers=headers))
            return await client.response(method=method)


def port_of(server: Server) -> int:
    return int(server.servers[0].sockets[0].getsockname()[1])


@asynccontextmanager
async def both(worker: FakeWorker, **more: Any) -> AsyncIterator[Both]:
    values = {"workers": [worker.url], "host": "127.0.0.1", "port": 0, "admin_port": 0} | more
    app = composition.build(Settings(**values), RequestLog(BytesIO(), json=True))
    public, admin = Server(server_config(app)), admin_server(app)
    assert admin is not None
    task = asyncio.ensure_future(composition.run(app, public, None, admin))
    try:
        await eventually(lambda: task.done() or (public.started and admin.started), 15.0)
        yield Both(app, public, admin)
    finally:
        app.services.drain.ask(graceful=False)
        await asyncio.wait_for(task, 15.0)


StartBoth = Callable[..., Awaitable[Both]]


@pytest.fixture
def start_both(stack: AsyncExitStack, worker: FakeWorker) -> StartBoth:
    async def start(**more: Any) -> Both:
        return await stack.enter_async_context(both(worker, **more))

    return start


# -- a listener of their own -------------------------------------------------------------------


async def test_what_is_where(start_both: StartBoth) -> None:
    running = await start_both()
    for path in ADMIN:
        for written in (path, "/" + path, path.replace("e", "%65", 1)):
            hidden = await running.ask(running.public, written)
            assert hidden.status == 404, written
            assert hidden.json()["error"]["code"] == "unknown_route"
        method = "POST" if path == "/explain" else "GET"
        assert (await running.ask(running.admin, path, method=method)).status in (200, 400)
    for path in PUBLIC:
        for server in (running.public, running.admin):
            assert (await running.ask(server, path)).status == 200, path


async def test_inference_is_not_the_administrator_s(
    start_both: StartBoth, worker: FakeWorker
) -> None:
    running = await start_both()
    assert (await running.ask(running.public, CHAT, method="POST")).status == 200
    assert (await running.ask(running.admin, CHAT, method="POST")).status == 404
    assert len(worker.requests) == 1


async def test_key_on_the_listener_of_their_own(start_both: StartBoth) -> None:
    running = await start_both(admin_key="s3cret")
    assert (await running.ask(running.admin, "/workers")).status == 401
    assert (await running.ask(running.admin, "/workers", KEY)).status == 200
    assert (await running.ask(running.public, "/workers", KEY)).status == 404
    assert (await running.ask(running.admin, "/metrics")).status == 200


async def test_it_is_there_until_the_end(start_both: StartBoth, worker: FakeWorker) -> None:
    """What the last answers do can be seen while nobody new is let in."""

    async def script(request: Request, wire: Wire) -> None:
        await wire.stream(sse(*({"n": n} for n in range(15))), delay_s=0.1)

    worker.script = script
    running = await start_both(drain_grace_s=0)
    async with connect("127.0.0.1", port_of(running.public)) as client:
        await client.post(CHAT, chat(stream=True))
        response = await client.head()
        admin_port = port_of(running.admin)
        running.app.services.drain.ask(graceful=True)
        await eventually(lambda: not running.public.servers[0].is_serving())
        for path, status in (("/ready", 503), ("/workers", 200), ("/metrics", 200)):
            async with connect("127.0.0.1", admin_port) as scraper:
                await scraper.send(request("GET", path))
                seen = await scraper.response()
                assert seen.status == status
                assert path != "/metrics" or b"\nrouter_draining 1.0\n" in seen.body
        await client.body(response)
        assert response.complete


async def test_port_that_is_taken(worker: FakeWorker) -> None:
    """It does not start half."""
    taken = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "router", "serve",
            cwd=ROOT,
            env={
                "PREFIX_ROUTER_WORKERS": worker.url,
                "PREFIX_ROUTER_PORT": "0",
                "PREFIX_ROUTER_ADMIN_PORT": str(taken.sockets[0].getsockname()[1]),
            },
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        try:
            _, log = await asyncio.wait_for(process.communicate(), 20.0)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
        assert process.returncode != 0
        assert b"in use" in log
        assert b"Traceback" not in log
    finally:
        taken.close()


# -- a key -------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", ADMIN)
async def test_key(path: str, worker: FakeWorker, start_router: StartRouter) -> None:
    router = await start_router(worker, admin_key="s3cret")
    method = "POST" if path == "/explain" else "GET"
    wrong: list[Fields] = [
        [],
        [("Authorization", "Bearer wrong")],
        [("Authorization", "Bearer")],
        [("Authorization", "Basic s3cret")],
        [("Authorization", "s3cret")],
        [("Authorization", "Bearer s3cret s3cret")],
        [("Authorization", "Bearer s\xe9cret")],
        [("Authorization", "Bearer " + "s3cret" * 1000)],
    ]
    for fields in wrong:
        response = await router.get(path, fields, method=method)
        assert response.status == 401
        assert response.header("www-authenticate") == "Bearer"
        assert response.json()["error"]["code"] == "invalid_admin_key"
    for right in ("Bearer s3cret", "bearer  s3cret"):
        fields = [("Authorization", right)]
        assert (await router.get(path, fields, method=method)).status in (200, 400)


@pytest.mark.parametrize("path", PUBLIC)
async def test_public_routes_need_no_key(
    path: str, worker: FakeWorker, start_router: StartRouter
) -> None:
    router = await start_router(worker, admin_key="s3cret")
    assert (await router.get(path)).status == 200


async def test_wrong_path_is_told_as_such(worker: FakeWorker, start_router: StartRouter) -> None:
    """A key would not help."""
    router = await start_router(worker, admin_key="s3cret")
    assert (await router.get("/v1/chat/completion", method="POST")).status == 404
    assert (await router.post(chat())).status == 200


async def test_without_either_they_are_open(worker: FakeWorker, start_router: StartRouter) -> None:
    router = await start_router(worker)
    for path in ADMIN:
        method = "POST" if path == "/explain" else "GET"
        assert (await router.get(path, method=method)).status in (200, 400)


# -- web pages ---------------------------------------------------------------------------------

HOST = ("Host", "router:8080")
BROWSER: dict[str, tuple[Fields, int]] = {
    "curl": ([HOST], 404),
    "curl with JSON": ([HOST, ("Content-Type", "application/json")], 404),
    "own page": ([HOST, ("Origin", "http://router:8080"), ("Sec-Fetch-Site", "same-origin")], 404),
    "other page": ([HOST, ("Origin", "https://evil.example.com")], 403),
    "other port": ([HOST, ("Origin", "http://router:3000")], 403),
    "sandboxed page": ([HOST, ("Origin", "null")], 403),
    "page that hides": ([HOST, ("Sec-Fetch-Site", "cross-site")], 403),
    "form": ([HOST, ("Content-Type", "text/plain; charset=utf-8")], 415),
    "upload": ([HOST, ("Content-Type", "multipart/form-data; boundary=x")], 415),
}


@pytest.mark.parametrize("who", BROWSER)
async def test_changes_are_not_for_other_sites(
    who: str, worker: FakeWorker, start_router: StartRouter
) -> None:
    """404: let in, and told by the route."""
    router = await start_router(worker)
    fields, status = BROWSER[who]
    assert (await router.get("/workers/nobody/drain", fields, method="POST")).status == status
    assert (await router.get("/workers", fields)).status == 200


async def test_key_is_proof_enough(worker: FakeWorker, start_router: StartRouter) -> None:
    router = await start_router(worker, admin_key="s3cret")
    fields = [*KEY, ("Origin", "https://ops.example.com"), ("Content-Type", "text/plain")]
    assert (await router.get("/workers/nobody/drain", fields, method="POST")).status == 404

"""Web pages: who may ask, and read answers."""

import pytest

from tests.component.conftest import StartRouter
from tests.component.harness import CHAT, RunningRouter, asgi_config, chat
from tests.fakes.client import Fields, Response
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker

PAGE, OTHER = "https://chat.example.com", "https://evil.example.com"
PATHS = pytest.mark.parametrize("path", [CHAT, "/v1/messages", "/v1/models", "/v1/models/m"])
TWINS = pytest.mark.parametrize("twin", [None, asgi_config], ids=["edge", "asgi"])


async def _own_cors(request: Request, wire: Wire) -> None:
    """A worker with its `--allowed-origins`."""
    fields = [
        ("Access-Control-Allow-Origin", "*"),
        ("Access-Control-Allow-Credentials", "true"),
        ("Vary", "Origin"),
        ("Vary", "Accept-Encoding"),
    ]
    await wire.json({}, headers=fields)


async def preflight(
    router: RunningRouter, path: str, origin: str, fields: Fields = (), method: str = "POST"
) -> Response:
    asked = [("Origin", origin), ("Access-Control-Request-Method", method), *fields]
    return await router.get(path, asked, method="OPTIONS")


@PATHS
@TWINS
async def test_preflight(
    path: str, twin: object, worker: FakeWorker, start_router: StartRouter
) -> None:
    """Answered here, for whatever it asks."""
    router = await start_router(worker, cors_origins=[PAGE], configure=twin)
    wanted = "authorization,content-type,x-stainless-os"
    response = await preflight(router, path, PAGE, [("Access-Control-Request-Headers", wanted)])
    assert (response.status, response.body) == (204, b"")
    assert response.header("access-control-allow-origin") == PAGE
    assert response.header("access-control-allow-headers") == wanted
    assert "POST" in (response.header("access-control-allow-methods") or "")
    assert int(response.header("access-control-max-age") or 0) > 0
    assert response.header("access-control-allow-credentials") == "true"
    assert response.header("vary") == "origin"
    assert worker.requests == []


@PATHS
@TWINS
async def test_preflight_of_another_page(
    path: str, twin: object, worker: FakeWorker, start_router: StartRouter
) -> None:
    router = await start_router(worker, cors_origins=[PAGE], configure=twin)
    response = await preflight(router, path, OTHER)
    assert response.status == 403
    assert response.header("access-control-allow-origin") is None
    assert worker.requests == []


@pytest.mark.parametrize("path", [CHAT, "/v1/models", "/v1/models/none"])
@pytest.mark.parametrize("status", [200, 400])
@TWINS
async def test_answer(
    path: str, status: int, twin: object, worker: FakeWorker, start_router: StartRouter
) -> None:
    """Exactly one set of fields, whatever the worker says; on errors too, or pages could not show them."""
    worker.script = _own_cors
    router = await start_router(
        worker, cors_origins=[PAGE, "http://localhost:3000"], configure=twin
    )
    fields = [("Origin", PAGE)]
    if path == CHAT:
        response = await router.post(chat(model="m" if status == 200 else "no"), path, fields)
    else:
        response = await router.get(path, fields)
    assert response.header("access-control-allow-origin") == PAGE
    assert response.header("access-control-allow-credentials") == "true"
    exposed = response.header("access-control-expose-headers") or ""
    assert {"x-request-id", "x-router-worker", "retry-after"} <= set(exposed.split(", "))
    vary = response.all("vary")
    assert vary.count("origin") + vary.count("Origin") == 1
    if path == CHAT and status == 200:
        assert "Accept-Encoding" in vary


@pytest.mark.parametrize("path", [CHAT, "/v1/models"])
@pytest.mark.parametrize("fields", [[("Origin", OTHER)], [("Origin", "null")], []])
async def test_answer_to_another_page(
    path: str, fields: Fields, worker: FakeWorker, start_router: StartRouter
) -> None:
    """It cannot be read there; caches are told that this depends."""
    worker.script = _own_cors
    router = await start_router(worker, cors_origins=[PAGE])
    response = await (
        router.post(chat(), path, fields) if path == CHAT else router.get(path, fields)
    )
    assert response.status == 200
    assert not [name for name, _ in response.headers if name.startswith("access-control-")]
    assert "origin" in response.all("vary")


async def test_all_pages(worker: FakeWorker, start_router: StartRouter) -> None:
    """Never with credentials."""
    worker.script = _own_cors
    router = await start_router(worker, cors_origins="*")
    for response in (
        await preflight(router, CHAT, OTHER),
        await router.post(chat(), headers=[("Origin", OTHER)]),
        await router.get("/v1/models", [("Origin", OTHER)]),
        await router.get("/v1/models"),
    ):
        assert response.header("access-control-allow-origin") == "*"
        assert response.header("access-control-allow-credentials") is None


async def test_streams(worker: FakeWorker, start_router: StartRouter) -> None:
    async def script(request: Request, wire: Wire) -> None:
        await wire.stream([b"data: [DONE]\n\n"])

    worker.script = script
    router = await start_router(worker, cors_origins=[PAGE])
    response = await router.post(chat(stream=True), headers=[("Origin", PAGE)])
    assert response.complete
    assert response.header("access-control-allow-origin") == PAGE


async def test_options_that_are_no_preflight(worker: FakeWorker, start_router: StartRouter) -> None:
    """The worker's business, as every method."""
    router = await start_router(worker, cors_origins=[PAGE])
    assert (await router.get(CHAT, method="OPTIONS")).json()["method"] == "OPTIONS"


@pytest.mark.parametrize("path", ["/workers", "/explain", "/openapi.json", "/health", "/metrics"])
async def test_administration_is_not_for_pages(
    path: str, worker: FakeWorker, start_router: StartRouter
) -> None:
    router = await start_router(worker, cors_origins="*")
    for response in (
        await router.get(path, [("Origin", PAGE)]),
        await preflight(router, path, PAGE),
    ):
        assert response.header("access-control-allow-origin") is None

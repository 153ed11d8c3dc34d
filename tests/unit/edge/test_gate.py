"""Which path is whose. Requests through it: tests/component/test_admin_listener.py and test_cors.py."""

from typing import Any

import pytest
from fastapi import FastAPI

from router.edge.gate import Gate


def app() -> FastAPI:
    made = FastAPI(redirect_slashes=False)

    @made.get("/health")
    @made.get("/v1/models")
    @made.get("/workers")
    @made.post("/workers/{name:path}/stop")
    @made.post("/explain")
    async def answer() -> str:
        return "yes"

    return made


async def ask(gate: Gate, method: str, path: str, headers: dict[str, str] | None = None) -> int:
    sent: list[Any] = []

    async def receive() -> Any:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        sent.append(message)

    given = [(name.encode(), value.encode()) for name, value in (headers or {}).items()]
    scope = {"type": "http", "method": method, "path": path, "query_string": b"", "headers": given}
    await gate(scope, receive, send)
    return int(sent[0]["status"])


@pytest.mark.parametrize(
    ("path", "public"),
    [
        ("/health", True),
        ("/v1/models", True),
        ("/workers", False),
        ("/docs", False),
        ("/openapi.json", False),
    ],
)
async def test_public_and_not(path: str, public: bool) -> None:
    assert await ask(Gate(app(), key=None), "GET", path) == 200
    assert await ask(Gate(app(), key="k"), "GET", path) == (200 if public else 401)
    assert await ask(Gate(app(), key="k", elsewhere=True), "GET", path) == (200 if public else 404)


@pytest.mark.parametrize("path", ["/", "/nothing", "/workersx", "/health/x", "/v1/modelsx"])
@pytest.mark.parametrize("key", [None, "k"])
async def test_no_such_route(path: str, key: str | None) -> None:
    assert await ask(Gate(app(), key=key), "GET", path) == 404


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 200),
        ({"host": "h", "origin": "http://h"}, 200),
        ({"host": "h", "origin": "http://evil"}, 403),
        ({"origin": "http://evil"}, 403),
        ({"sec-fetch-site": "same-site"}, 403),
        ({"sec-fetch-site": "none"}, 200),
        ({"content-type": "text/plain"}, 415),
        ({"content-type": "application/json"}, 200),
    ],
)
async def test_changes(headers: dict[str, str], status: int) -> None:
    assert await ask(Gate(app(), key=None), "POST", "/workers/a/b/stop", headers) == status
    explained = {"content-type": "application/x-www-form-urlencoded", "origin": "http://evil"}
    assert await ask(Gate(app(), key=None), "POST", "/explain", explained) == 200


async def test_what_is_no_request_passes() -> None:
    with pytest.raises(AssertionError):
        await Gate(app(), key="k")({"type": "none"}, None, None)  # type: ignore[arg-type]

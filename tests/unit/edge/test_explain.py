"""`POST /explain`: which endpoint a body is meant for, and what is answered."""

import json
from collections.abc import Iterable
from typing import Any

import pytest
from fastapi import FastAPI

from router.edge.admin import admin_app
from router.edge.exchange import Routes
from router.edge.explain import add_explain
from router.edge.limits import Drain
from router.errors import model_not_found
from router.prompt.endpoints import EndpointTable
from router.prompt.request import Incoming
from router.routing.explain import Explanation, Prompt
from tests.unit.edge.support import edge_services

ANSWER = Explanation("p", "e", "m", Prompt(1, 2, "text"), "sent", "a:1", [], "why", "", 0, [], [])
LIMIT = 1000


class Page:
    """The application, and what it is asked to explain."""

    def __init__(self) -> None:
        nothing: Any = None
        self.app: FastAPI = admin_app(nothing, nothing, nothing, "0", Drain())
        routes = Routes(EndpointTable(["/v2/*"]))
        services = edge_services(nothing, routes, body_bytes=LIMIT)
        add_explain(self.app, services, self.explain)
        self.asked: list[Incoming] = []
        self.error: Exception | None = None

    async def explain(self, asked: Incoming) -> Explanation:
        self.asked.append(asked)
        if self.error is not None:
            raise self.error
        return ANSWER

    async def post(
        self, body: bytes | dict[str, Any], query: str = "", headers: Iterable[Any] = ()
    ) -> tuple[int, Any]:
        """Status and JSON of the answer; the body comes in pieces."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        pieces = [data[at : at + 400] for at in range(0, len(data), 400)] or [b""]
        sent: list[Any] = []

        async def receive() -> Any:
            piece = pieces.pop(0)
            return {"type": "http.request", "body": piece, "more_body": bool(pieces)}

        async def send(message: Any) -> None:
            sent.append(message)

        await self.app(scope(query, headers), receive, send)
        return sent[0]["status"], json.loads(b"".join(part["body"] for part in sent[1:]))


def scope(query: str, headers: Iterable[Any] = ()) -> dict[str, Any]:
    return {
        "type": "http",
        "method": "POST",
        "path": "/explain",
        "raw_path": b"/explain",
        "query_string": query.encode(),
        "headers": list(headers),
    }


@pytest.fixture
def page() -> Page:
    return Page()


@pytest.mark.parametrize(
    ("body", "path"),
    [
        ({"model": "m", "messages": []}, b"/v1/chat/completions"),
        ({"prompt": "q"}, b"/v1/completions"),
        ({"input": "q"}, b"/v1/responses"),
        ({"token_ids": [1]}, b"/inference/v1/generate"),
        ({"query": "q", "documents": ["d"]}, b"/v1/rerank"),
        ({"text_1": "q", "text_2": "r"}, b"/v1/score"),
    ],
)
async def test_a_body_says_what_it_is_for(body: dict[str, Any], path: bytes, page: Page) -> None:
    status, answer = await page.post(body)
    assert (status, answer["worker"], answer["prompt"]) == (
        200,
        "a:1",
        {"tokens": 1, "blocks": 2, "by": "text"},
    )
    (asked,) = page.asked
    assert (asked.method, asked.path, asked.target) == (b"POST", path, path)
    assert json.loads(asked.body) == body


async def test_it_is_asked_as_it_would_be_sent(page: Page) -> None:
    headers = [(b"x-session-id", b"s1"), (b"x-router-worker", b"a:1")]
    body = b' {"messages" : []} '
    await page.post(body, headers=headers)
    (asked,) = page.asked
    assert (asked.headers, asked.body) == (headers, body)


@pytest.mark.parametrize("path", ["/v1/embeddings", "/v2/any?x=1", "/v1/responses/resp_1"])
async def test_the_endpoint_can_be_named(path: str, page: Page) -> None:
    quoted = path.replace("?", "%3F")
    status, _ = await page.post(b"no JSON at all", f"endpoint={quoted}")
    assert status == 200
    assert page.asked[0].target == path.encode()


@pytest.mark.parametrize("path", ["/v1/nope", "/workers", "nope", ""])
async def test_there_is_no_such_endpoint(path: str, page: Page) -> None:
    status, answer = await page.post({"messages": []}, f"endpoint={path}")
    assert status == 400
    assert answer["error"]["code"] == "unknown_endpoint"
    assert repr(path) in answer["error"]["message"]
    assert page.asked == []


@pytest.mark.parametrize("body", [b"", b"nonsense", b"[]", b'{"model":"m"}', b'"\xff"', b"[" * 999])
async def test_what_it_is_for_cannot_be_told(body: bytes, page: Page) -> None:
    status, answer = await page.post(body)
    assert status == 400
    assert answer["error"]["code"] == "unknown_request"
    assert answer["error"]["type"] == "invalid_request_error"


async def test_an_error_is_the_one_that_the_request_would_get(page: Page) -> None:
    page.error = model_not_found("x", ["m"])
    status, answer = await page.post({"messages": []})
    assert (status, answer["error"]["code"]) == (404, "model_not_found")


@pytest.mark.parametrize(("size", "status"), [(LIMIT, 400), (LIMIT + 1, 413)])
async def test_bodies_have_the_usual_limit(size: int, status: int, page: Page) -> None:
    assert (await page.post(b"x" * size))[0] == status


async def test_a_client_may_leave_half_way(page: Page) -> None:
    messages = [
        {"type": "http.request", "body": b"{", "more_body": True},
        {"type": "http.disconnect"},
    ]

    async def receive() -> Any:
        return messages.pop(0)

    async def send(message: Any) -> None:
        pass

    await page.app(scope(""), receive, send)
    assert page.asked == []

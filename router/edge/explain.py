"""`POST /explain`: where a request would go now, and why. Its body is what the endpoint would be sent."""

from collections.abc import Awaitable, Callable

import msgspec
from fastapi import FastAPI
from starlette.requests import ClientDisconnect, Request
from starlette.responses import Response

from router.edge.decoding import decoder, without_coding
from router.edge.exchange import EdgeServices, Route, Routes
from router.edge.openapi import errors
from router.errors import RouterError, Source, body_too_large
from router.ids import Headers
from router.prompt.request import UNREADABLE, Incoming
from router.routing.explain import Explanation

_SHAPES = {
    "messages": b"/v1/chat/completions",
    "prompt": b"/v1/completions",
    "input": b"/v1/responses",
    "token_ids": b"/inference/v1/generate",
    "documents": b"/v1/rerank",
    "text_1": b"/v1/score",
}
"""Members of a body, and the endpoint that it is meant for."""

_BODY = {
    "description": "What the endpoint would be sent",
    "required": True,
    "content": {"application/json": {"schema": {"type": "object"}}},
}

_MEMBERS = msgspec.json.Decoder(dict[str, msgspec.Raw])


def add_explain(
    app: FastAPI, services: EdgeServices, explain: Callable[[Incoming], Awaitable[Explanation]]
) -> None:
    """Add the route to `app`."""

    @app.post(
        "/explain",
        responses=errors({400: "The body is no request's, or the endpoint not served"}),
        openapi_extra={"requestBody": _BODY},
    )
    async def explain_request(request: Request, endpoint: str | None = None) -> Response:
        """Where a request would go now, and why. `endpoint`: its path, by default after the body's members."""
        try:
            body = await _body(request, services.limits.body_bytes)
        except ClientDisconnect:
            return Response(status_code=400)
        headers, body = _decoded(list(request.headers.raw), body, services.limits.body_bytes)
        route = _route(services.routes, endpoint, body)
        incoming = Incoming(b"POST", route.path, route.target, headers, body, route.endpoint)
        return Response(msgspec.json.encode(await explain(incoming)), media_type="application/json")


async def _body(request: Request, limit: int) -> bytes:
    parts, size = [], 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise body_too_large(limit)
        parts.append(part)
    return b"".join(parts)


def _decoded(headers: Headers, body: bytes, limit: int) -> tuple[Headers, bytes]:
    decoding = decoder(headers, limit)
    if decoding is None:
        return headers, body
    pieces = decoding.feed(body)
    decoding.finish()
    return without_coding(headers), b"".join(pieces)


def _route(routes: Routes, endpoint: str | None, body: bytes) -> Route:
    path = _path(body) if endpoint is None else endpoint.encode()
    route = routes.find(path)
    if route is None:
        message = f"There is no inference endpoint {endpoint!r}."
        raise RouterError(400, "unknown_endpoint", message, source=Source.CLIENT, param="endpoint")
    return route


def _path(body: bytes) -> bytes:
    """The endpoint that a body is meant for."""
    try:
        members = _MEMBERS.decode(body)
    except UNREADABLE:
        members = {}
    for name, path in _SHAPES.items():
        if name in members:
            return path
    raise RouterError(
        400,
        "unknown_request",
        "The body must be that of a request, as JSON with `messages`, `prompt` or `input`; for one of another "
        "shape say which endpoint it is for: /explain?endpoint=/v1/…",
        source=Source.CLIENT,
    )

"""Turns a `RouterError` into what the client's API family calls an error (pure)."""

from typing import Any

import msgspec

from router.errors import RouterError, Source
from router.ids import Headers
from router.prompt.endpoints import Family

_ANTHROPIC_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
}


def error_body(error: RouterError, family: Family) -> bytes:
    """The JSON body."""
    return msgspec.json.encode(_document(error, family))


def error_headers(error: RouterError, request_id: bytes) -> Headers:
    """Header fields that go with it."""
    headers = [(b"content-type", b"application/json")]
    if request_id:
        headers.append((b"x-request-id", request_id))
    if error.retry_after_s is not None:
        headers.append((b"retry-after", b"%d" % error.retry_after_s))
    headers += error.fields
    return headers


def stream_event(error: RouterError, family: Family) -> bytes:
    """An event that ends a stream which has started; it begins by ending an event cut off half-way."""
    body = error_body(error, family)
    if family is Family.OPENAI:
        return b"\n\ndata: " + body + b"\n\n"
    if family is Family.RESPONSES:
        body = msgspec.json.encode(
            {"type": "error", "code": error.code, "message": error.message, "param": error.param}
        )
    return b"\n\nevent: error\ndata: " + body + b"\n\n"


def _document(error: RouterError, family: Family) -> dict[str, Any]:
    if family is Family.ANTHROPIC:
        kind = _ANTHROPIC_TYPES.get(error.status, "api_error")
        return {"type": "error", "error": {"type": kind, "message": error.message}}
    by_source = "invalid_request_error" if error.source is Source.CLIENT else "server_error"
    return {
        "error": {
            "message": error.message,
            "type": error.kind or by_source,
            "param": error.param,
            "code": error.code,
        }
    }

"""The little of HTTP that the worker needs above ASGI: a request, an answer, an error."""

from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from dataclasses import dataclass, field
from typing import Any

import msgspec

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Header = tuple[bytes, bytes]
NOT_AN_OBJECT = "Input should be a valid dictionary or object to extract fields from"


class ApiError(Exception):
    """Ends a request with an error object; `kind` is the API's error type."""

    def __init__(self, status: int, kind: str, message: str, param: str | None = None) -> None:
        super().__init__(message)
        self.status = status
        self.kind = kind
        self.message = message
        self.param = param

    def body(self) -> dict[str, Any]:
        """The error in OpenAI's shape."""
        return {
            "error": {
                "message": self.message,
                "type": self.kind,
                "param": self.param,
                "code": self.status,
            }
        }


def bad_request(message: str, param: str | None = None) -> ApiError:
    """An error in what a well-formed request asks for."""
    return ApiError(400, "BadRequestError", message, param)


def invalid(kind: str, loc: str, msg: str, value: str, ctx: str = "") -> ApiError:
    """An error in a request's form, worded like FastAPI's validation as vLLM prints it."""
    detail = f"{{'type': '{kind}', 'loc': '{loc}', 'msg': '{msg}', 'input': '{value}'{ctx}}}"
    return ApiError(400, "Bad Request", f"1 validation error:\n  {detail}", loc)


@dataclass(frozen=True, slots=True)
class Request:
    """A request with its whole body; `argument` is the part of the path that the route left open."""

    method: str
    path: str
    query: bytes
    headers: dict[bytes, bytes]
    body: bytes
    argument: str = ""

    def header(self, name: bytes) -> str | None:
        """A header's value by lower-case name."""
        value = self.headers.get(name)
        return None if value is None else value.decode("latin-1")

    def json(self) -> dict[str, Any]:
        """The body as an object; raises ApiError if it is not one."""
        media_type = (self.header(b"content-type") or "").split(";")[0].strip().lower()
        if media_type != "application/json":
            message = (
                "1 validation error:\n  Unsupported Media Type: Only 'application/json' is allowed"
            )
            raise ApiError(400, "Bad Request", message)
        if not self.body:
            raise invalid("missing", "body", "Field required", "None")
        try:
            value = msgspec.json.decode(self.body)
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise _not_json(error, len(self.body)) from None
        if not isinstance(value, dict):
            raise invalid(
                "model_attributes_type", "body", "Input should be a valid dictionary", "..."
            )
        return value


def _shown(value: object) -> str:
    return f"<list of {len(value)} items>" if isinstance(value, list) else str(value)


def _not_json(error: Exception, end: int) -> ApiError:
    position = str(error).rpartition("(byte ")[2].rstrip(")")
    loc = f"body.{position if position.isdigit() else end}"
    return invalid(
        "json_invalid",
        loc,
        "JSON decode error",
        "<dict of 0 items>",
        f", 'ctx': {{'error': '{error}'}}",
    )


@dataclass(slots=True)
class Reply:
    """Writes one answer: `json`, `text`, or `start` with any number of `chunk` and an `end`."""

    send: Send
    extra: list[Header] = field(default_factory=list)
    started: bool = False

    async def json(self, value: object, status: int = 200, headers: Iterable[Header] = ()) -> None:
        """Answer with JSON."""
        await self.text(msgspec.json.encode(value), status, b"application/json", headers)

    async def text(
        self,
        body: bytes,
        status: int = 200,
        content_type: bytes | None = b"text/plain; charset=utf-8",
        headers: Iterable[Header] = (),
    ) -> None:
        """Answer with a whole body."""
        fields = [(b"content-length", b"%d" % len(body)), *headers]
        if content_type:
            fields.append((b"content-type", content_type))
        await self._head(status, fields)
        await self.send({"type": "http.response.body", "body": body})

    async def start_events(self) -> None:
        """Begin a stream of server-sent events."""
        await self._head(200, [(b"content-type", b"text/event-stream; charset=utf-8")])

    async def event(self, value: object, name: str | None = None) -> None:
        """Send one event with a JSON value."""
        prefix = f"event: {name}\n".encode() if name else b""
        await self.raw(b"%bdata: %b\n\n" % (prefix, msgspec.json.encode(value)))

    async def raw(self, data: bytes) -> None:
        """Send a piece of the stream as it is."""
        await self.send({"type": "http.response.body", "body": data, "more_body": True})

    async def end(self, data: bytes = b"") -> None:
        """End the stream."""
        await self.send({"type": "http.response.body", "body": data})

    async def _head(self, status: int, headers: list[Header]) -> None:
        self.started = True
        await self.send(
            {"type": "http.response.start", "status": status, "headers": [*headers, *self.extra]}
        )


async def read_body(receive: Receive) -> bytes | None:
    """The whole request body; None if the client left before its end."""
    parts = []
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        parts.append(message.get("body", b""))
        if not message.get("more_body"):
            return b"".join(parts)


async def disconnected(receive: Receive) -> None:
    """Wait until the client has gone."""
    while (await receive())["type"] != "http.disconnect":
        pass

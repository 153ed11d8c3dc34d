"""Asks one streamed chat question and measures it as a user would see it."""

import asyncio
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any

import msgspec

from router.errors import RouterError
from router.ids import Headers
from router.proxy.sse import usage_in
from router.upstream.headers import RequestLine, request_head
from router.upstream.pool import Address, Pool


@dataclass(frozen=True, slots=True)
class Asked:
    """What came of one question. `ttft_s`: until the first piece of the answer."""

    answer: str
    ttft_s: float
    prompt_tokens: int
    cached_tokens: int


@dataclass(slots=True)
class _Reading:
    """Gathers a streamed answer (`upstream.connection.ResponseHandler`)."""

    done: "asyncio.Future[None]"
    status: int = 0
    first_at: float = 0.0
    parts: list[bytes] = field(default_factory=list)

    def on_informational(self, status: int, headers: Headers) -> None:
        pass

    def on_response(self, status: int, headers: Headers, length: int | None) -> None:
        self.status = status

    def on_body(self, data: bytes) -> None:
        self.first_at = self.first_at or perf_counter()
        self.parts.append(data)

    def on_read(self) -> None:
        pass

    def on_complete(self, trailers: Headers) -> None:
        self.done.set_result(None)

    def on_lost(self, error: RouterError) -> None:
        self.done.set_exception(error)


class ChatClient:
    """Talks to one base URL."""

    def __init__(self, base_url: str) -> None:
        self._pool = Pool(Address.parse(base_url), None, connect_s=5.0, idle_s=3.0)

    async def ask(self, body: dict[str, Any]) -> Asked:
        """POST a streaming chat completion; raises `RouterError` unless it is answered with 200."""
        payload = msgspec.json.encode(
            {**body, "stream": True, "stream_options": {"include_usage": True}}
        )
        line = RequestLine(b"POST", b"/v1/chat/completions", b"")
        head = request_head(
            line,
            self._pool.name.encode(),
            [(b"content-type", b"application/json")],
            len(payload),
        )
        reading = _Reading(asyncio.get_running_loop().create_future())
        connection = self._pool.take() or await self._pool.connect()
        started = perf_counter()
        connection.send(head, payload, reading, is_head=False)
        await reading.done
        text = b"".join(reading.parts)
        if reading.status != 200:
            raise RouterError(reading.status, "demo", text.decode(errors="replace")[:500])
        usage = usage_in(text)
        return Asked(
            _answer_in(text),
            reading.first_at - started,
            usage.prompt_tokens or 0,
            usage.cached_tokens or 0,
        )

    def close(self) -> None:
        """Close its connections."""
        self._pool.drop_idle()


def _answer_in(stream: bytes) -> str:
    pieces = []
    for line in stream.split(b"\n"):
        if line.startswith(b"data: {"):
            event = msgspec.json.decode(line[6:])
            pieces += [choice["delta"].get("content") or "" for choice in event["choices"]]
    return "".join(pieces)

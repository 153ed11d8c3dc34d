"""Small requests of the router's own (probes, questions): the whole answer, in memory."""

import asyncio
from dataclasses import dataclass, field

from router.errors import RouterError, bad_response
from router.ids import Headers
from router.upstream.headers import RequestLine, request_head
from router.upstream.pool import Pool

_LIMIT_BYTES = 16 * 1024 * 1024


@dataclass(slots=True)
class Answer:
    """Status and body of a finished answer."""

    status: int
    body: bytes


@dataclass(slots=True)
class _Collector:
    """Gathers an answer (`upstream.connection.ResponseHandler`)."""

    worker: str
    done: "asyncio.Future[Answer]"
    status: int = 0
    parts: list[bytes] = field(default_factory=list)
    size: int = 0
    ended: bool = False

    def on_informational(self, status: int, headers: Headers) -> None:
        pass

    def on_response(self, status: int, headers: Headers, length: int | None) -> None:
        self.status = status

    def on_body(self, data: bytes) -> None:
        self.parts.append(data)
        self.size += len(data)
        if self.size > _LIMIT_BYTES and not self.done.done():
            self.parts.clear()
            self.done.set_exception(bad_response(self.worker, f"more than {_LIMIT_BYTES} bytes"))

    def on_read(self) -> None:
        pass

    def on_complete(self, trailers: Headers) -> None:
        self.ended = True
        if not self.done.done():
            self.done.set_result(Answer(self.status, b"".join(self.parts)))

    def on_lost(self, error: RouterError) -> None:
        self.ended = True
        if not self.done.done():
            self.done.set_exception(error)


async def fetch(
    pool: Pool,
    path: str,
    *,
    api_key: str | None,
    timeout_s: float,
    body: bytes | None = None,
    reuse: bool = False,
) -> Answer:
    """GET `path` below the worker's base URL, or POST the JSON `body` there; `reuse`: over a kept-alive connection
    if there is one, else over a new one.

    Raises `RouterError` when the worker cannot be reached or breaks off, TimeoutError after `timeout_s`.
    """
    headers = [(b"authorization", b"Bearer " + api_key.encode())] if api_key else []
    if body is not None:
        headers.append((b"content-type", b"application/json"))
    method = b"GET" if body is None else b"POST"
    line = RequestLine(method, pool.address.prefix + path.encode("ascii"), b"router-probe")
    sent = body or b""
    head = request_head(line, pool.name.encode(), headers, len(sent))
    async with asyncio.timeout(timeout_s):
        connection = (pool.take() if reuse else None) or await pool.connect()
        collector = _Collector(pool.name, asyncio.get_running_loop().create_future())
        reads = connection.reads
        connection.send(head, sent, collector, is_head=False)
        try:
            return await collector.done
        finally:
            pool.discount(connection.reads - reads)
            if not collector.ended:
                connection.abort()

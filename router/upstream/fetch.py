"""Small requests of the router's own (probes, questions): the whole answer, in memory."""

import asyncio
from dataclasses import dataclass
from typing import NamedTuple

from router.errors import bad_response
from router.ids import Headers
from router.upstream.answers import TooLongError, Whole
from router.upstream.headers import RequestLine, request_head
from router.upstream.pool import Pool

_LIMIT_BYTES = 16 * 1024 * 1024


@dataclass(slots=True)
class Answer:
    """Status and body of a finished answer."""

    status: int
    body: bytes


class Call(NamedTuple):
    """A request of the router's own; `path` is below the base URL."""

    method: bytes
    path: bytes
    headers: Headers
    body: bytes = b""


async def fetch(
    pool: Pool,
    path: str,
    *,
    api_key: str | None,
    timeout_s: float,
    body: bytes | None = None,
    reuse: bool = False,
) -> Answer:
    """GET `path` below the worker's base URL, or POST the JSON `body` there (`send`)."""
    headers = bearer(api_key)
    if body is not None:
        headers.append((b"content-type", b"application/json"))
    method = b"GET" if body is None else b"POST"
    call = Call(method, path.encode("ascii"), headers, body or b"")
    return await send(pool, call, timeout_s=timeout_s, reuse=reuse)


def bearer(key: str | None) -> Headers:
    """The field that shows the key."""
    return [(b"authorization", b"Bearer " + key.encode("ascii"))] if key else []


async def send(pool: Pool, call: Call, *, timeout_s: float, reuse: bool = False) -> Answer:
    """Make the call; `reuse`: over a kept-alive connection if there is one, else over a new one.

    Raises `RouterError` when the worker cannot be reached or breaks off, TimeoutError after `timeout_s`.
    """
    line = RequestLine(call.method, pool.address.prefix + call.path, b"router-probe")
    head = request_head(line, pool.name.encode(), call.headers, len(call.body))
    async with asyncio.timeout(timeout_s):
        connection = (pool.take() if reuse else None) or await pool.connect()
        answer = Whole(_LIMIT_BYTES)
        reads = connection.reads
        connection.send(head, call.body, answer, is_head=False)
        try:
            await answer.done
        except TooLongError as error:
            raise bad_response(pool.name, str(error)) from None
        finally:
            pool.discount(connection.reads - reads)
            if not answer.ended:
                connection.abort()
    return Answer(answer.status, bytes(answer.body))

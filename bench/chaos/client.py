"""One request over a connection of its own, as an ordinary client sends it: nothing is asked twice."""

from __future__ import annotations

import asyncio
import contextlib
import json
from time import perf_counter

from bench.chaos.reply import EventReader, Reply, has_text
from bench.chaos.traffic import Question

TIMEOUT_S = 120.0


class BrokenError(Exception):
    """The answer ended before its end."""


async def ask(question: Question, router: str, *, timeout_s: float = TIMEOUT_S) -> Reply:
    """Send a request to a router (`host:port`); whatever happens is in the reply."""
    reply = Reply(router, perf_counter())
    try:
        async with asyncio.timeout(timeout_s):
            await _exchange(question, reply)
    except TimeoutError:
        reply.failure = "timeout"
    except ConnectionRefusedError:
        reply.failure = "refused"
    except (OSError, EOFError, BrokenError, ValueError) as error:
        reply.failure = "reset" if isinstance(error, ConnectionError) else f"cut: {error}"
    reply.ended_at = perf_counter()
    return reply


async def _exchange(question: Question, reply: Reply) -> None:
    host, _, port = reply.router.rpartition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    try:
        writer.write(_request(question, reply.router))
        await writer.drain()
        await _read(reader, reply)
    finally:
        writer.close()
        with contextlib.suppress(OSError):
            await writer.wait_closed()


def _request(question: Question, host: str) -> bytes:
    body = json.dumps(question.body).encode()
    head = (
        f"POST {question.path} HTTP/1.1\r\nhost: {host}\r\ncontent-type: application/json\r\n"
        f"accept: */*\r\nconnection: close\r\ncontent-length: {len(body)}\r\n\r\n"
    )
    return head.encode() + body


async def _read(reader: asyncio.StreamReader, reply: Reply) -> None:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
    reply.begun_at = perf_counter()
    fields = {n.lower(): v.strip() for n, _, v in (line.partition(":") for line in head[1:])}
    reply.status = int(head[0].split()[1])
    reply.worker = fields.get("x-router-worker", "")
    taker = _Taker(reply, "text/event-stream" in fields.get("content-type", ""))
    if "chunked" in fields.get("transfer-encoding", ""):
        while size := int((await reader.readuntil(b"\r\n")).split(b";")[0], 16):
            taker.take((await reader.readexactly(size + 2))[:-2])
        await reader.readuntil(b"\r\n")
    elif "content-length" in fields:
        taker.take(await reader.readexactly(int(fields["content-length"])))
    else:
        raise BrokenError("no length")
    reply.complete = True


class _Taker:
    """Puts what comes into the reply."""

    def __init__(self, reply: Reply, events: bool) -> None:
        self._reply = reply
        self._reader = EventReader() if events else None

    def take(self, piece: bytes) -> None:
        if self._reader is None:
            self._reply.body += piece
            return
        found = self._reader.feed(piece)
        self._reply.events += found
        if self._reply.text_at is None and any(map(has_text, found)):
            self._reply.text_at = perf_counter()

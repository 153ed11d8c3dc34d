"""A raw HTTP/1.1 client: sends exactly the bytes a test gives, and reads answers piece by piece."""

import asyncio
import json
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import Any, TypeAlias

Fields: TypeAlias = Sequence[tuple[str, str]]

_LIMIT_BYTES = 1 << 20
_PATIENCE_S = 10.0
"""Limit for each wait for bytes, so that a test fails where it hangs."""


@dataclass(slots=True)
class Response:
    """An answer. `pieces` are the body's chunks (or reads) with their time of arrival (`perf_counter`)."""

    status: int
    version: str
    headers: list[tuple[str, str]]
    pieces: list[tuple[float, bytes]] = field(default_factory=list)
    trailers: list[tuple[str, str]] = field(default_factory=list)
    complete: bool = False
    """The body ended as its framing says."""
    interim: list["Response"] = field(default_factory=list)

    @property
    def body(self) -> bytes:
        """The whole body."""
        return b"".join(data for _, data in self.pieces)

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)

    def all(self, name: str) -> list[str]:
        """Every value of a header field."""
        return [value for known, value in self.headers if known.lower() == name.lower()]

    def header(self, name: str) -> str | None:
        """The only value of a header field; fails when it came more than once."""
        values = self.all(name)
        assert len(values) <= 1, f"{name} came {len(values)} times: {values}"
        return values[0] if values else None


def request(
    method: str,
    target: str,
    body: bytes = b"",
    headers: Fields = (),
    *,
    version: str = "1.1",
    host: str = "router",
) -> bytes:
    """The bytes of a request; a length is added to a body unless `headers` frame it."""
    names = {name.lower() for name, _ in headers}
    fields = list(headers)
    if "host" not in names:
        fields.insert(0, ("Host", host))
    if (body or method == "POST") and not names & {"content-length", "transfer-encoding"}:
        fields.append(("Content-Length", str(len(body))))
    lines = [f"{method} {target} HTTP/{version}", *(f"{name}: {value}" for name, value in fields)]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def chunked(*pieces: bytes, trailers: Fields = ()) -> bytes:
    """A chunked body."""
    chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
    end = "".join(f"{name}: {value}\r\n" for name, value in trailers)
    return chunks + b"0\r\n" + end.encode("latin-1") + b"\r\n"


class Client:
    """One connection."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader = reader
        self.writer = writer

    # -- out -----------------------------------------------------------------------------------

    async def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        self.writer.write(data)
        await self.writer.drain()

    async def post(self, target: str, value: Any, headers: Fields = ()) -> None:
        """Send a JSON request without waiting for its answer."""
        body = value if isinstance(value, bytes) else json.dumps(value).encode()
        fields = [("Content-Type", "application/json"), *headers]
        await self.send(request("POST", target, body, fields))

    async def call(self, target: str, value: Any, headers: Fields = ()) -> Response:
        """A JSON request and its answer."""
        await self.post(target, value, headers)
        return await self.response()

    # -- in ------------------------------------------------------------------------------------

    async def response(self, *, method: str = "POST") -> Response:
        """Read an answer to its end, interim ones before it too."""
        interim: list[Response] = []
        while True:
            response = await self.head()
            if response.status >= 200:
                break
            interim.append(response)
        response.interim = interim
        await self.body(response, method=method)
        return response

    async def head(self) -> Response:
        """Read an answer's head."""
        async with asyncio.timeout(_PATIENCE_S):
            block = await self.reader.readuntil(b"\r\n\r\n")
        first, *lines = block.decode("latin-1").split("\r\n")
        version, status = first.split(" ", 2)[:2]
        return Response(int(status), version.removeprefix("HTTP/"), _fields(lines))

    async def body(self, response: Response, *, method: str = "POST") -> None:
        """Read the body into `response`; `complete` stays False when it is cut off."""
        if method == "HEAD" or response.status in (204, 304):
            response.complete = True
            return
        length = response.header("content-length")
        coding = response.header("transfer-encoding")
        assert length is None or coding is None, "an answer must be framed in one way"
        try:
            if coding is not None:
                async for _ in self.chunks(response):
                    pass
            else:
                await self._plain(response, None if length is None else int(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            return

    async def chunks(self, response: Response) -> AsyncIterator[bytes]:
        """Read chunk after chunk, as they come."""
        while True:
            async with asyncio.timeout(_PATIENCE_S):
                size = int((await self.reader.readuntil(b"\r\n"))[:-2], 16)
                if size == 0:
                    break
                data = (await self.reader.readexactly(size + 2))[:-2]
            response.pieces.append((perf_counter(), data))
            yield data
        while line := (await self.reader.readuntil(b"\r\n"))[:-2]:
            response.trailers += _fields([line.decode("latin-1")])
        response.complete = True

    async def _plain(self, response: Response, length: int | None) -> None:
        left = length
        while left is None or left > 0:
            async with asyncio.timeout(_PATIENCE_S):
                data = await self.reader.read(65_536 if left is None else min(left, 65_536))
            if not data:
                response.complete = left is None
                return
            response.pieces.append((perf_counter(), data))
            left = None if left is None else left - len(data)
        response.complete = True

    async def at_end(self, timeout_s: float = 5.0) -> bytes:
        """What still comes until the router closes the connection."""
        async with asyncio.timeout(timeout_s):
            return await self.reader.read()

    # -- end -----------------------------------------------------------------------------------

    async def leave(self) -> None:
        """Close, as a client that loses interest does; unread bytes make it a reset."""
        self.writer.transport.abort()
        await asyncio.sleep(0)

    def vanish(self) -> None:
        """Close with a reset."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


@asynccontextmanager
async def connect(
    host: str,
    port: int,
    *,
    tls: ssl.SSLContext | None = None,
    receive_buffer: int | None = None,
) -> AsyncIterator[Client]:
    """A connection. `receive_buffer` (bytes) makes it small, for clients that do not keep up."""
    sock = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET)
    sock.setblocking(False)
    limit = _LIMIT_BYTES
    if receive_buffer is not None:
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
        limit = receive_buffer
    try:
        await asyncio.get_running_loop().sock_connect(sock, (host, port))
    except OSError:
        sock.close()
        raise
    reader, writer = await asyncio.open_connection(
        sock=sock, ssl=tls, server_hostname=host if tls else None, limit=limit
    )
    try:
        yield Client(reader, writer)
    finally:
        writer.transport.abort()
        await asyncio.sleep(0)


def _fields(lines: list[str]) -> list[tuple[str, str]]:
    pairs = (line.partition(":") for line in lines if line)
    return [(name, value.strip()) for name, _, value in pairs]

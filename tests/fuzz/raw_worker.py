"""A worker that reads what it is sent by the letter of RFC 9112, with a parser of its own: what is odd is a fault."""

import asyncio
import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self, cast

from router.ids import Headers
from tests.fuzz.mutations import pieces

_LINE = re.compile(rb"[!-~]+ [!-~\x80-\xff]+ HTTP/1\.1")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)")
_NEVER = frozenset(
    (
        b"transfer-encoding",
        b"connection",
        b"te",
        b"trailer",
        b"upgrade",
        b"keep-alive",
        b"proxy-connection",
        b"http2-settings",
        b"expect",
    )
)
"""What belongs to a client's connection must not come here."""

_PROBES = (
    *(b"/health", b"/v1/models", b"/metrics", b"/kv_event_sources", b"/is_sleeping"),
    *(b"/is_paused", b"/version", b"/load", b"/detokenize", b"/tokenize", b"/server_info"),
)
"""Asked by the router itself."""


@dataclass(frozen=True, slots=True)
class Seen:
    """A request as it came; field names in lower case."""

    method: bytes
    target: bytes
    fields: Headers
    body: bytes

    def all(self, name: bytes) -> list[bytes]:
        """Every value of a field."""
        return [value for known, value in self.fields if known == name]

    def first(self, name: bytes) -> bytes:
        """A field's value, empty when it did not come."""
        return next(iter(self.all(name)), b"")


Script = Callable[[Seen], bytes]
"""The bytes of an answer."""


def echo(request: Seen) -> bytes:
    """200 with the request's method, marker and body."""
    head = b"HTTP/1.1 200 OK\r\nx-method: %b\r\nx-marker: %b\r\ncontent-length: %d\r\n\r\n" % (
        request.method,
        request.first(b"x-marker"),
        len(request.body),
    )
    return head if request.method == b"HEAD" else head + request.body


class RawWorker:
    """Serves model `m`. `seen` are clients' requests in the order they came, `faults` what no router should send.

    It closes the connection behind the answer to a request whose marker is in `last`. Answers are written in pieces
    that end at `cuts`.
    """

    def __init__(self, script: Script = echo) -> None:
        self.script = script
        self.seen: list[Seen] = []
        self.faults: list[str] = []
        self.last: set[bytes] = set()
        self.cuts: Sequence[int] = ()
        self.port = 0
        self._server: asyncio.Server | None = None
        self._transports: set[asyncio.Transport] = set()

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self.port}"

    async def __aenter__(self) -> Self:
        loop = asyncio.get_running_loop()
        self._server = await loop.create_server(lambda: _Line(self), "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        assert self._server is not None
        self._server.close()
        for transport in list(self._transports):
            transport.abort()
        await asyncio.sleep(0.01)
        await self._server.wait_closed()

    # -- called by its connections -------------------------------------------------------------

    def joined(self, transport: asyncio.Transport) -> None:
        """A connection was accepted."""
        self._transports.add(transport)

    def left(self, transport: asyncio.Transport) -> None:
        """A connection is gone."""
        self._transports.discard(transport)

    def answer(self, request: Seen) -> bytes:
        """Note a request and answer it."""
        path = request.target.partition(b"?")[0]
        if path in _PROBES:
            return _probed(path)
        self.seen.append(request)
        return self.script(request)


def _probed(path: bytes) -> bytes:
    body = b""
    if path == b"/v1/models":
        body = json.dumps({"object": "list", "data": [{"id": "m", "object": "model"}]}).encode()
    status = b"200 OK" if path in (b"/health", b"/v1/models") else b"404 Not Found"
    return b"HTTP/1.1 %b\r\ncontent-length: %d\r\n\r\n%b" % (status, len(body), body)


class _Line(asyncio.Protocol):
    """One connection; requests are answered at once, so nothing may stand behind one."""

    def __init__(self, worker: RawWorker) -> None:
        self._worker = worker
        self._data = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._worker.joined(self._transport)

    def connection_lost(self, exc: Exception | None) -> None:
        assert self._transport is not None
        self._worker.left(self._transport)

    def data_received(self, data: bytes) -> None:
        self._data += data
        head, end, rest = self._data.partition(b"\r\n\r\n")
        if not end:
            return
        request, faults = read_head(head)
        length = int(request.first(b"content-length") or b"0") if not faults else 0
        if len(rest) < length:
            return
        self._data = b""
        if len(rest) > length:
            faults.append("bytes behind a request")
        self._worker.faults += [f"{fault}: {head!r} {rest[:80]!r}" for fault in faults]
        whole = Seen(request.method, request.target, request.fields, rest[:length])
        assert self._transport is not None
        self._write(
            pieces(self._worker.answer(whole), self._worker.cuts),
            closes=whole.first(b"x-marker") in self._worker.last,
        )

    def _write(self, parts: list[bytes], *, closes: bool) -> None:
        """One piece now, the others each after whoever reads had a turn."""
        assert self._transport is not None
        if self._transport.is_closing():
            return
        if parts:
            self._transport.write(parts[0])
        if len(parts) > 1:
            loop = asyncio.get_running_loop()
            loop.call_soon(loop.call_soon, lambda: self._write(parts[1:], closes=closes))
        elif closes:
            self._transport.close()


def read_head(head: bytes) -> tuple[Seen, list[str]]:
    """A request without its body, and what is wrong with it."""
    line, *lines = head.split(b"\r\n")
    faults = [] if _LINE.fullmatch(line) else ["bad request line"]
    fields: Headers = []
    for each in lines:
        if match := _FIELD.fullmatch(each):
            fields.append((match[1].lower(), match[2].strip(b" \t")))
        else:
            faults.append("bad field line")
    names = [name for name, _ in fields]
    faults += [f"{name!r} came" for name in names if name in _NEVER]
    if names.count(b"host") != 1:
        faults.append("not one Host")
    lengths = [value for name, value in fields if name == b"content-length"]
    if len(lengths) > 1 or not all(value.isdigit() for value in lengths):
        faults.append("not one Content-Length")
    method, _, rest = line.partition(b" ")
    return Seen(method, rest.partition(b" ")[0], fields, b""), faults

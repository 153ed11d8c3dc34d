"""What a client's connection knows of HTTP/1 beside its parser: targets, heads, refusals."""

import asyncio
import re
from collections import deque
from collections.abc import Callable

import httptools
from uvicorn.protocols.http.httptools_impl import STATUS_LINE

from router.edge.envelope import error_body, error_headers
from router.errors import RouterError, Source
from router.ids import Headers
from router.prompt.endpoints import Family

MAX_HEAD_BYTES = 65_536
"""Of a request's target and header fields; as much again of what follows a chunked body."""

LINGER_S = 2.0
"""How long a client that was refused is read on: closing at once would reset the answer away."""

IGNORED: deque[tuple[bytes, bytes]] = deque(maxlen=0)
"""Stands where fields are collected and keeps none."""

INVALID = RouterError(
    400, "invalid_http_request", "The request is not valid HTTP.", source=Source.CLIENT
)

NO_HOST = re.compile(rb"[^A-Za-z0-9._~!$&'()*+;=:%\[\]-]")
"""What cannot be in a Host field (RFC 9110 §7.2)."""

_UNKNOWN_CODING = RouterError(
    501,
    "unsupported_transfer_coding",
    "The only transfer coding that is understood is `chunked`.",
    source=Source.CLIENT,
)
_OFFERS = (b"upgrade", b"http2-settings")


def check_head(url: bytes, headers: Headers) -> None:
    """Raise a `RouterError` when a request's head is over the limit."""
    if len(url) + sum(len(name) + len(value) + 4 for name, value in headers) > MAX_HEAD_BYTES:
        raise head_too_large()


def check_fields(headers: Headers, version: str) -> None:
    """Raise a `RouterError` when what frames or addresses a request could be read in two ways (RFC 9112 §3.2, §6.1)."""
    hosts = [value for name, value in headers if name == b"host"]
    if len(hosts) > 1 or any(map(NO_HOST.search, hosts)):
        raise _invalid("has several Host fields, or one that is no host")
    if not hosts and version >= "1.1":
        raise _invalid("has no Host field")
    fields = b",".join(value for name, value in headers if name == b"transfer-encoding")
    codings = [coding for part in fields.split(b",") if (coding := part.strip().lower())]
    if fields and codings != [b"chunked"]:
        raise _UNKNOWN_CODING


def _invalid(what: str) -> RouterError:
    message = f"The request is not valid HTTP: it {what}."
    return RouterError(400, INVALID.code, message, source=Source.CLIENT)


def head_too_large() -> RouterError:
    """The request's head, or what follows its body, is over the limit."""
    return RouterError(
        431,
        "request_headers_too_large",
        f"The request's target and header fields are larger than {MAX_HEAD_BYTES} bytes.",
        source=Source.CLIENT,
    )


def dismiss(
    transport: asyncio.Transport, error: RouterError, lost: Callable[[Exception | None], None]
) -> None:
    """Give the last answer on a connection, hear no more and close it; `lost` is called then."""
    transport.write(_refusal(error))
    transport.set_protocol(_Deaf(lost))
    if transport.can_write_eof():
        transport.write_eof()
    asyncio.get_running_loop().call_later(LINGER_S, transport.close)


def _refusal(error: RouterError) -> bytes:
    body = error_body(error, Family.OPENAI)
    fields = b"".join(b"%b: %b\r\n" % field for field in error_headers(error, b""))
    ending = b"content-length: %d\r\nconnection: close\r\n\r\n" % len(body)
    return STATUS_LINE[error.status] + fields + ending + body


def head_without_offer(method: bytes, url: bytes, version: str, headers: Headers) -> bytes:
    """A request's head again, without the offer to speak another protocol."""
    lines = [b"%b %b HTTP/%b" % (method, url, version.encode("ascii"))]
    for name, value in headers:
        kept = _other_options(value) if name == b"connection" else value
        if name not in _OFFERS and (kept or not value):
            lines.append(b"%b: %b" % (name, kept))
    return b"\r\n".join((*lines, b"\r\n"))


def _other_options(connection: bytes) -> bytes:
    options = [option.strip() for option in connection.split(b",")]
    return b", ".join(option for option in options if option.lower() not in _OFFERS)


def origin_form(url: bytes) -> bytes:
    """The path and query of an absolute-form target, as a proxy's client may send it."""
    try:
        parsed = httptools.parse_url(url)
    except httptools.HttpParserInvalidURLError:
        return b"*"
    path = parsed.path or b"/"
    return path + b"?" + parsed.query if parsed.query else path


class _Deaf(asyncio.Protocol):
    def __init__(self, lost: Callable[[Exception | None], None]) -> None:
        self._lost = lost

    def connection_lost(self, exc: Exception | None) -> None:
        self._lost(exc)

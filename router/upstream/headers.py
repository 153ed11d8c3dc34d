"""Which header fields cross the router, and the heads it writes (pure)."""

from collections.abc import Iterable, Mapping

import msgspec

from router.ids import Headers

# RFC 9110 §7.6.1: fields that belong to one connection. Framing is set anew on each side.
HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-connection",
        b"proxy-authenticate",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
        b"http2-settings",
    )
)
EXPLAIN = b"x-router-explain"
"""A request with this field at `1` is answered with further ones: why it went where."""

RESUME = b"x-router-resume"
"""A request with this field at `on` or `off` says whether its stream is to be resumed if its worker dies."""

_NOT_TO_WORKER = HOP_BY_HOP | frozenset(
    (
        b"host",
        b"content-length",
        b"expect",
        b"proxy-authorization",
        b"x-request-id",
        b"x-router-worker",
        EXPLAIN,
        RESUME,
        b"x-router-keep-alive",
    )
)
_NOT_TO_CLIENT = HOP_BY_HOP | frozenset(
    (
        b"content-length",
        b"x-request-id",
        b"x-router-worker",
        b"x-router-policy",
        b"x-router-reason",
        b"x-router-cached-tokens",
        b"x-router-predicted-ttft-ms",
        b"x-router-queue-ms",
    )
)
_ORDINARY_CONNECTION = frozenset(
    (b"keep-alive", b"close", b"upgrade", b"te", b"http2-settings", b"")
)
_BODILESS = frozenset((b"GET", b"HEAD", b"OPTIONS", b"DELETE"))


class RequestLine(msgspec.Struct, frozen=True, gc=False):
    """What of a request's first line and identity is sent on; `target` is path and query, as received."""

    method: bytes
    target: bytes
    request_id: bytes


def named_by_connection(value: bytes) -> frozenset[bytes]:
    """Further fields that a `Connection` field declares hop-by-hop (usually none)."""
    return frozenset(token.strip().lower() for token in value.split(b",")) - _ORDINARY_CONNECTION


def request_head(
    line: RequestLine,
    authority: bytes,
    headers: Headers,
    body_bytes: int,
    extra: Iterable[tuple[bytes, bytes]] = (),
) -> bytes:
    """The request's head as a worker gets it, blank line included.

    `Host` names the worker, the length is that of the gathered body, everything else that is not
    hop-by-hop is passed on as it came; `extra` fields are the router's own.
    """
    parts = [line.method, b" ", line.target, b" HTTP/1.1\r\nhost: ", authority, b"\r\n"]
    for name, value in _without(headers, _NOT_TO_WORKER):
        parts += (name, b": ", value, b"\r\n")
    if body_bytes or line.method not in _BODILESS:
        parts.append(b"content-length: %d\r\n" % body_bytes)
    for name, value in extra:
        parts += (name, b": ", value, b"\r\n")
    parts += (b"x-request-id: ", line.request_id, b"\r\n\r\n")
    return b"".join(parts)


def response_headers(headers: Headers) -> Headers:
    """A worker's header fields as the client gets them; the router sets framing and its own fields itself."""
    return _without(headers, _NOT_TO_CLIENT)


def retry_after_in(fields: Mapping[bytes, bytes]) -> float | None:
    """Seconds that a worker asks to be left alone; None: it does not say. (A date is not understood: no engine gives one.)"""
    value = fields.get(b"retry-after", b"").strip()
    return float(value) if value.isdigit() and len(value) < 7 else None


def _without(headers: Headers, skip: frozenset[bytes]) -> Headers:
    kept = [field for field in headers if field[0] not in skip]
    if len(kept) != len(headers):
        for name, value in headers:
            if name == b"connection" and (named := named_by_connection(value)):
                kept = [field for field in kept if field[0] not in named]
    return kept

"""Which header fields cross the router, and the heads it writes (pure)."""

from dataclasses import dataclass

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
_NOT_TO_WORKER = HOP_BY_HOP | frozenset(
    (
        b"host",
        b"content-length",
        b"expect",
        b"proxy-authorization",
        b"x-request-id",
        b"x-router-worker",
    )
)
_ORDINARY_CONNECTION = frozenset(
    (b"keep-alive", b"close", b"upgrade", b"te", b"http2-settings", b"")
)
_BODILESS = frozenset((b"GET", b"HEAD", b"OPTIONS", b"DELETE"))


@dataclass(frozen=True, slots=True)
class RequestLine:
    """What of a request's first line and identity is sent on; `target` is path and query, as received."""

    method: bytes
    target: bytes
    request_id: bytes


def named_by_connection(headers: Headers) -> frozenset[bytes]:
    """Further fields that `Connection` declares hop-by-hop (usually none)."""
    named: set[bytes] = set()
    for name, value in headers:
        if name == b"connection":
            named.update(token.strip().lower() for token in value.split(b","))
    return frozenset(named - _ORDINARY_CONNECTION)


def request_head(line: RequestLine, authority: bytes, headers: Headers, body_bytes: int) -> bytes:
    """The request's head as a worker gets it, blank line included.

    `Host` names the worker, the length is that of the gathered body, everything else that is not
    hop-by-hop is passed on as it came.
    """
    parts = [line.method, b" ", line.target, b" HTTP/1.1\r\nhost: ", authority, b"\r\n"]
    skip = _NOT_TO_WORKER
    for name, value in headers:
        if name in skip:
            if name == b"connection" and (more := named_by_connection(headers)):
                return request_head(
                    line, authority, [h for h in headers if h[0] not in more | {name}], body_bytes
                )
            continue
        parts += (name, b": ", value, b"\r\n")
    if body_bytes or line.method not in _BODILESS:
        parts.append(b"content-length: %d\r\n" % body_bytes)
    parts += (b"x-request-id: ", line.request_id, b"\r\n\r\n")
    return b"".join(parts)


def response_headers(headers: Headers) -> Headers:
    """A worker's header fields without the hop-by-hop ones and without `Content-Length`."""
    kept = [h for h in headers if h[0] not in HOP_BY_HOP and h[0] != b"content-length"]
    if len(kept) != len(headers) and (more := named_by_connection(headers)):
        kept = [h for h in kept if h[0] not in more]
    return kept

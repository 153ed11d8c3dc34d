"""How requests that parsers may read differently are written down, and ways to write them."""

from dataclasses import dataclass

BODY = b'{"model":"m"}'
CHUNKS = b"d\r\n" + BODY + b"\r\n0\r\n\r\n"
CHAT = b"/v1/chat/completions"
LENGTH = b"Content-Length: 13"
CHUNKED = b"Transfer-Encoding: chunked"
HIDDEN = (
    b"POST /v1/completions HTTP/1.1\r\nHost: x\r\nX-Marker: hidden\r\nContent-Length: 13\r\n\r\n"
    + BODY
)
"""What an attacker hides behind a request."""


@dataclass(frozen=True, slots=True)
class Case:
    """`answers` are statuses in order, `bodies` what workers get; then the connection goes on or `closes`.

    `defect`: why it is otherwise now. `nginx`: why nginx takes another number of requests for good than we do.
    """

    name: str
    raw: bytes
    answers: tuple[int, ...] = (400,)
    bodies: tuple[bytes, ...] = ()
    closes: bool = True
    defect: str = ""
    nginx: str = ""


def post(
    *fields: bytes,
    body: bytes = b"",
    method: bytes = b"POST",
    target: bytes = CHAT,
    version: bytes = b"HTTP/1.1",
) -> bytes:
    """A request with a Host and these field lines."""
    line = b"%b %b %b" % (method, target, version)
    return b"\r\n".join((line, b"Host: x", *fields, b"", b"")) + body


def framed(*fields: bytes, target: bytes = CHAT, version: bytes = b"HTTP/1.1") -> bytes:
    """The same with the usual body and its length."""
    return post(*fields, LENGTH, body=BODY, target=target, version=version)


def chunked(body: bytes, *fields: bytes) -> bytes:
    """The same with a chunked body, given as it goes over the wire."""
    return post(CHUNKED, *fields, body=body)


def accepted(name: str, raw: bytes, *bodies: bytes, closes: bool = False, nginx: str = "") -> Case:
    """What is a request, or one for each of `bodies`, to everybody."""
    bodies = bodies or (BODY,)
    return Case(name, raw, (200,) * len(bodies), bodies, closes, nginx=nginx)

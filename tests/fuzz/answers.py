"""Splits what a client got into answers, by the letter of RFC 9112 (pure)."""

import re
from dataclasses import dataclass

_STATUS = re.compile(rb"HTTP/1\.1 ([1-9]\d\d) [\t -~\x80-\xff]*")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([\t -~\x80-\xff]*)")
_CHUNK = re.compile(rb"([0-9A-Fa-f]{1,15})\r\n")


class MalformedError(Exception):
    """What came is no answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer; field names in lower case, the last value of each."""

    status: int
    fields: dict[bytes, bytes]
    body: bytes = b""

    @property
    def marker(self) -> bytes:
        """The marker of the request that a worker answered with this, empty for the router's own answers."""
        return self.fields.get(b"x-marker", b"")

    @property
    def last(self) -> bool:
        """The connection ends with it."""
        return b"close" in self.fields.get(b"connection", b"").lower()


def split(data: bytes, *, closed: bool = False) -> tuple[list[Answer], bytes]:
    """Whole answers, and what is left: part of one. `closed`: no more will come. Raises `MalformedError`."""
    answers: list[Answer] = []
    while data:
        head, end, rest = data.partition(b"\r\n\r\n")
        if not end:
            break
        answer = _head(head)
        body = _body(answer, rest, closed=closed)
        if body is None:
            break
        data = rest[body[1] :]
        answers.append(Answer(answer.status, answer.fields, body[0]))
    return answers, data


def _head(head: bytes) -> Answer:
    line, *lines = head.split(b"\r\n")
    status = _STATUS.fullmatch(line)
    if status is None:
        raise MalformedError(f"no status line: {line[:80]!r}")
    fields: dict[bytes, bytes] = {}
    for each in lines:
        match = _FIELD.fullmatch(each)
        if match is None:
            raise MalformedError(f"no header field: {each[:80]!r}")
        name = match[1].lower()
        if name in fields and name in (b"content-length", b"transfer-encoding", b"x-marker"):
            raise MalformedError(f"{name!r} twice")
        fields[name] = match[2]
    if b"content-length" in fields and b"transfer-encoding" in fields:
        raise MalformedError("framed in two ways")
    return Answer(int(status[1]), fields)


def _body(answer: Answer, rest: bytes, *, closed: bool) -> tuple[bytes, int] | None:
    """The body, and how many bytes of `rest` it takes; None: it is not all there."""
    if (
        answer.status < 200
        or answer.status in (204, 304)
        or answer.fields.get(b"x-method") == b"HEAD"
    ):
        return b"", 0
    if b"transfer-encoding" in answer.fields:
        return _chunks(rest)
    length = int(answer.fields.get(b"content-length", b"0"))
    if rest.startswith(b"HTTP/1.1 ") or (not rest and closed):  # to HEAD, which no field tells
        return b"", 0
    return (rest[:length], length) if len(rest) >= length else None


def _chunks(rest: bytes) -> tuple[bytes, int] | None:
    at, body = 0, b""
    while size := _CHUNK.match(rest, at):
        at, count = size.end(), int(size[1], 16)
        if not count:
            end = 0 if rest.startswith(b"\r\n", at) else rest.find(b"\r\n\r\n", at) - at + 2
            return (body, at + end + 2) if len(rest) >= at + end + 2 and end >= 0 else None
        body += rest[at : at + count]
        at += count
        if rest[at : at + 2] not in (b"\r\n", b"\r", b""):
            raise MalformedError("a chunk has no end")
        at += 2
    if len(rest) > at + 20:
        raise MalformedError(f"no chunk size: {rest[at : at + 20]!r}")
    return None

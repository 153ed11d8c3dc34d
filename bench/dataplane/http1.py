"""Just enough HTTP/1.1 for both ends of the benchmark: pure functions and one reader, no sockets.

Every Python instruction here runs once per request or per read on the core that also plays the
workers, so nothing is parsed that the benchmark does not need.
"""

from __future__ import annotations

HEAD_END = b"\r\n\r\n"
MARK = b"data:"
DONE = b"[DONE]"
EVENT_END = (
    b"}\n\n\r\n"  # an SSE event in its own transfer chunk; [DONE] ends in "]" and is not one
)
CHUNKED_END = b"\r\n0\r\n\r\n"
_TAIL = 16  # longer than any pattern that a read boundary may cut


def header_value(head: bytes, name: bytes) -> bytes | None:
    """The value of `name` (lower case, no colon) in a head that is already lower case."""
    at = head.find(b"\r\n" + name + b":")
    if at < 0:
        return None
    start = at + len(name) + 3
    end = head.find(b"\r\n", start)
    return head[start : end if end >= 0 else len(head)].strip()


def message_end(data: bytes) -> tuple[int, int]:
    """Where the head and the whole request in `data` end; (-1, n) or (head, n): n bytes are needed.

    A chunked body is complete when its last chunk is there: `n` is then one more byte than given.
    """
    head_end = data.find(HEAD_END)
    if head_end < 0:
        return -1, len(data) + 1
    head = data[:head_end].lower()
    length = header_value(head, b"content-length")
    body = head_end + len(HEAD_END)
    if length is not None:
        return head_end, body + int(length)
    if header_value(head, b"transfer-encoding") is None:
        return head_end, body
    end = data.find(CHUNKED_END, head_end + 2)
    return head_end, end + len(CHUNKED_END) if end >= 0 else len(data) + 1


def dechunk(data: bytes) -> bytes:
    """The body behind a complete chunked encoding; chunk extensions are ignored."""
    out: list[bytes] = []
    at = 0
    while True:
        line_end = data.index(b"\r\n", at)
        size = int(data[at:line_end].split(b";")[0], 16)
        if not size:
            return b"".join(out)
        at = line_end + 2
        out.append(data[at : at + size])
        at += size + 2


def count_events(tail: bytes, data: bytes) -> tuple[int, bytes]:
    """How many `data:` marks `data` completes after `tail`, and the tail for the next call.

    A mark that a read boundary cuts in two is counted once, when its end arrives.
    """
    joined = tail + data
    return joined.count(MARK) - tail.count(MARK), joined[-_TAIL:]


class AnswerReader:
    """Follows one answer to its end and counts its SSE events.

    The end of a chunked answer is taken from the bytes that a read ends with, not from the chunk
    sizes: sound here because the mock workers never send that pattern inside a body.
    """

    __slots__ = (
        "_body_left",
        "_chunked",
        "_head",
        "_in_body",
        "_tail",
        "closes",
        "done",
        "events",
        "status",
    )

    def __init__(self) -> None:
        self.reset()

    def reset(self) -> None:
        """Get ready for the next answer on the same connection."""
        self.status = 0
        self.events = 0  # SSE events so far, [DONE] included
        self.done = False  # [DONE] was seen
        self.closes = False  # the connection ends with this answer
        self._head = b""
        self._in_body = False
        self._chunked = False
        self._body_left = 0
        self._tail = b""

    @property
    def clean(self) -> bool:
        """Whether a read that ends in EVENT_END needs nothing but a count of its marks."""
        return self._chunked and self._tail.endswith(EVENT_END)

    def feed(self, data: bytes) -> bool:
        """Take one read; True when the answer is complete. Raises ValueError on a broken head."""
        if not self._in_body:
            self._head += data
            end = self._head.find(HEAD_END)
            if end < 0:
                return False
            data = self._head[end + len(HEAD_END) :]
            self._start_body(self._head[:end])
        if self._chunked:
            return self._feed_chunked(data)
        self._note(data)
        self._body_left -= len(data)
        return self._body_left == 0

    def _start_body(self, head: bytes) -> None:
        self.status = int(head[9:12])
        lower = head.lower()
        self._in_body = True
        self._chunked = b"chunked" in (header_value(lower, b"transfer-encoding") or b"")
        length = header_value(lower, b"content-length")
        self.closes = b"close" in (header_value(lower, b"connection") or b"")
        if length is None and not self._chunked:
            self.closes = True
            self._body_left = -1  # runs to the end of the connection
        else:
            self._body_left = int(length or 0)
        self._tail = b"\r\n" if self._chunked else b""

    def _feed_chunked(self, data: bytes) -> bool:
        self._note(data)
        return self._tail.endswith(CHUNKED_END)

    def _note(self, data: bytes) -> None:
        if DONE in self._tail + data:
            self.done = True
        count, self._tail = count_events(self._tail, data)
        self.events += count

"""The worker connection: every framing, every way to end, any split of the bytes."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.ids import Headers
from router.upstream.connection import Connection
from tests.unit.support import Event, FakeHandler, FakeOwner, FakeTransport

HEAD = b"HTTP/1.1 200 OK\r\n"


class Peer:
    """A connection with the worker's end in the test's hands."""

    def __init__(self) -> None:
        self.owner = FakeOwner()
        self.transport = FakeTransport()
        self.connection = Connection(self.owner)
        self.connection.connection_made(self.transport)

    def request(self, *, is_head: bool = False) -> FakeHandler:
        handler = FakeHandler()
        self.connection.send(b"HEAD", b"BODY", handler, is_head=is_head)
        return handler

    def feed(self, *reads: bytes) -> None:
        for data in reads:
            if data and not self.transport.is_closing():
                self.connection.data_received(data)

    def drop(self, error: Exception | None = None) -> None:
        """The connection ends, by the worker's close (or ours) or by `error`."""
        self.transport.close()
        self.connection.connection_lost(error)


@dataclass(frozen=True)
class Case:
    """Bytes from the worker and what must be told of them."""

    name: str
    wire: bytes
    told: list[Event]
    is_head: bool = False
    ends: bool = False
    error: Exception | None = None
    reusable: bool = True


def response(length: int | None, *headers: tuple[bytes, bytes], status: int = 200) -> Event:
    return ("response", status, list(headers), length)


def complete(*trailers: tuple[bytes, bytes]) -> Event:
    return ("complete", list(trailers))


LENGTH_5 = (b"content-length", b"5")
CHUNKED = (b"transfer-encoding", b"chunked")
CLOSE = (b"connection", b"close")
BAD = ("lost", "worker_bad_response")
LOST = ("lost", "worker_connection_lost")

CASES = [
    Case(
        "content-length",
        HEAD + b"Content-Length: 5\r\nX-A: 1\r\n\r\nhello",
        [response(5, LENGTH_5, (b"x-a", b"1")), ("body", b"hello"), complete()],
    ),
    Case(
        "empty body",
        HEAD + b"content-length: 0\r\n\r\n",
        [response(0, (b"content-length", b"0")), complete()],
    ),
    Case(
        "chunked",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n3\r\nhel\r\n2\r\nlo\r\n0\r\n\r\n",
        [response(None, CHUNKED), ("body", b"hello"), complete()],
    ),
    Case(
        "chunk extensions",
        HEAD + b'transfer-encoding: chunked\r\n\r\n5;a=b;c="d"\r\nhello\r\n0;z\r\n\r\n',
        [response(None, CHUNKED), ("body", b"hello"), complete()],
    ),
    Case(
        "chunked with trailers",
        HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-Sum: 1\r\nx-b: 2\r\n\r\n",
        [
            response(None, CHUNKED),
            ("body", b"hello"),
            complete((b"x-sum", b"1"), (b"x-b", b"2")),
        ],
    ),
    Case(
        "several codings, chunked last",
        HEAD + b"transfer-encoding: gzip, chunked\r\n\r\n2\r\nzz\r\n0\r\n\r\n",
        [response(None, (b"transfer-encoding", b"gzip, chunked")), ("body", b"zz"), complete()],
    ),
    Case(
        "until close",
        HEAD + b"connection: close\r\n\r\nhello",
        [response(None, CLOSE), ("body", b"hello"), complete()],
        ends=True,
        reusable=False,
    ),
    Case(
        "until close, nothing in it",
        HEAD + b"x: y\r\n\r\n",
        [response(None, (b"x", b"y")), complete()],
        ends=True,
        reusable=False,
    ),
    Case(
        "until close, reset",
        HEAD + b"connection: close\r\n\r\nhel",
        [response(None, CLOSE), ("body", b"hel"), LOST],
        ends=True,
        error=ConnectionResetError(),
        reusable=False,
    ),
    Case(
        "HTTP/1.0 until close",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        [response(None), ("body", b"hello"), complete()],
        ends=True,
        reusable=False,
    ),
    Case(
        "HTTP/1.0 with length",
        b"HTTP/1.0 200 OK\r\ncontent-length: 5\r\n\r\nhello",
        [response(5, LENGTH_5), ("body", b"hello"), complete()],
        reusable=False,
    ),
    Case(
        "HTTP/1.0 kept alive",
        b"HTTP/1.0 200 OK\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello",
        [
            response(5, (b"connection", b"keep-alive"), LENGTH_5),
            ("body", b"hello"),
            complete(),
        ],
    ),
    Case(
        "connection: close with length",
        HEAD + b"connection: close\r\ncontent-length: 5\r\n\r\nhello",
        [response(5, CLOSE, LENGTH_5), ("body", b"hello"), complete()],
        reusable=False,
    ),
    Case(
        "no content", b"HTTP/1.1 204 No Content\r\n\r\n", [response(None, status=204), complete()]
    ),
    Case(
        "not modified, with the length of what is not sent",
        b"HTTP/1.1 304 Not Modified\r\ncontent-length: 5\r\n\r\n",
        [response(5, LENGTH_5, status=304), complete()],
    ),
    Case(
        "HEAD",
        HEAD + b"content-length: 5\r\n\r\n",
        [response(5, LENGTH_5), complete()],
        is_head=True,
        reusable=False,
    ),
    Case(
        "HEAD, chunked",
        HEAD + b"transfer-encoding: chunked\r\n\r\n",
        [response(None, CHUNKED), complete()],
        is_head=True,
        reusable=False,
    ),
    Case(
        "HEAD with a body all the same",
        HEAD + b"content-length: 5\r\n\r\nhello",
        [response(5, LENGTH_5), complete()],
        is_head=True,
        reusable=False,
    ),
    Case(
        "interim answers",
        b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n"
        + HEAD
        + b"content-length: 5\r\n\r\nhello",
        [
            ("informational", 100, []),
            ("informational", 103, [(b"link", b"</a>")]),
            response(5, LENGTH_5),
            ("body", b"hello"),
            complete(),
        ],
    ),
    Case(
        "empty and repeated fields, order kept",
        HEAD + b"Set-Cookie: a\r\nX-Empty:\r\nset-cookie: b\r\ncontent-length: 0\r\n\r\n",
        [
            response(
                0,
                (b"set-cookie", b"a"),
                (b"x-empty", b""),
                (b"set-cookie", b"b"),
                (b"content-length", b"0"),
            ),
            complete(),
        ],
    ),
    Case("garbage", b"\x00\x01SSH-2.0-x\r\n\r\n", [BAD], reusable=False),
    Case("an unfinished head", HEAD + b"x: y\r\n", [LOST], ends=True, reusable=False),
    Case("nothing at all", b"", [LOST], ends=True, reusable=False),
    Case(
        "a body too short",
        HEAD + b"content-length: 5\r\n\r\nhel",
        [response(5, LENGTH_5), ("body", b"hel"), LOST],
        ends=True,
        reusable=False,
    ),
    Case(
        "chunks without their end",
        HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\n",
        [response(None, CHUNKED), ("body", b"hello"), LOST],
        ends=True,
        reusable=False,
    ),
    Case(
        "a chunk size that is none",
        HEAD + b"transfer-encoding: chunked\r\n\r\n5\r\nhello\r\nzz\r\n",
        [response(None, CHUNKED), ("body", b"hello"), BAD],
        reusable=False,
    ),
    Case(
        "two lengths",
        HEAD + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
        [BAD],
        reusable=False,
    ),
    Case(
        "length and chunked",
        HEAD + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
        [BAD],
        reusable=False,
    ),
    Case(
        "a folded field", HEAD + b"x: a\r\n b\r\ncontent-length: 0\r\n\r\n", [BAD], reusable=False
    ),
    Case(
        "garbage after the answer",
        HEAD + b"content-length: 5\r\n\r\nhelloGARBAGE",
        [response(5, LENGTH_5), ("body", b"hello"), complete()],
        reusable=False,
    ),
    Case(
        "another answer after the answer",
        HEAD
        + b"content-length: 5\r\n\r\nhello"
        + HEAD
        + b"x-evil: 1\r\ncontent-length: 3\r\n\r\nbad",
        [response(5, LENGTH_5), ("body", b"hello"), complete()],
        reusable=False,
    ),
    Case(
        "another answer after chunks",
        HEAD
        + b"transfer-encoding: chunked\r\n\r\n0\r\nx: y\r\n\r\n"
        + HEAD
        + b"x-evil: 1\r\n\r\nbad",
        [response(None, CHUNKED), complete((b"x", b"y"))],
        reusable=False,
    ),
]


def play(case: Case, *reads: bytes) -> tuple[Peer, FakeHandler]:
    """Answer one request with `reads` and check what holds for every answer."""
    peer = Peer()
    handler = peer.request(is_head=case.is_head)
    peer.feed(*reads)
    if case.ends:
        peer.drop(case.error)
    names = [event[0] for event in handler.events]
    assert sum(name in ("complete", "lost") for name in names) == 1
    assert names[-1] in ("complete", "lost"), "nothing comes after the end"
    assert names.count("response") <= 1
    assert "body" not in names or names.index("response") < names.index("body")
    return peer, handler


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_answer_in_one_read(case: Case) -> None:
    peer, handler = play(case, case.wire)
    assert handler.told() == case.told
    assert peer.connection.closing is not case.reusable
    assert peer.owner.idle == ([peer.connection] if case.reusable else [])


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_answer_split_anywhere(case: Case) -> None:
    for at in range(1, len(case.wire)):
        peer, handler = play(case, case.wire[:at], case.wire[at:])
        assert handler.told() == case.told, f"split at {at}"
        assert peer.connection.closing is not case.reusable, f"split at {at}"


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_an_answer_byte_by_byte(case: Case) -> None:
    peer, handler = play(case, *(case.wire[at : at + 1] for at in range(len(case.wire))))
    assert handler.told() == case.told
    assert peer.connection.closing is not case.reusable


@given(st.sampled_from(CASES), st.lists(st.integers(0, 200), max_size=8))
def test_an_answer_in_any_pieces(case: Case, cuts: list[int]) -> None:
    edges = [0, *sorted(min(cut, len(case.wire)) for cut in cuts), len(case.wire)]
    pieces = [case.wire[start:end] for start, end in pairwise(edges)]
    _, handler = play(case, *pieces)
    assert handler.told() == case.told


@given(st.binary(max_size=200), st.booleans())
def test_whatever_the_bytes_the_answer_ends_once(noise: bytes, valid_start: bool) -> None:
    case = Case("noise", b"", [], ends=True)
    play(case, (HEAD if valid_start else b"") + noise)


@given(
    st.lists(st.binary(min_size=1, max_size=40), max_size=6),
    st.sampled_from(["length", "chunked", "close"]),
    st.data(),
)
def test_bodies_arrive_whole(parts: list[bytes], framing: str, data: st.DataObject) -> None:
    body = b"".join(parts)
    if framing == "length":
        wire = HEAD + b"content-length: %d\r\n\r\n" % len(body) + body
    elif framing == "chunked":
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts)
        wire = HEAD + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    else:
        wire = HEAD + b"\r\n" + body
    cut = data.draw(st.integers(0, len(wire)))
    _, handler = play(Case("", b"", [], ends=framing == "close"), wire[:cut], wire[cut:])
    told = handler.told()
    assert b"".join(event[1] for event in told if event[0] == "body") == body
    assert told[-1] == complete()


def test_each_read_is_told_once_after_its_bytes() -> None:
    peer = Peer()
    handler = peer.request()
    peer.feed(HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n1\r\nb\r\n", b"1\r\nc\r\n")
    assert handler.events[1:] == [
        ("body", b"a"),
        ("body", b"b"),
        ("read",),
        ("body", b"c"),
        ("read",),
    ]


def test_requests_follow_each_other_on_one_connection() -> None:
    peer = Peer()
    for turn in range(3):
        handler = peer.request()
        peer.feed(HEAD + b"content-length: 1\r\n\r\n%d" % turn)
        assert handler.told()[1:] == [("body", b"%d" % turn), complete()]
    assert peer.transport.written == b"HEADBODY" * 3
    assert len(peer.owner.idle) == 3


def test_framings_do_not_leak_into_the_next_answer() -> None:
    peer = Peer()
    peer.request()
    peer.feed(HEAD + b"transfer-encoding: chunked\r\n\r\n0\r\nx: y\r\n\r\n")
    handler = peer.request()
    peer.feed(HEAD + b"content-length: 0\r\n\r\n")
    assert handler.told() == [response(0, (b"content-length", b"0")), complete()]


def test_a_small_request_is_one_write_and_a_large_one_is_not_copied_together() -> None:
    peer = Peer()
    peer.request()
    assert peer.transport.writes == 1
    big = Peer()
    body = b"x" * 100_000
    big.connection.send(b"HEAD", body, FakeHandler(), is_head=False)
    assert big.transport.written == b"HEAD" + body


def test_an_answer_to_an_unread_request_ends_the_connection() -> None:
    """A worker that answers 413 early may never read the rest; the next request would wait behind it."""
    peer = Peer()
    peer.request()
    peer.transport.unsent = 1
    peer.feed(HEAD + b"content-length: 0\r\n\r\n")
    assert peer.owner.idle == []
    assert peer.transport.is_closing()


def test_a_kept_alive_connection_closed_before_any_byte_is_stale() -> None:
    peer = Peer()
    peer.request()
    peer.feed(HEAD + b"content-length: 0\r\n\r\n")
    handler = peer.request()
    peer.drop(ConnectionResetError())
    assert handler.told() == [("lost", "worker_connection_reset")]
    assert peer.owner.closed == [peer.connection]


def test_a_kept_alive_connection_closed_after_some_bytes_is_lost() -> None:
    peer = Peer()
    peer.request()
    peer.feed(HEAD + b"content-length: 0\r\n\r\n")
    handler = peer.request()
    peer.feed(b"HTTP/1.1 2")
    peer.drop()
    assert handler.told() == [LOST]


def test_a_fresh_connection_closed_before_answering_may_have_been_worked_on() -> None:
    peer = Peer()
    handler = peer.request()
    peer.drop()
    assert handler.told() == [LOST]


def test_bytes_on_an_idle_connection_close_it() -> None:
    peer = Peer()
    peer.request()
    peer.feed(HEAD + b"content-length: 0\r\n\r\n")
    peer.feed(b"HTTP/1.1 408 Request Timeout\r\n\r\n")
    assert peer.connection.closing


def test_an_idle_connection_may_be_closed_by_the_worker() -> None:
    peer = Peer()
    peer.request()
    peer.feed(HEAD + b"content-length: 0\r\n\r\n")
    assert peer.connection.eof_received() is False
    peer.drop()
    assert peer.connection.closing
    assert peer.owner.closed == [peer.connection]


def test_abort_tells_nobody() -> None:
    peer = Peer()
    handler = peer.request()
    peer.feed(HEAD + b"content-length: 5\r\n\r\nhe")
    before = list(handler.events)
    peer.connection.abort()
    assert peer.transport.aborted
    peer.drop()
    assert handler.events == before
    assert peer.owner.closed == [peer.connection]


def test_a_switch_of_protocols_was_never_asked_for() -> None:
    peer = Peer()
    handler = peer.request()
    peer.feed(b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nraw")
    assert handler.told() == [BAD], "the client must not be told to switch"
    assert peer.transport.aborted


def test_reading_pauses_once_and_resumes_once() -> None:
    peer = Peer()
    peer.request()
    peer.connection.resume_reading()
    peer.connection.pause_reading()
    peer.connection.pause_reading()
    assert not peer.transport.reading
    peer.connection.resume_reading()
    assert peer.transport.reading


def test_a_closed_connection_is_neither_paused_nor_resumed() -> None:
    peer = Peer()
    peer.request()
    peer.connection.pause_reading()
    peer.transport.close()
    peer.connection.resume_reading()
    assert not peer.transport.reading
    peer.connection.connection_lost(None)
    peer.connection.pause_reading()
    peer.connection.close()
    peer.connection.abort()


def test_a_connection_paused_at_the_answer_s_end_reads_on_when_idle() -> None:
    class Slow(FakeHandler):
        def on_complete(self, trailers: Headers) -> None:
            peer.connection.pause_reading()

    peer = Peer()
    peer.connection.send(b"", b"", Slow(), is_head=False)
    peer.feed(HEAD + b"content-length: 0\r\n\r\n")
    assert peer.transport.reading
    assert peer.owner.idle


def test_its_repr_says_what_it_does() -> None:
    peer = Peer()
    assert repr(peer.connection) == "<Connection to gpu-1:8000, idle, 0 served>"
    peer.request()
    assert "busy" in repr(peer.connection)
    peer.drop()
    assert "closed" in repr(peer.connection)

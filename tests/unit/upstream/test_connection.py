"""The worker connection: every framing, every way to end, any split of the bytes."""

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.errors import RouterError
from router.ids import Headers
from router.upstream.connection import Connection
from router.upstream.limits import TimeLimits
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
        [BAD],
        reusable=False,
    ),
    Case("another coding", HEAD + b"transfer-encoding: gzip\r\n\r\nzz", [BAD], reusable=False),
    Case("status 000", b"HTTP/1.1 000 No\r\n\r\n", [BAD], reusable=False),
    Case("status 099", b"HTTP/1.1 099 No\r\n\r\n" + HEAD + b"\r\n", [BAD], reusable=False),
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


class TimedPeer(Peer):
    """Looked at whenever time passes; every limit is a different number of seconds."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, limits: TimeLimits | None = None) -> None:
        super().__init__()
        self.now = 1000.0
        self.up = True
        monkeypatch.setattr("router.upstream.connection.perf_counter", lambda: self.now)
        self.limits = limits or TimeLimits(first_byte_s=60.0, idle_s=30.0, total_s=600.0)

    def asked(self) -> FakeHandler:
        self.connection.limit(self.limits, self.now)
        return self.request()

    def passes(self, seconds: float, step: float = 1.0) -> None:
        ends_at = self.now + seconds
        while self.now < ends_at:
            self.now = min(ends_at, self.now + step)
            self.connection.look(self.now, up=self.up)


LATE = ("lost", "worker_timeout")
OVER = ("lost", "request_timeout")
CHUNKED_HEAD = HEAD + b"transfer-encoding: chunked\r\n\r\n"


class TestLimits:
    def test_no_first_byte(self, monkeypatch: pytest.MonkeyPatch) -> None:
        peer = TimedPeer(monkeypatch)
        handler = peer.asked()
        peer.passes(60.0)
        assert handler.events == []
        peer.passes(1.0)
        assert handler.events == [LATE]
        assert peer.transport.aborted, "which ends its work"
        peer.drop()
        peer.passes(600.0)
        assert handler.events == [LATE], "told once"
        assert peer.owner.closed == [peer.connection]

    def test_a_head_is_no_byte_of_the_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        peer = TimedPeer(monkeypatch)
        handler = peer.asked()
        peer.feed(CHUNKED_HEAD)
        peer.passes(59.0)
        assert handler.told() == [("response", 200, [CHUNKED], None)]
        peer.passes(3.0)
        assert handler.events[-1] == LATE

    def test_silence_within_the_answer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        peer = TimedPeer(monkeypatch)
        handler = peer.asked()
        peer.feed(CHUNKED_HEAD)
        for _ in range(5):
            peer.feed(b"1\r\nx\r\n")
            peer.passes(29.0)
        assert LATE not in handler.events
        peer.passes(3.0)
        assert handler.events[-1] == LATE

    def test_all_of_it(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """However steadily it comes, from the request's arrival."""
        peer = TimedPeer(monkeypatch)
        peer.connection.limit(peer.limits, peer.now - 100.0)
        handler = peer.request()
        peer.feed(CHUNKED_HEAD)
        for _ in range(49):
            peer.feed(b"1\r\nx\r\n")
            peer.passes(10.0)
        assert OVER not in handler.events
        peer.feed(b"1\r\nx\r\n")
        peer.passes(10.0)
        assert handler.events[-1] == OVER

    def test_a_client_that_does_not_read_is_not_the_worker_s_fault(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        peer = TimedPeer(monkeypatch)
        handler = peer.asked()
        peer.feed(CHUNKED_HEAD + b"1\r\nx\r\n")
        peer.connection.pause_reading()
        peer.passes(200.0)
        assert LATE not in handler.events
        peer.connection.resume_reading()
        peer.passes(29.0)
        assert LATE not in handler.events
        peer.passes(3.0)
        assert handler.events[-1] == LATE

    def test_nor_while_its_worker_is_down(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """What is in the socket may be all of the answer."""
        peer = TimedPeer(monkeypatch)
        handler = peer.asked()
        peer.feed(CHUNKED_HEAD + b"1\r\nx\r\n")
        peer.connection.pause_reading()
        peer.up = False
        peer.passes(100.0)
        assert LATE not in handler.events

    def test_in_all_it_may_take_no_longer(self, monkeypatch: pytest.MonkeyPatch) -> None:
        peer = TimedPeer(monkeypatch)
        handler = peer.asked()
        peer.feed(CHUNKED_HEAD + b"1\r\nx\r\n")
        peer.connection.pause_reading()
        peer.passes(601.0)
        assert handler.events[-1] == OVER

    @pytest.mark.parametrize("head", [b"", CHUNKED_HEAD, CHUNKED_HEAD + b"1\r\nx\r\n"])
    def test_a_worker_that_is_down_and_silent(
        self, monkeypatch: pytest.MonkeyPatch, head: bytes
    ) -> None:
        peer = TimedPeer(monkeypatch)
        handler = peer.asked()
        peer.feed(head)
        peer.passes(1.0)
        peer.up = False
        peer.passes(9.0)
        assert LATE not in handler.events
        peer.passes(2.0)
        assert handler.events[-1] == LATE

    def test_one_that_is_down_and_goes_on_may(self, monkeypatch: pytest.MonkeyPatch) -> None:
        peer = TimedPeer(monkeypatch)
        handler = peer.asked()
        peer.feed(CHUNKED_HEAD)
        peer.up = False
        for _ in range(20):
            peer.feed(b"1\r\nx\r\n")
            peer.passes(9.0)
        assert LATE not in handler.events

    def test_silence_before_it_went_down_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        peer = TimedPeer(monkeypatch)
        handler = peer.asked()
        peer.passes(50.0)
        peer.up = False
        peer.passes(1.0)
        assert handler.events == [LATE]

    def test_an_idle_connection_never(self, monkeypatch: pytest.MonkeyPatch) -> None:
        peer = TimedPeer(monkeypatch)
        peer.passes(10_000.0, 100.0)
        peer.asked()
        peer.feed(HEAD + b"content-length: 0\r\n\r\n")
        peer.up = False
        peer.passes(10_000.0, 100.0)
        assert not peer.connection.closing
        assert peer.owner.idle == [peer.connection]

    def test_the_next_request_s_time_is_its_own(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Nothing of the silence before it counts, nor of the limits of the one before."""
        peer = TimedPeer(monkeypatch)
        peer.asked()
        peer.feed(HEAD + b"content-length: 0\r\n\r\n")
        peer.passes(500.0)
        handler = peer.request()
        peer.passes(10_000.0, 100.0)
        assert handler.events == [], "no limits were set for it"
        peer.feed(HEAD + b"content-length: 0\r\n\r\n")
        handler = peer.asked()
        peer.passes(59.0)
        assert handler.events == []
        peer.passes(3.0)
        assert handler.events == [LATE]

    @given(
        st.lists(st.tuples(st.sampled_from([5.0, 12.0, 29.0, 31.0]), st.booleans()), max_size=12),
        st.booleans(),
    )
    def test_any_course_ends_within_a_look_of_its_limit(
        self, course: list[tuple[float, bool]], up: bool
    ) -> None:
        """However bytes and pauses alternate: late exactly when the silence was longer than allowed."""
        with pytest.MonkeyPatch.context() as monkeypatch:
            peer = TimedPeer(monkeypatch)
            peer.up = up
            handler = peer.asked()
            peer.feed(CHUNKED_HEAD)
            allowed, late = (30.0 if up else 10.0), False
            for silence, paused in course:
                peer.feed(b"1\r\nx\r\n")
                if paused and not late:
                    peer.connection.pause_reading()
                peer.passes(silence)
                peer.connection.resume_reading()
                if not paused and silence > allowed + 1.0:
                    late = True
                if late:
                    break
            assert (LATE in handler.events) is late


INTERIM = b"HTTP/1.1 103 Hints\r\nlink: </a>\r\n\r\n"
TRAILED = HEAD + b"transfer-encoding: chunked\r\n\r\n1\r\na\r\n0\r\n"


@pytest.mark.parametrize(
    "head",
    [
        HEAD + b"x: " + b"a" * 70_000 + b"\r\n\r\n",
        HEAD + b"x: y\r\n" * 40_000 + b"\r\n",
        HEAD[:-2] + b"a" * 200_000 + b"\r\n\r\n",
        INTERIM * 10_000,
        TRAILED + b"x: y\r\n" * 40_000 + b"\r\n",
    ],
    ids=["field", "fields", "reason", "interim", "trailers"],
)
@pytest.mark.parametrize("size", [1000, 30_000])
def test_a_head_has_a_limit(head: bytes, size: int) -> None:
    peer = Peer()
    handler = peer.request()
    peer.feed(*(head[at : at + size] for at in range(0, len(head), size)))
    assert handler.told()[-1] == BAD
    assert peer.transport.aborted


def test_bodies_do_not_count_with_the_head() -> None:
    peer = Peer()
    fields = b"x: " + b"a" * 40_000 + b"\r\ncontent-length: 200000\r\n\r\n"
    for _ in range(2):
        handler = peer.request()
        peer.feed(HEAD + fields + b"b" * 100_000, b"b" * 100_000)
        assert handler.told()[1:] == [("body", b"b" * 200_000), complete()]


class Listener(FakeHandler):
    """Keeps what clients would be told."""

    message = ""

    def on_lost(self, error: RouterError) -> None:
        self.message = error.message


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"HTTP/1.1 042 No\r\n\r\n", "its status is 042"),
        (
            HEAD + b"transfer-encoding: gzip\r\n\r\n",
            "it has a transfer coding that was not asked for, 'gzip'",
        ),
        (HEAD + b"a" * 70_000, "its head and trailers have more than 65536 bytes"),
        (b"SSH-2.0\r\n", "Expected HTTP/"),
    ],
)
def test_what_is_wrong_with_an_answer_is_told(answer: bytes, why: str) -> None:
    peer, listener = Peer(), Listener()
    peer.connection.send(b"", b"", listener, is_head=False)
    peer.feed(answer)
    assert f"sent an invalid HTTP response: {why}" in listener.message


def test_reads_are_counted() -> None:
    peer = Peer()
    peer.request()
    assert peer.connection.reads == 0
    peer.feed(HEAD, b"content-length: 1\r\n", b"\r\nx")
    assert peer.connection.reads == 3


def test_its_repr_says_what_it_does() -> None:
    peer = Peer()
    assert repr(peer.connection) == "<Connection to gpu-1:8000, idle, 0 served>"
    peer.request()
    assert "busy" in repr(peer.connection)
    peer.drop()
    assert "closed" in repr(peer.connection)

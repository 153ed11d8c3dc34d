"""The relay as transcripts: what the worker's connection says, and what the client's side is told."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import errors
from router.ids import Headers
from router.proxy.relay import Relay
from router.proxy.retry import NO_REFUSALS, REFUSALS
from router.telemetry.metrics import TOKEN_BUCKETS_S, Histogram
from router.upstream.connection import Connection
from tests.unit.support import FakeDownstream, FakeOwner, FakeTransport

ADDED = [(b"x-request-id", b"r1"), (b"x-router-worker", b"gpu-1:8000")]
STREAM = [(b"content-type", b"text/event-stream; charset=utf-8")]
JSON = [(b"content-type", b"application/json")]
ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
TOKEN = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
DONE = b"data: [DONE]\n\n"


class Play:
    """One relay between a worker and a client."""

    def __init__(self, refusals: frozenset[int] = NO_REFUSALS) -> None:
        self.client = FakeDownstream()
        self.itl = Histogram(TOKEN_BUCKETS_S)
        self.first: list[float] = []
        self.ends: list[errors.RouterError | None] = []
        self.relay = Relay(
            self.client, ADDED, refusals, self.itl, self.first.append, self.ends.append
        )

    def stream(self, *reads: bytes | tuple[bytes, ...]) -> None:
        """A whole stream; a tuple holds the parts that one read brings."""
        self.relay.on_response(200, STREAM, None)
        for read in reads:
            for part in (read,) if isinstance(read, bytes) else read:
                self.relay.on_body(part)
            self.relay.on_read()
        self.relay.on_complete([])

    @property
    def gaps(self) -> int:
        """How many gaps between tokens were observed."""
        return sum(self.itl.counts)


def test_an_answer_passes_unchanged() -> None:
    play = Play()
    relay = play.relay
    relay.on_response(200, [*JSON, (b"x-a", b"1"), (b"x-a", b"2")], 4)
    relay.on_body(b"{}")
    relay.on_read()
    relay.on_body(b"\n\n")
    assert play.ends == []
    relay.on_complete([])
    assert play.client.events == [
        ("start", 200, [*JSON, (b"x-a", b"1"), (b"x-a", b"2"), *ADDED], 4),
        ("write", b"{}"),
        ("flush",),
        ("write", b"\n\n"),
        ("finish", []),
    ]
    assert play.ends == [None]
    assert (relay.status, relay.is_stream, relay.tokens) == (200, False, 0)


def test_hop_by_hop_fields_stay_behind_and_ours_replace_the_worker_s() -> None:
    play = Play()
    headers: Headers = [
        (b"connection", b"keep-alive, x-hop"),
        (b"x-hop", b"1"),
        (b"transfer-encoding", b"chunked"),
        (b"x-request-id", b"the worker's"),
        (b"x-router-worker", b"another router's"),
        *JSON,
    ]
    play.relay.on_response(200, headers, None)
    assert play.client.events == [("start", 200, [*JSON, *ADDED], None)]


def test_interim_answers_are_passed_on() -> None:
    play = Play()
    play.relay.on_informational(103, [(b"link", b"</a>"), (b"connection", b"close")])
    assert play.client.events == [("inform", 103, [(b"link", b"</a>")])]
    assert not play.client.started


def test_trailers_are_passed_on() -> None:
    play = Play()
    play.relay.on_response(200, STREAM, None)
    play.relay.on_complete([(b"x-sum", b"1")])
    assert play.client.events[-1] == ("finish", [(b"x-sum", b"1")])


def test_one_read_is_one_flush_however_many_pieces_it_has() -> None:
    play = Play()
    play.stream((TOKEN, TOKEN, TOKEN), (TOKEN,))
    assert play.client.names == ["start", *["write"] * 3, "flush", "write", "flush", "finish"]


@pytest.mark.parametrize("status", sorted(REFUSALS))
def test_nothing_of_a_refusal_is_passed_on(status: int) -> None:
    play = Play(REFUSALS)
    play.relay.on_response(status, JSON, 4)
    play.relay.on_body(b"busy")
    play.relay.on_read()
    play.relay.on_complete([])
    assert set(play.client.names) <= {"flush"}
    assert not play.client.started
    assert play.relay.refused
    assert play.ends == [None]
    assert play.relay.tail == b""


@pytest.mark.parametrize("status", [200, 400, 404, 422, 500, 502])
def test_every_other_status_is_the_client_s_answer(status: int) -> None:
    play = Play(REFUSALS)
    play.relay.on_response(status, JSON, 0)
    assert play.client.events[0][1] == status
    assert not play.relay.refused


def test_a_refusal_that_nobody_else_could_take_is_the_answer() -> None:
    play = Play(NO_REFUSALS)
    play.relay.on_response(429, [*JSON, (b"retry-after", b"1")], 0)
    play.relay.on_complete([])
    assert play.client.names == ["start", "finish"]
    assert (b"retry-after", b"1") in play.client.events[0][2]


def test_a_lost_answer_is_left_to_the_gateway() -> None:
    play = Play()
    play.relay.on_response(200, STREAM, None)
    play.relay.on_body(TOKEN)
    play.relay.on_read()
    play.relay.on_lost(errors.worker_lost("w", "early"))
    assert play.client.names == ["start", "write", "flush"]
    assert [error.code for error in play.ends if error] == ["worker_connection_lost"]


def test_tokens_are_counted_and_timed() -> None:
    play = Play()
    play.stream(ROLE, TOKEN, (TOKEN, TOKEN), TOKEN + TOKEN, DONE)
    assert play.relay.tokens == 5
    assert play.first == [play.relay.first_token_at]
    assert play.relay.last_token_at > play.relay.first_token_at > 0
    assert play.gaps == 4


def test_the_first_token_may_come_with_the_role() -> None:
    play = Play()
    play.stream(ROLE + TOKEN, TOKEN, DONE)
    assert play.first == [play.relay.first_token_at]
    assert play.gaps == 1


def test_a_role_alone_is_no_token() -> None:
    play = Play()
    play.stream(ROLE)
    assert play.first == []
    assert (play.relay.first_token_at, play.relay.tokens, play.gaps) == (0.0, 0, 0)


def test_comments_are_no_tokens() -> None:
    play = Play()
    play.stream(b": ping\n\n", b": ping\n\n", DONE)
    assert play.first == []


def test_an_answer_that_does_not_stream_has_no_token_times() -> None:
    play = Play()
    play.relay.on_response(200, JSON, None)
    play.relay.on_body(b'{"data: ": 1}')
    play.relay.on_read()
    play.relay.on_complete([])
    assert (play.relay.first_token_at, play.relay.tokens, play.gaps) == (0.0, 0, 0)


def test_the_announcement_of_a_response_is_no_token() -> None:
    """Responses streams begin with two events that are sent before the engine has done anything."""
    play = Play()
    play.relay.on_response(200, STREAM, None)
    for name in (b"response.created", b"response.in_progress"):
        play.relay.on_body(
            b'event: %b\ndata: {"response":{"id":"resp_1"},"sequence_number":0,"type":"%b"}\n\n'
            % (name, name)
        )
        play.relay.on_read()
    assert play.first == []
    play.relay.on_body(b'event: x\ndata: {"delta":"a","type":"response.output_text.delta"}\n\n')
    play.relay.on_read()
    assert len(play.first) == 1


@given(st.integers(1, len(DONE) - 1))
def test_an_end_mark_split_between_reads_counts_nothing_backwards(at: int) -> None:
    play = Play()
    play.stream(TOKEN, TOKEN, DONE[:at], DONE[at:])
    assert all(count >= 0 for count in play.itl.counts)
    assert play.itl.total >= 0
    assert play.relay.tokens >= 2


def test_of_an_answer_that_does_not_stream_more_is_kept() -> None:
    play = Play()
    play.relay.on_response(200, JSON, None)
    for _ in range(100):
        play.relay.on_body(b"x" * 1000)
    assert 65_536 <= len(play.relay.tail) < 66_536


def test_the_first_piece_and_the_last_bytes_are_kept() -> None:
    play = Play()
    pieces = [b'data: {"id":"first"}\n\n', *[TOKEN * 20] * 500, b'data: {"usage":{}}\n\n']
    play.stream(*pieces)
    whole = b"".join(pieces)
    assert play.client.body == whole
    assert play.relay.head == pieces[0]
    assert whole.endswith(play.relay.tail)
    assert 4_096 <= len(play.relay.tail) < 4_096 + len(TOKEN) * 20


def test_one_large_piece_is_its_own_tail() -> None:
    play = Play()
    play.relay.on_response(200, JSON, None)
    play.relay.on_body(bytes(200_000))
    assert len(play.relay.tail) == 200_000


PIECES = st.lists(st.sampled_from([ROLE, TOKEN, DONE, b": ping\n\n", b"\xff\x00"]), max_size=10)


@given(PIECES, st.sampled_from(["length", "chunked", "close"]), st.data())
def test_what_the_worker_sends_is_what_the_client_gets(
    pieces: list[bytes], framing: str, data: st.DataObject
) -> None:
    """Connection and relay together, the wire cut anywhere."""
    body = b"".join(pieces)
    head = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n"
    if framing == "length":
        wire = head + b"content-length: %d\r\n\r\n%b" % (len(body), body)
    elif framing == "chunked":
        chunks = b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces)
        wire = head + b"transfer-encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n"
    else:
        wire = head + b"\r\n" + body
    cuts = sorted(data.draw(st.lists(st.integers(0, len(wire)), max_size=6)))
    play, transport = Play(), FakeTransport()
    connection = Connection(FakeOwner())
    connection.connection_made(transport)
    connection.send(b"", b"", play.relay, is_head=False)
    for start, end in zip([0, *cuts], [*cuts, len(wire)], strict=True):
        if start < end:
            connection.data_received(wire[start:end])
    if framing == "close":
        connection.connection_lost(None)
    told = [event for event in play.client.events if event[0] != "flush"]
    assert play.client.body == body
    assert told[0][:2] == ("start", 200)
    assert told[0][3] == (len(body) if framing == "length" else None)
    assert told[-1] == ("finish", [])
    assert all(count >= 0 for count in play.itl.counts)


@pytest.mark.parametrize(
    ("headers", "length", "told"),
    [
        ([*STREAM, (b"content-encoding", b"gzip")], None, 1),
        ([(b"content-type", b"audio/wav")], None, 1),
        (JSON, None, 1),
        (JSON, 4, 0),
        (STREAM, None, 0),
    ],
)
def test_an_answer_of_which_nothing_can_be_seen_tells_its_beginning(
    headers: Headers, length: int | None, told: int
) -> None:
    """Or its worker would be taken to prefill for as long as it lasts."""
    play = Play()
    play.relay.on_response(200, headers, length)
    assert play.first == []
    for _ in range(2):
        play.relay.on_body(b"xy")
        play.relay.on_read()
    assert len(play.first) == told
    assert (play.relay.first_token_at, play.relay.tokens) == (0.0, 0)

"""The relay as transcripts: what the worker's connection says, and what the client's side is told."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router import errors
from router.ids import Headers
from router.proxy.relay import Relay
from router.proxy.retry import BUSY
from router.proxy.sse import usage_in
from router.proxy.transcript import Transcript
from router.telemetry.metrics import TOKEN_BUCKETS_S, Histogram
from router.upstream.connection import Connection
from tests.unit.proxy.streams import Answer
from tests.unit.support import FakeDownstream, FakeOwner, FakeTransport

ADDED = [(b"x-request-id", b"r1"), (b"x-router-worker", b"gpu-1:8000")]
STREAM = [(b"content-type", b"text/event-stream; charset=utf-8")]
JSON = [(b"content-type", b"application/json")]
ROLE = b'data: {"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
TOKEN = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'
DONE = b"data: [DONE]\n\n"
LOST = errors.worker_lost("w", "early")


class Play:
    """One relay between a worker and a client."""

    def __init__(
        self,
        *,
        may_refuse: bool = False,
        transcript: Transcript | None = None,
        pinged: bool = False,
    ) -> None:
        self.client = FakeDownstream()
        if pinged:
            self.client.start(200, STREAM, None)
        self.itl = Histogram(TOKEN_BUCKETS_S)
        self.first: list[float] = []
        self.ends: list[errors.RouterError | None] = []
        self.relay = Relay(
            self.client, ADDED, self.itl, self.first.append, self.ends.append, transcript
        )
        self.relay.expect(may_refuse=may_refuse)

    def stream(self, *reads: bytes | tuple[bytes, ...]) -> None:
        """A whole stream; a tuple holds the parts that one read brings."""
        self.relay.on_response(200, STREAM, None)
        for read in reads:
            for part in (read,) if isinstance(read, bytes) else read:
                self.relay.on_body(part)
            self.relay.on_read()
            if self.ends:  # whoever was told has closed the connection
                return
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


@pytest.mark.parametrize("status", sorted(BUSY))
def test_nothing_of_a_refusal_is_passed_on(status: int) -> None:
    play = Play(may_refuse=True)
    play.relay.on_response(status, JSON, 4)
    play.relay.on_body(b"busy")
    play.relay.on_read()
    play.relay.on_complete([])
    assert set(play.client.names) <= {"flush"}
    assert not play.client.started
    assert play.relay.refused
    assert play.ends == [None]
    assert play.relay.tail == b""


@pytest.mark.parametrize("status", [200, 400, 404, 422, 501, 502])
def test_every_other_status_is_the_client_s_answer(status: int) -> None:
    play = Play(may_refuse=True)
    play.relay.on_response(status, JSON, 2)
    assert play.client.events[0][1] == status
    assert not play.relay.refused


def test_a_refusal_that_nobody_else_could_take_is_the_answer() -> None:
    play = Play()
    play.relay.on_response(429, [*JSON, (b"retry-after", b"1")], 0)
    play.relay.on_complete([])
    assert play.client.names == ["start", "finish"]
    assert (b"retry-after", b"1") in play.client.events[0][2]


class TestHeldHead:
    """Of an open-ended stream nothing is passed on before its first byte: until then another worker can be asked."""

    def test_the_head_comes_with_the_first_byte(self) -> None:
        play = Play()
        play.relay.on_response(200, STREAM, None)
        play.relay.on_read()
        assert play.client.events == []
        assert (play.relay.begun, play.relay.open_ended) == (False, True)
        play.relay.on_body(TOKEN)
        assert play.client.events == [("start", 200, [*STREAM, *ADDED], None), ("write", TOKEN)]
        assert play.relay.begun

    def test_lost_before_it_leaves_the_client_with_nothing(self) -> None:
        play = Play()
        play.relay.on_response(200, STREAM, None)
        play.relay.on_lost(LOST)
        assert play.client.events == []
        assert play.ends == [LOST]

    def test_an_empty_stream_is_an_answer(self) -> None:
        play = Play()
        play.stream()
        assert [event[0] for event in play.client.events] == ["start", "finish"]

    @pytest.mark.parametrize(
        ("status", "headers", "length"),
        [
            (200, STREAM, 10),
            (200, JSON, None),
            (400, STREAM, None),
            (200, [*STREAM, (b"content-encoding", b"gzip")], None),
        ],
    )
    def test_other_heads_wait_for_nothing(
        self, status: int, headers: Headers, length: int | None
    ) -> None:
        play = Play(may_refuse=True)
        play.relay.on_response(status, headers, length)
        assert play.client.names == ["start"]
        assert play.relay.begun

    def test_who_pings_may_give_it_early(self) -> None:
        play = Play()
        play.relay.on_response(200, STREAM, None)
        play.relay.begin()
        assert play.client.names == ["start"]
        play.relay.on_body(TOKEN)
        assert play.client.names == ["start", "write"]


FAILED = [
    b'data: {"error": {"message": "EngineCore", "type": "InternalServerError", "code": 500}}\n\n',
    b'data: {"error":{"message":"x","code":500}}\n\n',
    b'event: error\ndata: {"type":"error","error":{"type":"api_error","message":"x"}}\n\n',
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"abort"}]}\n\n',
]


class TestFirstEventsOfAFailure:
    @pytest.mark.parametrize("event", FAILED)
    @pytest.mark.parametrize("before", [b"", ROLE])
    def test_they_are_no_answer_while_another_can_be_asked(
        self, event: bytes, before: bytes
    ) -> None:
        play = Play(may_refuse=True)
        play.stream(before + event, DONE)
        assert set(play.client.names) <= {"flush"}
        assert [error.code if error else None for error in play.ends] == ["worker_connection_lost"]
        assert not play.relay.failed

    @pytest.mark.parametrize("event", FAILED)
    def test_else_they_are_passed_on_and_known_to_be_one(self, event: bytes) -> None:
        play = Play()
        play.stream(event, DONE)
        assert play.client.body == event + DONE
        assert play.ends == [None]
        assert play.relay.failed

    @pytest.mark.parametrize("event", FAILED)
    def test_behind_a_token_they_are_too(self, event: bytes) -> None:
        play = Play(may_refuse=True)
        play.stream(TOKEN, event, DONE)
        assert play.client.body == TOKEN + event + DONE
        assert play.relay.failed

    def test_the_client_s_mistake_is_an_answer(self) -> None:
        event = (
            b'data: {"error": {"message": "too long", "type": "BadRequestError", "code": 400}}\n\n'
        )
        play = Play(may_refuse=True)
        play.stream(event, DONE)
        assert play.client.body == event + DONE
        assert (play.ends, play.relay.failed) == ([None], False)


DRAINS = b'{"error":{"message":"cannot schedule new futures after shutdown","code":500}}'
DIED = b'{"error":{"message":"EngineCore encountered an issue.","code":500}}'
BUG = b'{"error":{"message":"division by zero","code":500}}'


class TestJudged:
    """A 500 says in its body whose fault it is."""

    def answer(self, play: Play, body: bytes, status: int = 500) -> None:
        play.relay.on_response(status, JSON, len(body))
        for at in range(0, len(body), 20):
            play.relay.on_body(body[at : at + 20])
            play.relay.on_read()
        play.relay.on_complete([])

    def test_nothing_of_it_is_passed_on_before_it_is_whole(self) -> None:
        play = Play(may_refuse=True)
        play.relay.on_response(500, JSON, len(BUG))
        play.relay.on_body(BUG[:-1])
        play.relay.on_read()
        assert play.client.events == []
        play.relay.on_lost(LOST)
        assert play.ends == [LOST]

    def test_a_worker_that_drains_refuses(self) -> None:
        play = Play(may_refuse=True)
        self.answer(play, DRAINS)
        assert (play.relay.refused, play.relay.drains) == (True, True)
        assert (play.client.body, play.ends) == (b"", [None])

    def test_a_worker_whose_engine_is_dead_is_lost(self) -> None:
        play = Play(may_refuse=True)
        self.answer(play, DIED)
        assert not play.relay.refused
        assert play.client.events == []
        assert [error.code if error else None for error in play.ends] == ["worker_connection_lost"]

    def test_it_is_lost_even_where_no_refusal_is_to_be_sent_on(self) -> None:
        """What may be spent on workers that are busy is not for those that are dead."""
        play = Play(may_refuse=True)
        play.relay.expect(may_refuse=True, spare=False)
        self.answer(play, DIED)
        assert [error.code if error else None for error in play.ends] == ["worker_connection_lost"]
        busy = Play(may_refuse=True)
        busy.relay.expect(may_refuse=True, spare=False)
        busy.relay.on_response(429, JSON, 0)
        busy.relay.on_complete([])
        assert (busy.relay.refused, busy.client.events[0][1]) == (False, 429)

    @pytest.mark.parametrize(
        ("body", "may_refuse"), [(BUG, True), (BUG, False), (DRAINS, False), (DIED, False)]
    )
    def test_else_it_is_the_answer_as_the_worker_wrote_it(
        self, body: bytes, may_refuse: bool
    ) -> None:
        play = Play(may_refuse=may_refuse)
        self.answer(play, body)
        assert play.client.events[0] == ("start", 500, [*JSON, *ADDED], len(body))
        assert (play.client.body, play.client.names[-1]) == (body, "finish")
        assert (play.ends, play.relay.refused, play.relay.tail) == ([None], False, body)

    ABORTED = b'{"choices":[{"text":"some","finish_reason":"abort"}]}'
    WHOLE = b'{"choices":[{"text":"some","finish_reason":"stop"}]}'

    def test_a_whole_answer_that_the_worker_ended_early_is_lost(self) -> None:
        """vLLM answers 200 with what there is when it is told to end."""
        play = Play()
        play.relay.expect(may_refuse=True, generates=True)
        self.answer(play, self.ABORTED, 200)
        assert play.client.events == []
        assert [error.code if error else None for error in play.ends] == ["worker_connection_lost"]

    @pytest.mark.parametrize(
        ("body", "may_refuse", "generates"),
        [
            (WHOLE, True, True),
            (WHOLE, True, False),
            (WHOLE, False, True),
            (ABORTED, False, True),
            (ABORTED, True, False),
            (ABORTED, False, False),
        ],
    )
    def test_others_are_the_answer(self, body: bytes, may_refuse: bool, generates: bool) -> None:
        play = Play()
        play.relay.expect(may_refuse=may_refuse, generates=generates)
        self.answer(play, body, 200)
        assert play.client.events[0] == ("start", 200, [*JSON, *ADDED], len(body))
        assert (play.client.body, play.client.names[-1], play.ends) == (body, "finish", [None])

    def test_a_long_answer_is_not_held(self) -> None:
        play = Play()
        play.relay.expect(may_refuse=True, generates=True)
        play.relay.on_response(200, JSON, 262_145)
        assert play.client.names == ["start"]

    def test_an_empty_body_is_an_answer(self) -> None:
        for status in (200, 204, 400, 500):
            play = Play(may_refuse=True)
            play.relay.on_response(status, JSON, 0)
            play.relay.on_complete([])
            assert (play.client.names[0], play.client.names[-1]) == ("start", "finish")
            assert (play.client.events[0][1], play.client.body) == (status, b"")

    @pytest.mark.parametrize("status", [400, 501, 502])
    def test_other_statuses_are_not_judged(self, status: int) -> None:
        play = Play(may_refuse=True)
        self.answer(play, DRAINS, status)
        assert play.client.body == DRAINS
        assert not play.relay.refused

    def test_a_long_one_is_not_held(self) -> None:
        play = Play(may_refuse=True)
        play.relay.on_response(500, JSON, 4097)
        assert play.client.names == ["start"]


class TestRefusals:
    @pytest.mark.parametrize(
        ("value", "seconds"), [(b"7", 7.0), (b" 7 ", 7.0), (b"soon", None), (None, None)]
    )
    def test_how_long_the_worker_asks_for(self, value: bytes | None, seconds: float | None) -> None:
        play = Play(may_refuse=True)
        headers = [*JSON] if value is None else [*JSON, (b"retry-after", value)]
        play.relay.on_response(503, headers, 0)
        assert play.relay.retry_after_s == seconds

    def test_it_is_asked_for_by_refusals_only(self) -> None:
        play = Play()
        play.relay.on_response(200, [*JSON, (b"retry-after", b"7")], 0)
        assert play.relay.retry_after_s is None

    def test_the_next_attempt_begins_with_nothing_of_it(self) -> None:
        play = Play(may_refuse=True)
        play.relay.on_response(503, [*JSON, (b"retry-after", b"7")], 0)
        play.relay.on_complete([])
        play.relay.expect(may_refuse=False)
        assert (play.relay.refused, play.relay.answered) == (False, 0)
        assert play.relay.retry_after_s is None


class TestPinged:
    """The client has the head of a stream and comments: what comes now is told in it."""

    def test_a_stream_goes_on_in_it(self) -> None:
        play = Play(pinged=True)
        play.stream(TOKEN, DONE)
        assert play.client.names[0] == "start"
        assert play.client.names.count("start") == 1
        assert play.client.body == TOKEN + DONE

    @pytest.mark.parametrize("status", [400, 500, 501])
    def test_an_error_becomes_an_event(self, status: int) -> None:
        body = b'{"error":{"message":"two\nlines","code":%d}}' % status
        play = Play(pinged=True)
        play.relay.on_response(status, JSON, len(body))
        play.relay.on_body(body)
        play.relay.on_read()
        play.relay.on_complete([])
        assert play.client.body == b"data: " + body.replace(b"\n", b"\ndata: ") + b"\n\n"
        assert play.client.names[-1] == "finish"
        assert play.relay.failed is (status >= 500)

    def test_an_error_of_anthropics_form_is_an_event_of_that_name(self) -> None:
        """Else their clients pass it over."""
        body = b'{"type":"error","error":{"type":"invalid_request_error","message":"too long"}}'
        play = Play(pinged=True)
        play.relay.on_response(400, JSON, len(body))
        play.relay.on_body(body)
        play.relay.on_read()
        play.relay.on_complete([])
        assert play.client.body == b"event: error\ndata: " + body + b"\n\n"

    @pytest.mark.parametrize("body", [DRAINS, DIED])
    def test_what_nobody_else_can_be_asked_for_is_told_too(self, body: bytes) -> None:
        play = Play(pinged=True)
        play.relay.on_response(500, JSON, len(body))
        play.relay.on_body(body)
        play.relay.on_read()
        play.relay.on_complete([])
        assert play.client.body == b"data: " + body + b"\n\n"
        assert (play.ends, play.relay.refused) == ([None], False)

    @pytest.mark.parametrize("status", sorted(BUSY))
    def test_a_refusal_is_still_taken_elsewhere(self, status: int) -> None:
        play = Play(may_refuse=True, pinged=True)
        play.relay.on_response(status, JSON, 2)
        play.relay.on_body(b"{}")
        play.relay.on_complete([])
        assert play.relay.refused
        assert play.client.body == b""


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


@pytest.mark.parametrize("size", [7, 1000, 65_000])
def test_a_usage_that_much_comes_behind_is_found(size: int) -> None:
    """vLLM writes `prompt_logprobs` behind it."""
    usage = b'"usage":{"prompt_tokens":20000,"completion_tokens":50}'
    answer = b'{"choices":[' + b"0," * 9_000 + b"0]," + usage + b',"prompt_logprobs":['
    answer += b'{"1":{"logprob":-1.0,"decoded_token":"\\"usage\\""}},' * 6_000 + b"null]}"
    play = Play()
    play.relay.on_response(200, JSON, None)
    for start in range(0, len(answer), size):
        play.relay.on_body(answer[start : start + size])
    found = usage_in(play.relay.tail)
    assert (found.prompt_tokens, found.completion_tokens) == (20_000, 50)
    assert len(play.relay.tail) < 140_000


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


@given(st.lists(st.floats(0, 1), max_size=8), st.floats(0, 1))
def test_with_a_transcript_the_client_gets_the_same_from_two_workers(
    cuts: list[float], death: float
) -> None:
    """Connections, relay and transcript together: the wire cut anywhere, the first connection lost anywhere."""
    answer, transcript = Answer(), Transcript(shows_ids=False)
    play = Play(transcript=transcript)
    events = answer.events(ids=True)
    for last in (False, True):
        wire = b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n"
        wire += b"".join(b"%x\r\n%b\r\n" % (len(event), event) for event in events)
        wire += b"0\r\n\r\n"
        wire = wire if last else wire[: round(death * len(wire))]
        connection = Connection(FakeOwner())
        connection.connection_made(FakeTransport())
        connection.send(b"", b"", play.relay, is_head=False)
        places = sorted({0, len(wire), *(round(cut * len(wire)) for cut in cuts)})
        for start, end in pairwise(places):
            connection.data_received(wire[start:end])
        if play.ends == [None]:
            break
        if not last:
            connection.connection_lost(None)
            assert len(play.ends) == 1
            play.ends.clear()
            if transcript.finished:
                return
            transcript.go_on()
            start_at = max(0, len(transcript.so_far) - len(answer.prompt))
            events = answer.events(ids=True, start=start_at)
            play.relay.expect(may_refuse=True)
    assert (play.client.body, play.ends) == (answer.stream(), [None])
    assert play.client.names[-1] == "finish"
    assert play.client.names.count("start") == 1
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


@pytest.mark.parametrize(
    "text",
    ["cannot schedule new futures after shutdown", 'it says \\"finish_reason\\":\\"abort\\"'],
)
def test_what_an_answer_is_about_says_nothing_of_its_worker(text: str) -> None:
    play = Play(may_refuse=True)
    play.relay.expect(may_refuse=True, generates=True)
    body = b'{"choices":[{"message":{"content":"%b"},"finish_reason":"stop"}]}' % text.encode()
    play.relay.on_response(200, JSON, len(body))
    play.relay.on_body(body)
    play.relay.on_complete([])
    assert (play.client.body, play.ends, play.relay.refused) == (body, [None], False)

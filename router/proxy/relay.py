"""Passes one worker's answer to the client, unchanged, and notes when things happened.

No task and no await per chunk: the worker's connection calls in, bytes go out. What is kept of the answer
is bounded: the first piece and the last ones, for the id and the usage.
"""

from collections.abc import Callable
from time import perf_counter

from router.engines.vllm import ABORTED, DEAD, DRAINING
from router.errors import RouterError, cannot_go_on, engine_died
from router.ids import Headers
from router.proxy.downstream import Downstream
from router.proxy.retry import BUSY
from router.proxy.sse import announcements, error_event, failure_in, token_events, usage_text
from router.proxy.transcript import DivergedError, Transcript
from router.telemetry.metrics import Histogram
from router.upstream.headers import response_headers, retry_after_in

_TAIL_BYTES = 65_536
_STREAM_TAIL_BYTES = 4_096
"""Usage comes in a stream's last event. What is kept of hundreds of streams should fit the processor's cache."""

_EVENT_STREAM = b"text/event-stream"

_ERRORS = {500: 4_096}
_WHOLE = {500: 4_096, 200: 262_144}
"""Bytes up to which answers are looked at before they are passed on, by status, where others can be asked."""

_NO_HEAD: tuple[int, Headers, int | None] = (0, [], None)


def _all(headers: Headers) -> Headers:
    return headers


class Relay:
    """Handles the answer of one attempt, or of several that continue each other (`upstream.connection.ResponseHandler`).

    `may_refuse`: there are other workers, so that nothing of a refusal is passed on; `refused` says so, and
    `retry_after_s` what it asked for. `status`: as the client sees it; `answered`: of the running attempt. `transcript`:
    the stream can be continued elsewhere. Times are `perf_counter` seconds; 0.0: has not happened. `on_end` is called
    once per attempt, with the error if the answer broke off: who made this relay then ends what is left of it.
    `is_stream`: the answer is readable events; `open_ended`: one more can be added to them. `failed`: its events say so,
    and were passed on. `on_first_token` is also called when an answer begins of which neither length nor tokens can be
    seen (then `first_token_at` stays 0.0), and when one is gone on with.
    """

    __slots__ = (
        "_added", "_begun", "_downstream", "_events", "_given", "_head", "_held", "_judged",
        "_lost", "_may_refuse", "_on_end", "_on_first_token", "_opaque", "_sifts", "_spare", "_tail",
        "_tail_bytes", "_tail_limit", "_usage", "answered", "drains", "failed", "first_token_at", "head",
        "is_stream", "itl", "last_token_at", "open_ended", "refused", "retry_after_s", "status",
        "tokens", "transcript",
    )  # fmt: skip

    def __init__(
        self,
        downstream: Downstream,
        added: Headers,
        itl: Histogram,
        on_first_token: Callable[[float], None],
        on_end: Callable[[RouterError | None], None],
        transcript: Transcript | None = None,
    ) -> None:
        self.status = 0
        self.first_token_at = self.last_token_at = 0.0
        self.tokens = 0
        self.head = b""
        self.transcript = transcript
        self._downstream = downstream
        self._added = added
        self.itl = itl
        self._on_first_token = on_first_token
        self._on_end = on_end
        self._tail: list[bytes] = []
        self._usage = b""
        self._tail_limit = _TAIL_BYTES
        self._tail_bytes = self._events = 0
        self._begun = self.is_stream = self.open_ended = self.failed = self._opaque = False
        if downstream.started:
            self.adopt()

    def expect(
        self,
        *,
        may_refuse: bool,
        spare: bool = True,
        generates: bool = False,
        given: Callable[[Headers], Headers] | None = None,
    ) -> None:
        """Another attempt begins. `spare`: others may be asked if it is busy, too; `generates`: the worker may end the answer
        on its own account; `given`: what of its header fields the client is given.
        """
        self._given = given or _all
        self._judged = _WHOLE if generates else _ERRORS
        self.refused = self.drains = self._sifts = False
        self.answered = 0
        self.retry_after_s: float | None = None
        self._may_refuse, self._spare = may_refuse, spare
        self._held: list[bytes] | None = None
        self._head = _NO_HEAD
        self._lost: RouterError | None = None

    def adopt(self) -> None:
        """The client has the head of a stream, and nothing of an answer."""
        self._begun = self.is_stream = self.open_ended = True

    def divert(self, downstream: Downstream) -> None:
        """The answer is for somebody else from now on."""
        self._downstream = downstream

    @property
    def begun(self) -> bool:
        """The client was given some of the answer, of this attempt's or of one before."""
        return self._begun

    @property
    def tail(self) -> bytes:
        """The answer's last bytes, `_TAIL_BYTES` (`_STREAM_TAIL_BYTES`) or somewhat more, and a usage that came before."""
        whole = len(self._tail) == 1 and not self._usage
        return self._tail[0] if whole else b"".join((self._usage, *self._tail))

    def forget(self) -> None:
        """Let go of the kept pieces and of whoever was told."""
        self.head, self._head = b"", _NO_HEAD
        self.transcript = None
        self._tail.clear()
        del self._downstream, self._on_first_token, self._on_end

    # -- called by the worker's connection -----------------------------------------------------

    def on_informational(self, status: int, headers: Headers) -> None:
        """Interim answers are for the client."""
        self._downstream.inform(status, self._given(response_headers(headers)))

    def on_response(self, status: int, headers: Headers, length: int | None) -> None:
        """Start the client's answer, unless more must be seen of it first."""
        fields = dict(headers)
        self.answered = status
        self.retry_after_s = retry_after_in(fields) if status in BUSY else None
        if self._begun:  # it continues another one, or comments
            self._continue(status, fields)
            return
        self.status = status
        if status in BUSY and self._may_refuse and self._spare:
            self.refused = self._sifts = True
            return
        if fields.get(b"content-type", b"").startswith(_EVENT_STREAM):
            self._tail_limit = _STREAM_TAIL_BYTES
            self.is_stream = b"content-encoding" not in fields
            self.open_ended = self.is_stream and length is None
        self._opaque = length is None and not self.is_stream
        self._head = status, headers, length
        if not self.open_ended or status != 200:
            self.transcript = None
        if self.open_ended and status == 200:
            self._sifts = True  # for as long as nothing is passed on, another worker can be asked
        elif self._may_refuse and length is not None and length <= self._judged.get(status, 0):
            self._sifts, self._held = True, []
        else:
            self.begin()

    def on_body(self, data: bytes) -> None:
        """Pass a piece on."""
        if self._sifts:
            data = self._sift(data)
            if not data:
                return
        self._downstream.write(data)
        if self.is_stream:
            if self.first_token_at:
                self._events += token_events(data)
            else:
                self._events += max(0, token_events(data) - announcements(data))
        if not self.head:
            self.head = data
            if self._opaque:
                self._on_first_token(perf_counter())
        tail = self._tail
        tail.append(data)
        self._tail_bytes += len(data)
        while self._tail_bytes - len(tail[0]) >= self._tail_limit:
            self._tail_bytes -= len(piece := tail.pop(0))
            if not self.is_stream:
                self._usage = usage_text(self._usage, piece)

    def on_read(self) -> None:
        """One write per read; token times are the times of reads."""
        if self._events:
            self._note_tokens(perf_counter())
        if self._lost is not None:
            self._on_end(self._lost)
        elif self._begun:
            self._downstream.flush()

    def on_complete(self, trailers: Headers) -> None:
        """The answer is whole, or says that it is not."""
        if self._events:
            self._note_tokens(perf_counter())
        if self._held is not None and (body := self._judge(b"".join(self._held))):
            self.on_body(body)
        if self._lost is None and self.transcript is not None and not self.refused:
            self._lost = self.transcript.missing_end()
        if self._lost is None and not self.refused:
            if not self._begun:
                self.begin()
            self.failed = self.is_stream and failure_in(self.tail) >= 0
            self._downstream.finish(trailers)
        self._on_end(self._lost)

    def on_lost(self, error: RouterError) -> None:
        """The answer ends early; what the client is told is decided by who made this relay."""
        self._on_end(self._lost or error)

    # ------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Give the client the worker's head."""
        status, headers, length = self._head
        self._begun = True
        self._downstream.start(status, self._given(response_headers(headers)) + self._added, length)

    def _continue(self, status: int, fields: dict[bytes, bytes]) -> None:
        """The client has a stream's head already: an error can only be told in the stream."""
        self._sifts = True
        if self.status == 0:
            self.status, self._tail_limit = status, _STREAM_TAIL_BYTES
        if status in BUSY and self._may_refuse and self._spare:
            self.refused = True
        elif status != 200 or not fields.get(b"content-type", b"").startswith(_EVENT_STREAM):
            self._held = []
        elif self.first_token_at:
            self._on_first_token(perf_counter())

    def _sift(self, data: bytes) -> bytes:
        """What of `data` can be passed on now."""
        if self.refused or self._lost is not None:
            return b""
        if self._held is not None:
            if len(data) == self._head[2]:
                return self._judge(data)
            self._held.append(data)
            return b""
        transcript = self.transcript
        if transcript is not None:
            data = self._copied(transcript, data)
        elif failure_in(data) >= 0 and self._may_refuse:
            self._lost = engine_died("failed before its first token")
            return b""
        if data and not self._begun:
            self.begin()
        self._sifts = transcript is not None or not data
        return data

    def _copied(self, transcript: Transcript, data: bytes) -> bytes:
        """Whole events, as the client is to see them; from a failure on none."""
        if transcript.foreign(data):
            self.transcript = None
            return transcript.rest + data
        try:
            data = transcript.whole(data)
            failure = failure_in(data)
            if failure >= 0:
                data = data[:failure]
                self._lost = engine_died("ended its answer with an error")
            return transcript.take(data)
        except DivergedError as error:
            self.transcript = None
            self._lost = cannot_go_on(str(error))
            return b""

    def _judge(self, body: bytes) -> bytes:
        """What of an answer is passed on whose body is all there; an error may be the worker's own."""
        self._held = None
        may_refuse, broken = self._may_refuse, self.answered == 500
        if may_refuse and broken and DRAINING in body:
            self.refused = self.drains = True
        elif may_refuse and (DEAD if broken else ABORTED) in body:
            self._lost = engine_died("ended its answer on its own account")
        elif self.head:
            self._lost = cannot_go_on(f"answered {self.answered} when asked to go on")
        else:
            self._sifts, self.transcript = False, None
            if self._begun:
                return error_event(body)
            self.begin()
            return body
        return b""

    def _note_tokens(self, now: float) -> None:
        events, self._events = self._events, 0
        if self.first_token_at:
            self.itl.observe((now - self.last_token_at) / events, events)
        else:
            self.first_token_at = now
            self._on_first_token(now)
        self.last_token_at = now
        self.tokens += events

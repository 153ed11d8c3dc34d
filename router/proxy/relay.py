"""Passes one worker's answer to the client, unchanged, and notes when things happened.

No task and no await per chunk: the worker's connection calls in, bytes go out. What is kept of the answer
is bounded: the first piece and the last ones, for the id and the usage.
"""

from collections.abc import Callable
from time import perf_counter

from router.errors import RouterError
from router.ids import Headers
from router.proxy.downstream import Downstream
from router.proxy.sse import announcements, token_events
from router.telemetry.metrics import Histogram
from router.upstream.headers import response_headers

_TAIL_BYTES = 65_536
_STREAM_TAIL_BYTES = 4_096
"""Usage comes in a stream's last event. What is kept of hundreds of streams should fit the processor's cache."""

_EVENT_STREAM = b"text/event-stream"


class Relay:
    """Handles one attempt's answer (`upstream.connection.ResponseHandler`).

    `refusals` are statuses that the gateway would rather retry elsewhere: with one of these nothing is passed
    on and `refused` says so. Times are `perf_counter` seconds; 0.0: has not happened. `on_end` is called once,
    with the error if the answer broke off. `is_stream`: the answer is readable events; `open_ended`: one more
    can be added to them. `on_first_token` is also called when an answer begins of which neither length nor
    tokens can be seen; then `first_token_at` stays 0.0.
    """

    __slots__ = (
        "_added",
        "_downstream",
        "_events",
        "_itl",
        "_on_end",
        "_on_first_token",
        "_opaque",
        "_refusals",
        "_tail",
        "_tail_bytes",
        "_tail_limit",
        "first_token_at",
        "head",
        "is_stream",
        "last_token_at",
        "open_ended",
        "refused",
        "status",
        "tokens",
    )

    def __init__(
        self,
        downstream: Downstream,
        added: Headers,
        refusals: frozenset[int],
        itl: Histogram,
        on_first_token: Callable[[float], None],
        on_end: Callable[[RouterError | None], None],
    ) -> None:
        self.status = 0
        self.refused = False
        self.is_stream = False
        self.open_ended = False
        self._opaque = False
        self.first_token_at = 0.0
        self.last_token_at = 0.0
        self.tokens = 0
        self.head = b""
        self._downstream = downstream
        self._added = added
        self._refusals = refusals
        self._itl = itl
        self._on_first_token = on_first_token
        self._on_end = on_end
        self._tail: list[bytes] = []
        self._tail_bytes = 0
        self._tail_limit = _TAIL_BYTES
        self._events = 0

    @property
    def tail(self) -> bytes:
        """The answer's last bytes: `_TAIL_BYTES`, of a stream `_STREAM_TAIL_BYTES`, or somewhat more."""
        return self._tail[0] if len(self._tail) == 1 else b"".join(self._tail)

    def forget(self) -> None:
        """Let go of the kept pieces and of whoever was told."""
        self.head = b""
        self._tail.clear()
        del self._downstream, self._on_first_token, self._on_end

    # -- called by the worker's connection -----------------------------------------------------

    def on_informational(self, status: int, headers: Headers) -> None:
        """Interim answers are for the client."""
        self._downstream.inform(status, response_headers(headers))

    def on_response(self, status: int, headers: Headers, length: int | None) -> None:
        """Start the client's answer, unless it is refused here."""
        self.status = status
        if status in self._refusals:
            self.refused = True
            return
        fields = dict(headers)
        if fields.get(b"content-type", b"").startswith(_EVENT_STREAM):
            self._tail_limit = _STREAM_TAIL_BYTES
            self.is_stream = b"content-encoding" not in fields
            self.open_ended = self.is_stream and length is None
        self._opaque = length is None and not self.is_stream
        self._downstream.start(status, response_headers(headers) + self._added, length)

    def on_body(self, data: bytes) -> None:
        """Pass a piece on."""
        if self.refused:
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
            self._tail_bytes -= len(tail.pop(0))

    def on_read(self) -> None:
        """One write per read; token times are the times of reads."""
        if self._events:
            self._note_tokens(perf_counter())
        self._downstream.flush()

    def on_complete(self, trailers: Headers) -> None:
        """The answer is whole."""
        if self._events:
            self._note_tokens(perf_counter())
        if not self.refused:
            self._downstream.finish(trailers)
        self._on_end(None)

    def on_lost(self, error: RouterError) -> None:
        """The answer ends early; what the client is told is decided by who made this relay."""
        self._on_end(error)

    # ------------------------------------------------------------------------------------------

    def _note_tokens(self, now: float) -> None:
        events, self._events = self._events, 0
        if self.first_token_at:
            self._itl.observe((now - self.last_token_at) / events, events)
        else:
            self.first_token_at = now
            self._on_first_token(now)
        self.last_token_at = now
        self.tokens += events

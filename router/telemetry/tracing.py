"""Ids of spans, which requests are sampled, and what is noted of a request for its spans.

Ids are made when a request is sent on, since workers are told them; the spans themselves once it has ended.
"""

from random import getrandbits

from router.ids import Headers
from router.telemetry.spans import Value
from router.telemetry.traceparent import (
    SAMPLED,
    handed_on,
    parent_in,
    state_in,
    written,
)

_RANDOM_BITS = 64
"""Of a trace's id: those that decide whether it is sampled, as OpenTelemetry's `TraceIdRatioBased` does."""


class Attempt:
    """A worker was asked. Times are `perf_counter` seconds, 0.0: not reached; `status` 0: no answer; `cause`: why, if
    another one was asked before; `error`: what became of it, empty when nothing went wrong.
    """

    __slots__ = (
        "cached_tokens", "cause", "ended_at", "error", "first_token_at", "host", "port", "reason",
        "sent_at", "span_id", "started_at", "status", "worker",
    )  # fmt: skip

    def __init__(self, worker: str, host: str, port: int, started_at: float) -> None:
        self.span_id = new_id()
        self.worker = worker
        self.host = host
        self.port = port
        self.started_at = started_at
        self.sent_at = self.first_token_at = self.ended_at = 0.0
        self.status = 0
        self.cause = self.error = self.reason = ""
        self.cached_tokens = 0


class Trace:
    """A request's place in a trace. `parent_id` 0: it begins here; `continued`: the client sent a valid `traceparent`."""

    __slots__ = (
        "_cause", "answer", "attempts", "continued", "flags", "parent_id", "span_id", "state", "trace_id",
    )  # fmt: skip

    def __init__(self, trace_id: int, flags: int, parent_id: int = 0, state: str = "") -> None:
        self.trace_id = trace_id
        self.flags = flags
        self.parent_id = parent_id
        self.continued = parent_id != 0
        self.state = state
        self.span_id = new_id()
        self.attempts: list[Attempt] = []
        self.answer: dict[str, Value] = {}
        self._cause = ""

    @property
    def sampled(self) -> bool:
        """Its spans are wanted."""
        return bool(self.flags & SAMPLED)

    @property
    def name(self) -> str:
        """The trace's id as logs have it."""
        return f"{self.trace_id:032x}"

    def begin(self, attempt: Attempt) -> None:
        """A worker is about to be asked."""
        attempt.cause = self._cause
        self.attempts.append(attempt)

    def sent(self, headers: Headers, now: float) -> Headers:
        """The request goes out to that worker; its fields as the worker is to get them."""
        attempt = self.attempts[-1]
        attempt.sent_at = now
        if self.continued and not self.sampled:
            return headers
        value = written(
            self.trace_id, attempt.span_id if self.sampled else self.span_id, self.flags
        )
        return handed_on(headers, value, continued=self.continued)

    def first_token(self, at: float) -> None:
        """The running attempt brought something."""
        self.attempts[-1].first_token_at = at

    def failed(self, error: str) -> None:
        """The running attempt came to nothing."""
        self.attempts[-1].error = error

    def again(self, cause: str) -> None:
        """There will be another attempt."""
        self._cause = cause

    def ended(self, now: float, status: int) -> None:
        """The running attempt is over, however it went. `status`: of the answer, if it was sent at all."""
        attempt = self.attempts[-1]
        if not attempt.ended_at:
            attempt.ended_at = now
            attempt.status = status if attempt.sent_at else 0


class Tracer:
    """Gives requests their place. `ratio`: how many of the traces that begin here are sampled; of others their parent
    has decided.
    """

    def __init__(self, ratio: float) -> None:
        self._below = round(ratio * (1 << _RANDOM_BITS))

    def begin(self, headers: Headers, *, told: bool = True) -> Trace:
        """A request came with these fields. `told`: a `traceparent` is among them, valid or not."""
        parent = parent_in(headers) if told else None
        if parent is not None:
            state = state_in(headers) if parent.flags & SAMPLED else ""
            return Trace(parent.trace_id, parent.flags, parent.span_id, state)
        trace_id = new_id(128)
        sampled = trace_id % (1 << _RANDOM_BITS) < self._below
        return Trace(trace_id, SAMPLED if sampled else 0)


def new_id(bits: int = 64) -> int:
    """A random id, not 0."""
    return getrandbits(bits) or 1

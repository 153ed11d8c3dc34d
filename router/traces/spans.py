"""A request that has ended as spans: itself, its waits for a worker, and each attempt (pure)."""

from collections.abc import Iterator

from router.journey import Journey
from router.telemetry.logs import RequestLine
from router.telemetry.spans import Kind, Span
from router.telemetry.tracing import Attempt, Trace, new_id
from router.traces.attributes import (
    ENGINE,
    Attributes,
    attempted,
    gen_ai,
    http,
    provider,
    received,
    span_name,
)

STREAM_FAILED = "stream_failed"
"""The answer's own events say that the worker failed."""


def spans(
    journey: Journey, trace: Trace, line: RequestLine, scheme: str, epoch: float
) -> Iterator[Span]:
    """All of them. `epoch`: seconds to add to the journey's times; `scheme`: of the router's URL."""
    yield _request(journey, trace, line, scheme, epoch)
    for since, until in journey.waits:
        yield Span(
            name="queue",
            kind=Kind.INTERNAL,
            trace_id=trace.trace_id,
            span_id=new_id(),
            parent_id=trace.span_id,
            flags=trace.flags,
            state=trace.state,
            start_ns=_ns(epoch, since),
            end_ns=_ns(epoch, until),
            attributes={},
        )
    common, name = http(journey.incoming), span_name(journey.incoming)
    for number, attempt in enumerate(trace.attempts):
        if number == len(trace.attempts) - 1:
            _conclude(attempt, journey)
        attributes = {**common, **attempted(attempt, number)}
        yield Span(
            name=name,
            kind=Kind.CLIENT,
            trace_id=trace.trace_id,
            span_id=attempt.span_id,
            parent_id=trace.span_id,
            flags=trace.flags,
            state=trace.state,
            start_ns=_ns(epoch, attempt.started_at),
            end_ns=_ns(epoch, attempt.ended_at),
            attributes=attributes,
            events=_events(epoch, sent=attempt.sent_at, first_token=attempt.first_token_at),
            error=attempt.error,
        )


def _request(journey: Journey, trace: Trace, line: RequestLine, scheme: str, epoch: float) -> Span:
    incoming, relay = journey.incoming, journey.relay
    streams = relay is not None and relay.is_stream
    attributes: Attributes = {**http(incoming), **received(incoming, line, scheme)}
    if model := gen_ai(line, streams=streams, by=_provider(journey)):
        attributes |= model | trace.answer
    if error := _error(journey, line):
        attributes["error.type"] = error
    return Span(
        name=span_name(incoming),
        kind=Kind.SERVER,
        trace_id=trace.trace_id,
        span_id=trace.span_id,
        parent_id=trace.parent_id,
        remote=True,
        flags=trace.flags,
        state=trace.state,
        start_ns=_ns(epoch, journey.arrived_at),
        end_ns=_ns(epoch, journey.ended_at),
        attributes=attributes,
        events=_events(epoch, first_token=relay.first_token_at if relay is not None else 0.0),
        error="" if line.outcome == "client_error" else error,
    )


def _provider(journey: Journey) -> str:
    """Who ran the model."""
    if not journey.routed:
        return ENGINE
    worker = journey.decision.worker
    return ENGINE if worker.target.service is None else provider(worker.pool.address.host)


def _error(journey: Journey, line: RequestLine) -> str:
    """Why the request failed; empty when it did not, or the client just left."""
    if line.outcome in ("ok", "cancelled"):
        return ""
    if journey.error is not None:
        return journey.error.code
    if journey.relay is not None and journey.relay.failed:
        return STREAM_FAILED
    return str(line.status)


def _conclude(last: Attempt, journey: Journey) -> None:
    """An attempt that none followed has not failed in a way that could be noted at once."""
    last.ended_at = last.ended_at or journey.ended_at
    if last.error or journey.cancelled:
        return
    if journey.relay is not None and journey.relay.failed:
        last.error = STREAM_FAILED
    elif last.status >= 400:
        last.error = str(last.status)


def _events(epoch: float, **times: float) -> tuple[tuple[str, int], ...]:
    return tuple((name, _ns(epoch, at)) for name, at in times.items() if at)


def _ns(epoch: float, at: float) -> int:
    return int((epoch + at) * 1e9)

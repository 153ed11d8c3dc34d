"""What is told of a request that is over: how it ended, in a line of the log."""

from router.errors import shortened
from router.journey import Journey
from router.proxy.sse import Usage
from router.telemetry.logs import RequestLine
from router.telemetry.traceparent import TRACEPARENT, parse


def _status(journey: Journey) -> int:
    """The answer's status; 499 when the client left before there was one."""
    relay, error = journey.relay, journey.error
    if relay is not None and relay.status and relay.begun:
        return relay.status
    return error.status if error is not None else 499


def outcome_of(journey: Journey) -> str:
    """One of `ok`, `client_error`, `upstream_error`, `router_error`, `cancelled`."""
    if journey.cancelled:
        return "cancelled"
    if journey.relay is not None and journey.relay.failed:
        return "upstream_error"
    if journey.error is not None:
        return f"{journey.error.source}_error"
    status = _status(journey)
    if status >= 500:
        return "upstream_error"
    return "ok" if status < 400 else "client_error"


def line_of(journey: Journey, usage: Usage, outcome: str, stamp: str) -> RequestLine:
    """All that is told of it."""
    decision = journey.decision if journey.routed else None
    first = journey.relay.first_token_at if journey.relay is not None else 0.0
    arrived = journey.arrived_at
    return RequestLine(
        ts=stamp,
        request_id=name_of(journey),
        tenant=journey.incoming.tenant.name if journey.incoming.tenant else None,
        model=shortened(journey.model) if journey.model else journey.model,
        endpoint=journey.incoming.endpoint.name,
        worker=decision.worker.id if decision else None,
        policy=decision.policy if decision else "",
        reason=decision.reason if decision else "",
        status=_status(journey),
        outcome=outcome,
        error=_why(journey),
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        predicted_cached_tokens=round(decision.cached_tokens) if decision else None,
        cached_tokens=usage.cached_tokens,
        queue_ms=round(journey.queued_s * 1e3, 3),
        ttft_ms=round((first - arrived) * 1e3, 3) if first else None,
        duration_ms=round((journey.ended_at - arrived) * 1e3, 3),
        attempts=journey.attempts,
        resumed=journey.resumed,
        trace_id=_trace_id(journey),
    )


def name_of(journey: Journey) -> str:
    """Its id, as far as it is looked at."""
    return shortened(journey.request_id.decode("latin-1"))


def _trace_id(journey: Journey) -> str | None:
    """What joins the line to a trace, the router's or its client's."""
    if journey.trace is not None:
        return journey.trace.name
    given = journey.incoming.by_name.get(TRACEPARENT)
    parent = parse(given) if given is not None else None
    return None if parent is None else f"{parent.trace_id:032x}"


def _why(journey: Journey) -> str | None:
    """What went wrong; of an answer that was passed on no more than that it says so, as it may quote the prompt."""
    if journey.error is not None:
        return journey.error.message
    relay = journey.relay
    if relay is None or journey.cancelled:
        return None
    if relay.failed:
        return "The worker's stream says that it failed."
    return f"The worker answered {relay.status}." if relay.status >= 400 else None

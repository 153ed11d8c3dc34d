"""What is known of one request, and what becomes of it afterwards: learning, metrics, one log line."""

from dataclasses import dataclass, field
from datetime import UTC, datetime
from time import perf_counter

from router.errors import RouterError
from router.fleet.fleet import Fleet
from router.prompt.identity import Identity
from router.prompt.request import Incoming, Request
from router.proxy.relay import Relay
from router.proxy.sse import NO_USAGE, Usage, response_id_in, usage_in
from router.routing.affinity import ResponseHomes
from router.routing.learn import Learner
from router.routing.policy import Decision
from router.telemetry.logs import RequestLine, RequestLog
from router.telemetry.metrics import Metrics, RouteSeries


@dataclass(slots=True)
class Record:
    """One request, filled in as it goes. Times are `perf_counter` seconds; 0.0: not reached."""

    incoming: Incoming
    request_id: str
    arrived_at: float = field(default_factory=perf_counter)
    request: Request | None = None
    identity: Identity | None = None
    decision: Decision | None = None
    relay: Relay | None = None
    sent_at: float = 0.0
    attempts: int = 0
    error: RouterError | None = None
    cancelled: bool = False

    @property
    def status(self) -> int:
        """The answer's status; 499 when the client left before there was one."""
        if self.error is not None and not (
            self.relay and self.relay.status and not self.relay.refused
        ):
            return self.error.status
        return self.relay.status if self.relay and self.relay.status else 499

    @property
    def outcome(self) -> str:
        """One of `ok`, `client_error`, `upstream_error`, `router_error`, `cancelled`."""
        if self.cancelled:
            return "cancelled"
        if self.error is not None:
            return f"{self.error.source}_error"
        if self.status >= 500:
            return "upstream_error"
        return "ok" if self.status < 400 else "client_error"


class Reporter:
    """Concludes requests."""

    def __init__(
        self,
        fleet: Fleet,
        learner: Learner,
        homes: ResponseHomes,
        metrics: Metrics,
        log: RequestLog,
    ) -> None:
        self._fleet = fleet
        self._learner = learner
        self._homes = homes
        self._metrics = metrics
        self._log = log

    def series(self, record: Record) -> RouteSeries:
        """Where the request is counted. Only models that workers serve become labels."""
        model = record.request.model if record.request else None
        known = model if model and self._fleet.serves(model) else "unknown"
        return self._metrics.route(known, record.incoming.endpoint.name)

    def retried(self, reason: str) -> None:
        """An attempt failed in a way that allowed another."""
        self._metrics.retries[reason] += 1

    def conclude(self, record: Record) -> None:
        """The request is over, however it ended."""
        ended = perf_counter()
        relay = record.relay
        usage = usage_in(relay.tail) if relay and relay.status == 200 else NO_USAGE
        if record.request and record.identity and record.decision and relay and relay.status == 200:
            self._learn(record, record.request, record.identity, record.decision, usage)
        self._count(record, usage, ended)
        self._log.write(_line(record, usage, ended))

    def _learn(
        self, record: Record, request: Request, identity: Identity, decision: Decision, usage: Usage
    ) -> None:
        relay, learner = record.relay, self._learner
        assert relay is not None
        if relay.first_token_at and request.endpoint.generates:
            learner.first_token(decision, relay.first_token_at - record.sent_at)
        if usage.prompt_tokens:
            learner.prompt_tokens(request, usage.prompt_tokens)
        if usage.cached_tokens is not None:
            learner.cached_tokens(decision, identity, usage.cached_tokens)
        if usage.prompt_tokens and usage.completion_tokens is not None:
            learner.answered(
                decision.worker.id, identity, usage.prompt_tokens, usage.completion_tokens
            )
        response_id = response_id_in(relay.head) if request.endpoint.name == "responses" else None
        if response_id:
            self._homes.remember(response_id, decision.worker.id)

    def _count(self, record: Record, usage: Usage, ended: float) -> None:
        series = self.series(record)
        series.outcomes[record.outcome] += 1
        series.duration.observe(ended - record.arrived_at)
        series.prompt_tokens += usage.prompt_tokens or 0
        relay = record.relay
        if relay and relay.first_token_at:
            series.ttft.observe(relay.first_token_at - record.arrived_at)
            tokens = usage.completion_tokens or relay.tokens
            if tokens > 1:
                series.tpot.observe((relay.last_token_at - relay.first_token_at) / (tokens - 1))


def _line(record: Record, usage: Usage, ended: float) -> RequestLine:
    decision, relay, error = record.decision, record.relay, record.error
    first = relay.first_token_at if relay else 0.0
    return RequestLine(
        ts=datetime.now(UTC).isoformat(timespec="milliseconds"),
        request_id=record.request_id,
        model=record.request.model if record.request else None,
        endpoint=record.incoming.endpoint.name,
        worker=decision.worker.id if decision else None,
        policy=decision.policy if decision else "",
        reason=decision.reason if decision else "",
        status=record.status,
        outcome=record.outcome,
        error=error.message if error else None,
        prompt_tokens=usage.prompt_tokens,
        completion_tokens=usage.completion_tokens,
        predicted_cached_tokens=round(decision.cached_tokens) if decision else None,
        cached_tokens=usage.cached_tokens,
        ttft_ms=round((first - record.arrived_at) * 1e3, 3) if first else None,
        duration_ms=round((ended - record.arrived_at) * 1e3, 3),
        attempts=record.attempts,
    )

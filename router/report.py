"""What becomes of a request afterwards: learning at once; metrics and its log line a little later, in batches."""

import logging
from collections.abc import Callable
from datetime import UTC, datetime
from time import perf_counter

from router.access.tenant import Ticket
from router.errors import Source
from router.exact import ExactPrompts
from router.fleet.fleet import Fleet
from router.journey import Journey
from router.lines import line_of, name_of, outcome_of
from router.prompt.identity import TokenIdentity
from router.proxy.relay import Relay
from router.proxy.sse import NO_USAGE, Usage, response_id_in, usage_in
from router.routing.affinity import ResponseHomes
from router.routing.learn import Learner
from router.telemetry.logs import RequestLine, RequestLog, Timestamps
from router.telemetry.metrics import TOKEN_BUCKETS_S, Histogram, Metrics, RouteSeries
from router.telemetry.routes import UNKNOWN
from router.traces.service import Traces

logger = logging.getLogger(__name__)

_BATCH = 256


class Reporter:
    """Concludes requests. `settle` counts and logs what has come together; its owner calls it every so often and
    before each scrape. `on_line` is told each line that was logged.
    """

    def __init__(
        self,
        fleet: Fleet,
        learner: Learner,
        exact: ExactPrompts,
        homes: ResponseHomes,
        metrics: Metrics,
        log: RequestLog,
    ) -> None:
        self._fleet = fleet
        self._learner = learner
        self._exact = exact
        self._homes = homes
        self._metrics = metrics
        self._log = log
        self._stamp = Timestamps()
        self.traces: Traces | None = None
        self.on_line: Callable[[RequestLine], object] = _ignore
        self._unseen = Histogram(TOKEN_BUCKETS_S)
        self._waiting: list[tuple[Journey, Usage]] = []

    def series(self, journey: Journey) -> RouteSeries:
        """Where the request is counted. Only models that workers serve, or did lately, become labels."""
        endpoint = journey.incoming.endpoint.name
        model = journey.model
        known = model if model and self._fleet.knows_model(model) else UNKNOWN
        return self._metrics.route(known, endpoint)

    def gaps(self, journey: Journey) -> Histogram:
        """Where pauses between its tokens are counted: nowhere if they are those of several answers that take turns."""
        return self._unseen if journey.request.mixed else self.series(journey).itl

    def degraded(self, journey: Journey) -> None:
        """Count a request that is routed with less than full knowledge."""
        first = journey.question.candidates[0]
        if first.target.service is not None:
            self._metrics.degraded["fallback"] += 1
        elif not first.serves:
            self._metrics.degraded["no_worker_up"] += 1
        elif not first.circuit.plain and first.circuit.open_for(journey.question.now):
            self._metrics.degraded["all_ejected"] += 1
        if not journey.request.prompt and journey.request.endpoint.generates:
            self._metrics.degraded["prompt_unknown"] += 1

    def retried(self, reason: str) -> None:
        """An attempt failed in a way that allowed another."""
        self._metrics.retries[reason] += 1

    def resumed(self, outcome: str) -> None:
        """An answer broke off: it was `resumed` elsewhere, `completed` here, or that was `impossible`."""
        self._metrics.resumed[outcome] += 1

    def first_token(self, journey: Journey) -> None:
        """An answer has begun: if it is a stream, then with a token that shows how fast the worker is."""
        relay, worker = journey.relay, journey.decision.worker.id
        assert relay is not None
        if relay.status == 200 and worker in journey.expected_at:  # who refuses has read nothing
            journey.expected_at.remove(worker)
            self._learner.begun(worker, journey.question.identity)
        learns = relay.status == 200 and journey.request.endpoint.generates
        if learns and relay.first_token_at:
            seconds = relay.first_token_at - journey.sent_at
            self._learner.first_token(journey.decision, seconds)

    def conclude(self, journey: Journey) -> None:
        """The request is over, however it ended."""
        relay, usage = journey.relay, NO_USAGE
        if relay is not None and relay.status == 200:
            usage = usage_in(relay.tail)
            try:
                if self._fleet.knows(
                    journey.decision.worker
                ):  # else it would be said of whoever comes there next
                    self._learn(journey, relay, usage)
            except Exception:  # the request is over; what it taught is lost, and nothing else
                logger.exception("learning from request %r failed", name_of(journey))
        self._end_expectations(journey)
        if journey.ticket is not None:
            journey.ticket.settle(*_spent(journey, journey.ticket, usage), journey.ended_at)
        if self.traces is not None:
            self.traces.concluded(journey)
        journey.forget()
        self._waiting.append((journey, usage))
        if len(self._waiting) >= _BATCH:
            self.settle()

    def _end_expectations(self, journey: Journey) -> None:
        answered = journey.relay is not None and journey.relay.status == 200 and _whole(journey)
        answered = answered and self._fleet.knows(journey.decision.worker)
        for worker in journey.expected_at:
            end = (
                self._learner.begun
                if answered and worker == journey.decision.worker.id
                else self._learner.over
            )
            end(worker, journey.question.identity)
        relay = journey.relay
        if journey.expected_at and relay is not None and relay.status >= 400:
            self._learner.refused(journey.decision, journey.question.identity)

    def settle(self) -> None:
        """Count and log the requests that have ended since. One that cannot be told of is lost alone."""
        waiting, self._waiting = self._waiting, []
        epoch = datetime.now(UTC).timestamp() - perf_counter()
        for journey, usage in waiting:
            try:
                self._tell(journey, usage, epoch)
            except Exception:  # else one request could keep all others out of the log
                logger.exception("request %r cannot be told of", name_of(journey))
        if self.traces is not None:
            self.traces.settle()

    def _tell(self, journey: Journey, usage: Usage, epoch: float) -> None:
        outcome = outcome_of(journey)
        self._count(journey, usage, outcome)
        line = line_of(journey, usage, outcome, self._stamp(epoch + journey.ended_at))
        self._log.write(line)
        self.on_line(line)
        if self.traces is not None:
            self.traces.write(journey, line, epoch)

    def _learn(self, journey: Journey, relay: Relay, usage: Usage) -> None:
        learner, request, identity = self._learner, journey.request, journey.question.identity
        decision = journey.decision
        if tokens := usage.completion_tokens or (relay.tokens if _whole(journey) else 0):
            learner.answer(tokens)
        if usage.prompt_tokens:
            if not relay.is_stream and request.endpoint.works and _whole(journey):
                seconds = journey.ended_at - journey.sent_at
                learner.unstreamed(decision, usage.completion_tokens or 0, seconds)
            learner.prompt_tokens(request, identity, usage.prompt_tokens)
            if isinstance(identity, TokenIdentity):
                counted = usage.prompt_tokens, usage.cached_tokens if request.audits else None
                self._exact.learn(request, identity, decision, counted, journey.sent_at)
            miscounted = (
                isinstance(identity, TokenIdentity) and identity.tokens != usage.prompt_tokens
            )
            if usage.cached_tokens is not None and request.audits and not miscounted:
                learner.cached_tokens(decision, identity, usage.cached_tokens, journey.sent_at)
            if usage.completion_tokens is not None:
                decision.worker.load.spent += usage.completion_tokens
                learner.answered(
                    decision.worker.id, identity, usage.prompt_tokens, usage.completion_tokens
                )
        if request.endpoint.stores and (response_id := response_id_in(relay.head)):
            self._homes.stored(response_id, decision.worker.id)

    def _count(self, journey: Journey, usage: Usage, outcome: str) -> None:
        series = self.series(journey)
        series.outcomes[outcome] += 1
        series.duration.observe(journey.ended_at - journey.arrived_at)
        if journey.incoming.tenant is not None:
            journey.incoming.tenant.outcomes[outcome] += 1
        if journey.queued_s:
            series.queue_wait.observe(journey.queued_s)
        error = journey.error
        if error is not None and error.status == 503 and error.source is Source.ROUTER:
            self._metrics.rejected[error.code] += 1
        relay = journey.relay
        self._count_tokens(journey, usage, outcome, series)
        if relay is not None and relay.first_token_at:
            series.ttft.observe(relay.first_token_at - journey.arrived_at)
            tokens = usage.completion_tokens or relay.tokens
            if tokens > 1 and relay.itl is not self._unseen:
                series.tpot.observe((relay.last_token_at - relay.first_token_at) / (tokens - 1))

    def _count_tokens(
        self, journey: Journey, usage: Usage, outcome: str, series: RouteSeries
    ) -> None:
        prompt, relay = usage.prompt_tokens or 0, journey.relay
        series.prompt_tokens += prompt
        series.completion_tokens += usage.completion_tokens or (relay.tokens if relay else 0)
        if journey.routed:
            counts = self._metrics.workers.counts(journey.decision.worker.id)
            counts.outcomes[outcome] += 1
            if journey.incoming.endpoint.generates:
                counts.prompt_tokens += prompt
                counts.cached_tokens += usage.cached_tokens or 0


def _whole(journey: Journey) -> bool:
    """The answer was given to its end."""
    return journey.error is None and not journey.cancelled


def _spent(journey: Journey, ticket: Ticket, usage: Usage) -> tuple[int, int]:
    """Tokens of prompt and answer that count: as the worker says, else as far as the request is known to have come.
    What a worker was given to do counts also when the client did not wait for it.
    """
    relay = journey.relay
    if not journey.incoming.endpoint.works:
        return 0, 0
    tokens = relay.tokens if relay is not None and relay.status == 200 else 0
    completion, prompt = usage.completion_tokens or 0, usage.prompt_tokens
    if not _whole(journey) or usage.completion_tokens is None:
        completion = max(completion, tokens)
    if prompt is None:
        answered = tokens or (relay is not None and relay.status == 200 and _whole(journey))
        began = answered or (journey.cancelled and journey.sent_at)
        prompt = round(ticket.charged) if began else 0
    return prompt, completion


def _ignore(line: RequestLine) -> None:
    del line

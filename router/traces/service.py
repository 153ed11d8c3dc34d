"""Notes what happens to requests for as long as they are under way, and has their spans exported once they have ended."""

from router.journey import Journey
from router.telemetry.logs import RequestLine
from router.telemetry.spans import SpanQueue
from router.telemetry.traceparent import TRACEPARENT
from router.telemetry.tracing import Attempt, Trace, Tracer
from router.traces.attributes import answer
from router.traces.spans import spans


class Traces:
    """What is told of requests to a collector. `scheme`: of the router's own URL."""

    def __init__(self, tracer: Tracer, queue: SpanQueue, *, scheme: str = "http") -> None:
        self._tracer = tracer
        self._queue = queue
        self._scheme = scheme

    def of(self, journey: Journey) -> Trace:
        """Its place in a trace."""
        trace = journey.trace
        if trace is None:
            trace = journey.trace = self._tracer.begin(
                journey.incoming.headers, told=TRACEPARENT in journey.incoming.by_name
            )
        return trace

    def attempt(self, journey: Journey, now: float) -> None:
        """A worker is about to be asked."""
        decision, address = journey.decision, journey.decision.worker.pool.address
        attempt = Attempt(decision.worker.id, address.host, address.port, now)
        attempt.reason, attempt.cached_tokens = decision.reason, round(decision.cached_tokens)
        self.of(journey).begin(attempt)

    def concluded(self, journey: Journey) -> None:
        """The request is over; its answer's beginning and end are about to be forgotten."""
        trace, relay = self.of(journey), journey.relay
        if trace.sampled and relay is not None and relay.status == 200:
            trace.answer = answer(relay.head, relay.tail)

    def write(self, journey: Journey, line: RequestLine, epoch: float) -> None:
        """Have its spans exported. `epoch`: seconds to add to its times."""
        trace = self.of(journey)
        if trace.sampled:
            self._queue.write(list(spans(journey, trace, line, self._scheme, epoch)))

    def settle(self) -> None:
        """Count spans that were lost since."""
        self._queue.tell()

    def close(self, timeout_s: float) -> None:
        """Have what is left exported, for so long at most. Blocks the thread."""
        self._queue.close(timeout_s)

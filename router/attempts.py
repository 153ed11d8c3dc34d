"""One attempt after another to have a request answered: lease, send, and what comes of it.

What happens is told by the worker's connection, so that an attempt needs a task only to open one.
"""

from collections.abc import Callable, Sequence
from time import perf_counter

from router.attempt_options import AttemptOptions
from router.errors import OUT_OF_TIME, RouterError, engine_died, no_worker, out_of_time
from router.fleet.lease import Lease
from router.fleet.passive import PassiveHealth
from router.fleet.ranks import RANK, rank_header
from router.fleet.worker import Worker
from router.index.knowledge import Knowledge
from router.journey import Journey
from router.passage import Passage
from router.proxy.downstream import Nobody
from router.proxy.relay import Relay
from router.proxy.retry import Attempted, Step, after_failure
from router.proxy.service import for_service, service_answer
from router.proxy.transcript import Transcript
from router.resumption import Resumption
from router.routing.dispatch import Dispatch
from router.routing.explain import told
from router.routing.intake import Intake
from router.upstream.connection import Connection
from router.upstream.headers import EXPLAIN, RequestLine, request_head
from router.upstream.limits import TimeLimits

REFUSED = no_worker("The workers that are left have refused the request.")


class Attempts:
    """Sends journeys to workers. `admit` decides anew where one goes, when another worker is to be tried."""

    def __init__(
        self,
        intake: Intake,
        index: Knowledge,
        dispatch: Dispatch,
        passage: Passage,
        health: PassiveHealth,
        options: AttemptOptions | None = None,
    ) -> None:
        self.admit: Callable[[Journey], None] = _nowhere
        self._intake = intake
        self._index = index
        self._dispatch = dispatch
        self._reporter = passage.reporter
        self._passage = passage
        self._health = health
        self.options = options = options or AttemptOptions()
        self._resumption = Resumption(passage.reporter, usually=options.resume)

    def set_options(self, options: AttemptOptions) -> None:
        """From now on these; requests under way keep those that they were sent with."""
        self.options = options
        self._resumption.usually = options.resume

    def start(self, journey: Journey) -> None:
        """Send it to the worker that was decided on."""
        worker, total_s = journey.decision.worker, journey.question.total_s
        now = perf_counter()
        if now - journey.arrived_at >= total_s:
            raise out_of_time(total_s)
        journey.lease = Lease(worker, journey.prefill(), now, self._dispatch.stir)
        journey.attempts += 1
        if self._reporter.traces is not None:
            self._reporter.traces.attempt(journey, now)
        connection = None if journey.fresh else worker.pool.take()
        if connection is not None:
            self._send(journey, connection)
        else:
            self._passage.begin_task(journey, lambda: self._connect_and_send(journey, worker))

    async def _connect_and_send(self, journey: Journey, worker: Worker) -> None:
        try:
            connection = await worker.pool.connect()
        except RouterError as error:
            journey.task = None
            self._failed(journey, error)
        else:
            journey.task = None
            self._send(journey, connection)

    def _send(self, journey: Journey, connection: Connection) -> None:
        incoming, worker = journey.incoming, journey.decision.worker
        relay = self._relay(journey, worker)
        line = RequestLine(
            incoming.method, worker.pool.address.prefix + incoming.target, journey.request_id
        )
        rank = rank_header(worker, incoming.by_name.get(RANK))
        headers = incoming.headers
        if journey.trace is not None:
            headers = journey.trace.sent(headers, perf_counter())
        body = journey.body
        if (service := worker.target.service) is not None:
            headers, body = for_service(service, headers, incoming.body, journey.model)
        head = request_head(line, worker.authority, headers, len(body), rank)
        if incoming.endpoint.generates:
            self._index.sent(worker.id, journey.question.identity)
            journey.expected_at.append(worker.id)
        journey.client.feed_from(connection)
        journey.connection = connection
        journey.sent_at = perf_counter()
        worker.budget.earn(self.options.retry_budget)
        connection.limit(self.options.of(incoming.endpoint.name), journey.arrived_at)
        connection.send(head, body, relay, is_head=incoming.method == b"HEAD")

    def _relay(self, journey: Journey, worker: Worker) -> Relay:
        """What is to handle the answer: as before where it goes on with one that had begun."""
        others = len(journey.question.candidates) > 1
        if journey.resumed:
            assert journey.relay is not None
            journey.relay.expect(may_refuse=True)
            return journey.relay
        added = [(b"x-request-id", journey.request_id), (b"x-router-worker", worker.wire_id)]
        if journey.incoming.by_name.get(EXPLAIN) == b"1":
            added += told(journey.decision, journey.queued_s)
        relay = journey.relay = Relay(
            journey.client,
            added,
            self._reporter.gaps(journey),
            lambda at: self._prefilled(journey, at),
            lambda error: self._ended(journey, error),
            self._transcript(journey, worker),
        )
        given = service_answer if worker.target.service else None
        generates = journey.incoming.endpoint.generates
        relay.expect(
            may_refuse=others, spare=worker.budget.enough, generates=generates, given=given
        )
        return relay

    def _transcript(self, journey: Journey, worker: Worker) -> Transcript | None:
        """Where the answer is written down, so that another worker can go on with it."""
        if not journey.request.stream or worker.target.service is not None:
            return None
        return self._resumption.transcript(journey)

    def finish(self, journey: Journey) -> bool:
        """Let an answer go on whose client left; False: there is none, or it is not wanted."""
        limits, relay = TimeLimits(total_s=self.options.abandoned_s), journey.relay
        if not limits.total_s or journey.connection is None or relay is None:
            return False
        journey.client.feed_from(None)
        journey.client = Nobody()
        relay.divert(journey.client)
        journey.connection.limit(limits, perf_counter())
        journey.connection.resume_reading()
        return True

    # -- what comes of it ----------------------------------------------------------------------

    def _prefilled(self, journey: Journey, at: float) -> None:
        """The answer has begun."""
        journey.lease.first_token(at)
        if journey.trace is not None:
            journey.trace.first_token(at)
        if not journey.resumed:
            self._reporter.first_token(journey)
        if journey.asked is None:
            journey.body = b""
            journey.request.shed()

    def _ended(self, journey: Journey, error: RouterError | None) -> None:
        """The worker's answer is whole, refused, or lost."""
        relay, worker, connection = journey.relay, journey.decision.worker, journey.connection
        journey.connection = None
        assert relay is not None
        if error is not None and connection is not None:  # it may still be at it
            connection.abort()
        if journey.cancelled:
            self._passage.conclude(journey)
        elif relay.refused:
            self._refused(journey, relay, worker)
        elif error is not None:
            self._failed(journey, error)
        else:
            if relay.failed:
                self._health.failed(worker, engine_died("ended its answer with an error"))
            elif relay.answered >= 400 or worker.circuit.troubled:
                self._health.answered(worker, relay.answered, relay.retry_after_s)
            self._passage.conclude(journey)

    def _refused(self, journey: Journey, relay: Relay, worker: Worker) -> None:
        self._health.answered(worker, relay.answered, relay.retry_after_s)
        if relay.drains:
            self._health.drains(worker)
        worker.budget.spend()
        if journey.trace is not None:
            journey.trace.failed("refused")
        if journey.given:
            self._resume(journey, engine_died(f"refused to go on ({relay.answered})"))
        else:
            self._retry(journey, Step.NEXT_WORKER, "refused", no_others=REFUSED)

    def _failed(self, journey: Journey, error: RouterError) -> None:
        """Try again for as long as that is safe, or go on elsewhere."""
        self._health.failed(journey.decision.worker, error)
        if journey.trace is not None:
            journey.trace.failed(error.code)
        if error.code == OUT_OF_TIME:
            self._passage.give_up(journey, error)
            return
        if journey.given:
            self._resume(journey, error)
            return
        step = after_failure(
            error,
            Attempted(
                started=journey.client.started and not journey.pinged,
                reconnected=journey.fresh,
                stores=journey.request.endpoint.stores,
                lost=journey.lost,
            ),
        )
        if step is Step.GIVE_UP:
            self._passage.give_up(journey, error)
            return
        if step is Step.START_OVER:
            journey.lost += 1
        self._retry(journey, step, step.value, no_others=error)

    def _retry(self, journey: Journey, step: Step, reason: str, no_others: RouterError) -> None:
        """Once more on a new connection, or through the queue to another worker, as old as it is."""
        journey.release()
        if step is Step.RECONNECT:
            self._again(journey, reason)
            journey.fresh = True
            self._passage.step(journey, self.start)
            return
        self._note_tried(journey, again=step is Step.START_OVER)
        self._elsewhere(journey, no_others, reason)

    def _resume(self, journey: Journey, error: RouterError) -> None:
        """Have another worker go on with an answer that the client has some of; else it ends with `error`."""
        journey.release()
        self._note_tried(journey, again=True)
        if self._resumption.complete(journey):
            self._passage.conclude(journey)
            return
        others = any(each.target.service is None for each in self._others(journey))
        end = self._resumption.go_on(journey, error, others=others)
        if end is not None:
            self._passage.give_up(journey, end)
        else:
            self._elsewhere(journey, error, "resumed")

    def _note_tried(self, journey: Journey, *, again: bool) -> None:
        """This worker was asked. `again`: if nobody is left, who broke off before may be well again."""
        question, worker = journey.question, journey.decision.worker
        question.tried = (*question.tried, worker)
        if again and not self._others(journey):
            question.tried = (worker,)

    def _elsewhere(self, journey: Journey, error: RouterError, reason: str) -> None:
        """Through the queue to a worker that was not tried; with `error` if there is none."""
        question, others = journey.question, self._others(journey)
        if not others:
            self._passage.give_up(journey, error)
            return
        self._again(journey, reason)
        question.candidates = others
        question.overlaps = self._dispatch.look_up(question.identity)
        question.now = perf_counter()
        self._passage.step(journey, self.admit)

    def _again(self, journey: Journey, reason: str) -> None:
        """There will be another attempt."""
        self._reporter.retried(reason)
        if journey.trace is not None:
            journey.trace.again(reason)

    def _others(self, journey: Journey) -> Sequence[Worker]:
        """Who could serve the request now and was not asked yet."""
        if journey.bound:
            return []
        try:
            workers = self._intake.able(journey.request)
        except RouterError:
            return []
        return journey.question.untried(workers)


def _nowhere(journey: Journey) -> None:
    raise AssertionError(f"nobody decides where {journey.request_id!r} goes")

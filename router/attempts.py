"""One attempt after another to have a request answered: lease, send, and what comes of it.

What happens is told by the worker's connection, so that an attempt needs a task only to open one.
"""

from collections.abc import Callable
from time import perf_counter

from router.errors import RouterError, no_worker
from router.fleet.fleet import Fleet
from router.fleet.lease import Lease
from router.fleet.ranks import RANK, rank_header
from router.fleet.worker import Worker
from router.index.knowledge import Knowledge
from router.journey import Journey
from router.passage import Passage
from router.proxy.relay import Relay
from router.proxy.retry import NO_REFUSALS, REFUSALS, UNREACHABLE, Step, after_failure
from router.report import Reporter
from router.routing.dispatch import Dispatch
from router.routing.explain import told
from router.routing.intake import Intake
from router.upstream.connection import Connection
from router.upstream.headers import EXPLAIN, RequestLine, request_head


class Attempts:
    """Sends journeys to workers. `admit` decides anew where one goes, when another worker is to be tried."""

    def __init__(
        self,
        fleet: Fleet,
        intake: Intake,
        index: Knowledge,
        dispatch: Dispatch,
        reporter: Reporter,
        passage: Passage,
    ) -> None:
        self.admit: Callable[[Journey], None] = _nowhere
        self._fleet = fleet
        self._intake = intake
        self._index = index
        self._dispatch = dispatch
        self._reporter = reporter
        self._passage = passage

    def start(self, journey: Journey) -> None:
        """Send it to the worker that was decided on."""
        worker = journey.decision.worker
        journey.lease = Lease(worker, journey.prefill(), perf_counter(), self._dispatch.stir)
        journey.attempts += 1
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
        incoming, worker, client = journey.incoming, journey.decision.worker, journey.client
        added = [(b"x-request-id", journey.request_id), (b"x-router-worker", worker.wire_id)]
        if incoming.by_name.get(EXPLAIN) == b"1":
            added += told(journey.decision, journey.queued_s)
        relay = journey.relay = Relay(
            client,
            added,
            REFUSALS if len(journey.question.candidates) > 1 else NO_REFUSALS,
            self._reporter.series(journey).itl,
            lambda at: self._prefilled(journey, at),
            lambda error: self._ended(journey, error),
        )
        line = RequestLine(
            incoming.method, worker.pool.address.prefix + incoming.target, journey.request_id
        )
        rank = rank_header(worker, incoming.by_name.get(RANK))
        head = request_head(line, worker.authority, incoming.headers, len(incoming.body), rank)
        if incoming.endpoint.generates:
            self._index.sent(worker.id, journey.question.identity)
            journey.expected_at.append(worker.id)
        client.feed_from(connection)
        journey.connection = connection
        journey.sent_at = perf_counter()
        connection.send(head, incoming.body, relay, is_head=incoming.method == b"HEAD")

    # -- what comes of it ----------------------------------------------------------------------

    def _prefilled(self, journey: Journey, at: float) -> None:
        """The answer has begun."""
        journey.lease.first_token(at)
        self._reporter.first_token(journey)

    def _ended(self, journey: Journey, error: RouterError | None) -> None:
        """The worker's answer is whole, refused, or lost."""
        journey.connection = None
        if journey.relay is not None and journey.relay.refused:
            self._retry(journey, Step.NEXT_WORKER, "refused")
        elif error is not None:
            self._failed(journey, error)
        else:
            self._passage.conclude(journey)

    def _failed(self, journey: Journey, error: RouterError) -> None:
        """Try again for as long as nobody can have started."""
        if error.code == UNREACHABLE:
            self._fleet.mark_down(journey.decision.worker, error.message)
        step = after_failure(
            error,
            journey.client.started,
            reconnected=journey.fresh,
            others=bool(self._others(journey)),
        )
        if step is Step.GIVE_UP:
            self._passage.give_up(journey, error)
        else:
            self._retry(journey, step, step.value)

    def _retry(self, journey: Journey, step: Step, reason: str) -> None:
        """Once more on a new connection, or through the queue to another worker, as old as it is."""
        self._reporter.retried(reason)
        journey.release()
        if step is Step.RECONNECT:
            journey.fresh = True
            self._passage.step(journey, self.start)
            return
        question, others = journey.question, self._others(journey)
        if not others:  # there was another when this one was sent
            self._passage.give_up(
                journey, no_worker("The workers that are left have refused the request.")
            )
            return
        question.tried = (*question.tried, journey.decision.worker)
        question.candidates = others
        question.overlaps = self._dispatch.look_up(question.identity)
        question.now = perf_counter()
        self._passage.step(journey, self.admit)

    def _others(self, journey: Journey) -> list[Worker]:
        """Who could serve the request now and was not asked yet."""
        if journey.bound:
            return []
        try:
            workers = self._intake.able(journey.request)
        except RouterError:
            return []
        asked = (*journey.question.tried, journey.decision.worker)
        return [worker for worker in workers if worker not in asked]


def _nowhere(journey: Journey) -> None:
    raise AssertionError(f"nobody decides where {journey.request_id!r} goes")

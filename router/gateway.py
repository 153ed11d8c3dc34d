"""A request's path: identify → candidates → look up → choose (or wait) → lease → send → relay → learn.

Knows no sockets and no server: the edge hands in a whole request and takes the answer's pieces. Nothing on
the way waits but finding out a prompt's tokens, where workers say what they hold, and what other routers know, where
there are some; the opening of a connection; and the queue while no worker has room, which calls back, so that a request
costs no task. What happens later is told by the worker's connection.
"""

import asyncio
import logging
from collections.abc import Callable, Coroutine
from time import perf_counter
from typing import Any

from msgspec.structs import replace

from router.errors import INTERNAL_ERROR, SHUTTING_DOWN, RouterError, no_worker
from router.fleet.fleet import Fleet
from router.fleet.lease import Lease
from router.fleet.ranks import RANK, rank_header
from router.fleet.worker import Worker
from router.index.knowledge import Knowledge
from router.journey import Journey
from router.prompt.request import Incoming, Request
from router.prompts import Prompts
from router.proxy.downstream import Downstream
from router.proxy.relay import Relay
from router.proxy.retry import NO_REFUSALS, REFUSALS, UNREACHABLE, Step, after_failure
from router.report import Reporter
from router.routing.dispatch import Dispatch
from router.routing.explain import told
from router.routing.intake import Intake
from router.routing.policy import Decision
from router.upstream.connection import Connection
from router.upstream.headers import EXPLAIN, RequestLine, request_head

logger = logging.getLogger(__name__)

_FAILED = "request %r failed"


class Gateway:
    """Serves requests over the fleet (`journey.Pilot`)."""

    def __init__(
        self,
        fleet: Fleet,
        intake: Intake,
        prompts: Prompts,
        index: Knowledge,
        dispatch: Dispatch,
        reporter: Reporter,
    ) -> None:
        self._fleet = fleet
        self._intake = intake
        self._prompts = prompts
        self._index = index
        self._dispatch = dispatch
        self._reporter = reporter
        self._tasks: dict[asyncio.Task[None], Journey] = {}

    def begin(self, incoming: Incoming, request_id: bytes, client: Downstream) -> Journey:
        """Set out to answer a request; every failure is told to the client."""
        journey = Journey(incoming, request_id, client)
        self._guard(journey, self._set_out)
        return journey

    def _set_out(self, journey: Journey) -> None:
        request = journey.request = Request(journey.incoming)
        journey.model = request.model
        if self._prompts.shared and (response_id := self._intake.unknown_home(request)):
            self._begin_task(journey, self._find_home(journey, response_id))
        else:
            self._ask(journey)

    async def _find_home(self, journey: Journey, response_id: str) -> None:
        """Another router may know who stores what the request refers to."""
        home = await self._prompts.home(response_id)
        journey.task = None
        if home is not None:
            self._intake.remember(response_id, home)
        self._guard(journey, self._ask)

    def _ask(self, journey: Journey) -> None:
        request = journey.request
        question, journey.bound = self._intake.question(request, journey.arrived_at)
        journey.question = question
        self._reporter.degraded(journey)
        if self._prompts.wanted(request, question.candidates, bound=bool(journey.bound)):
            self._begin_task(journey, self._identify(journey))
        else:
            self._admit(journey)

    async def _identify(self, journey: Journey) -> None:
        """Find out the prompt's tokens, and what other routers know of it; its text will do if that takes too long."""
        question = journey.question
        request, text = journey.request, question.identity
        found = await self._prompts.identity(request, text, question.candidates)
        journey.task = None
        question.identity = found
        self._guard(journey, self._identified)

    def _identified(self, journey: Journey) -> None:
        """The prompt is known as well as it will be; workers may have come and gone meanwhile."""
        question = journey.question
        question.overlaps = self._dispatch.look_up(question.identity)
        question.now = perf_counter()
        if not journey.bound:
            question.candidates = self._intake.able(journey.request)
        self._admit(journey)

    def refuse(
        self, incoming: Incoming, request_id: bytes, client: Downstream, error: RouterError
    ) -> None:
        """Answer a request that is not even read to its end."""
        self.give_up(Journey(incoming, request_id, client), error)

    def cancel(self, journey: Journey) -> None:
        """The client left: the worker's connection is closed, which ends its work."""
        if not journey.over:
            journey.cancelled = True
            self._conclude(journey)

    def close(self) -> None:
        """The router stops: requests that wait for whatever are told so."""
        self._dispatch.close(SHUTTING_DOWN)
        for journey in list(self._tasks.values()):
            if not journey.over:
                self.give_up(journey, SHUTTING_DOWN)

    # -- admission: now or later ---------------------------------------------------------------

    def _admit(self, journey: Journey) -> None:
        decision = self._dispatch.decide(
            journey.question, bound=journey.bound, works=journey.request.endpoint.works
        )
        if decision is not None:
            self.proceed(journey, decision)
            return
        journey.wait(self._dispatch, self)
        try:
            self._dispatch.wait(journey.question, journey)
        except RouterError:  # too many do
            journey.queue = None
            raise

    # -- an attempt: lease, send ---------------------------------------------------------------

    def proceed(self, journey: Journey, decision: Decision) -> None:
        """It is decided where the request goes."""
        worker = self._intake.meant(decision.worker, journey.request)
        if (
            worker is not decision.worker
        ):  # queues know servers of a model, not what a request says of ranks
            decision = replace(decision, worker=worker)
        journey.decision = decision
        self._guard(journey, self._try_worker)

    def _try_worker(self, journey: Journey) -> None:
        worker = journey.decision.worker
        journey.lease = Lease(worker, journey.prefill(), perf_counter(), self._dispatch.stir)
        journey.attempts += 1
        connection = None if journey.fresh else worker.pool.take()
        if connection is not None:
            self._send(journey, connection)
        else:
            self._begin_task(journey, self._connect_and_send(journey, worker))

    def _begin_task(self, journey: Journey, step: Coroutine[Any, Any, None]) -> None:
        task = journey.task = asyncio.get_running_loop().create_task(step)
        self._tasks[task] = journey
        task.add_done_callback(self._tasks.pop)

    async def _connect_and_send(self, journey: Journey, worker: Worker) -> None:
        try:
            connection = await worker.pool.connect()
            journey.task = None
            self._send(journey, connection)
        except RouterError as error:
            journey.task = None
            self._failed(journey, error)
        except Exception:
            logger.exception(_FAILED, journey.request_id)
            journey.task = None
            self.give_up(journey, INTERNAL_ERROR)

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
            self._conclude(journey)

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
            self.give_up(journey, error)
        else:
            self._retry(journey, step, step.value)

    def _retry(self, journey: Journey, step: Step, reason: str) -> None:
        """Once more on a new connection, or through the queue to another worker, as old as it is."""
        self._reporter.retried(reason)
        journey.release()
        if step is Step.RECONNECT:
            journey.fresh = True
            self._guard(journey, self._try_worker)
            return
        question, others = journey.question, self._others(journey)
        if not others:  # there was another when this one was sent
            self.give_up(journey, no_worker("The workers that are left have refused the request."))
            return
        question.tried = (*question.tried, journey.decision.worker)
        question.candidates = others
        question.overlaps = self._dispatch.look_up(question.identity)
        question.now = perf_counter()
        self._guard(journey, self._admit)

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

    def give_up(self, journey: Journey, error: RouterError) -> None:
        """End a journey with an error."""
        journey.error = error
        in_band = journey.relay is not None and journey.relay.open_ended
        journey.client.fail(error, in_band=in_band)
        self._conclude(journey)

    def _guard(self, journey: Journey, step: Callable[[Journey], None]) -> None:
        """Take a step; a defect of ours is an error for the client and a trace for the log."""
        try:
            step(journey)
        except RouterError as error:
            self.give_up(journey, error)
        except Exception:
            logger.exception(_FAILED, journey.request_id)
            if not journey.over:
                self.give_up(journey, INTERNAL_ERROR)

    def _conclude(self, journey: Journey) -> None:
        journey.end()
        self._reporter.conclude(journey)

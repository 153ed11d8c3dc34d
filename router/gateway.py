"""A request's path: identify → candidates → look up → choose → lease → send → relay → learn.

Knows no sockets and no server: the edge hands in a whole request and takes the answer's pieces. Nothing on
the way waits, unless a connection has to be opened: so a request costs no task. What happens later is told
by the worker's connection.
"""

import asyncio
import logging
from collections.abc import Sequence
from time import perf_counter

from router.errors import INTERNAL_ERROR, SHUTTING_DOWN, RouterError, unknown_worker
from router.fleet.fleet import Fleet
from router.fleet.lease import Lease
from router.fleet.load import PendingPrefill
from router.fleet.worker import Worker
from router.index.predicted import PredictedIndex
from router.journey import Journey
from router.prompt.endpoints import stored_response_id
from router.prompt.identity import TextIdentity
from router.prompt.request import Incoming, Request
from router.proxy.downstream import Downstream
from router.proxy.relay import Relay
from router.proxy.retry import NO_REFUSALS, REFUSALS, UNREACHABLE, Step, after_failure
from router.report import Reporter
from router.routing.affinity import ResponseHomes
from router.routing.chooser import Chooser
from router.upstream.connection import Connection
from router.upstream.headers import RequestLine, request_head

logger = logging.getLogger(__name__)


class Gateway:
    """Serves requests over the fleet."""

    def __init__(
        self,
        fleet: Fleet,
        identities: TextIdentity,
        index: PredictedIndex,
        chooser: Chooser,
        homes: ResponseHomes,
        reporter: Reporter,
    ) -> None:
        self._fleet = fleet
        self._identities = identities
        self._index = index
        self._chooser = chooser
        self._homes = homes
        self._reporter = reporter
        self._connecting: dict[asyncio.Task[None], Journey] = {}

    def begin(self, incoming: Incoming, request_id: bytes, client: Downstream) -> Journey:
        """Set out to answer a request; every failure is told to the client."""
        journey = Journey(incoming, request_id, client)
        try:
            self._prepare(journey)
        except RouterError as error:
            self._give_up(journey, error)
        except Exception:  # a defect of ours is an error for the client and a trace for the log
            logger.exception("request %r failed", journey.request_id)
            self._give_up(journey, INTERNAL_ERROR)
        else:
            self._attempt(journey)
        return journey

    def _prepare(self, journey: Journey) -> None:
        request = journey.request = Request(journey.incoming)
        journey.model = request.model
        journey.candidates = self._candidates(request)
        journey.identity = self._identities.identify(request)
        self._reporter.degraded(journey)
        journey.overlaps = self._chooser.look_up(journey.identity)

    def refuse(
        self, incoming: Incoming, request_id: bytes, client: Downstream, error: RouterError
    ) -> None:
        """Answer a request that is not even read to its end."""
        self._give_up(Journey(incoming, request_id, client), error)

    def cancel(self, journey: Journey) -> None:
        """The client left: the worker's connection is closed, which ends its work."""
        if not journey.over:
            journey.cancelled = True
            self._conclude(journey)

    def close(self) -> None:
        """The router stops: requests whose connection is still being opened are told so."""
        for journey in list(self._connecting.values()):
            if not journey.over:
                self._give_up(journey, SHUTTING_DOWN)

    # -- an attempt: choose, lease, send -------------------------------------------------------

    def _attempt(self, journey: Journey) -> None:
        try:
            self._try_worker(journey)
        except Exception:
            logger.exception("request %r failed", journey.request_id)
            self._give_up(journey, INTERNAL_ERROR)

    def _try_worker(self, journey: Journey) -> None:
        if not journey.again:
            journey.decision = self._chooser.choose(
                journey.request, journey.identity, journey.candidates, journey.overlaps
            )
        decision = journey.decision
        worker = decision.worker
        prefill = PendingPrefill(
            decision.prefill_s, decision.uncached_tokens, streams=journey.request.stream
        )
        journey.lease = Lease(worker, prefill)
        journey.attempts += 1
        connection = None if journey.fresh else worker.pool.take()
        if connection is not None:
            self._send(journey, connection)
        else:
            task = asyncio.get_running_loop().create_task(self._connect_and_send(journey, worker))
            journey.connecting = task
            self._connecting[task] = journey
            task.add_done_callback(self._connecting.pop)

    async def _connect_and_send(self, journey: Journey, worker: Worker) -> None:
        try:
            connection = await worker.pool.connect()
            journey.connecting = None
            self._send(journey, connection)
        except RouterError as error:
            journey.connecting = None
            self._failed(journey, error)
        except Exception:
            logger.exception("request %r failed", journey.request_id)
            journey.connecting = None
            self._give_up(journey, INTERNAL_ERROR)

    def _send(self, journey: Journey, connection: Connection) -> None:
        incoming, worker, client = journey.incoming, journey.decision.worker, journey.client
        relay = journey.relay = Relay(
            client,
            [(b"x-request-id", journey.request_id), (b"x-router-worker", worker.wire_id)],
            REFUSALS if len(journey.candidates) > 1 else NO_REFUSALS,
            self._reporter.series(journey).itl,
            journey.lease.first_token,
            lambda error: self._ended(journey, error),
        )
        line = RequestLine(
            incoming.method, worker.pool.address.prefix + incoming.target, journey.request_id
        )
        head = request_head(line, worker.authority, incoming.headers, len(incoming.body))
        if incoming.endpoint.generates:
            self._index.sent(worker.id, journey.identity)
        client.feed_from(connection)
        journey.connection = connection
        journey.sent_at = perf_counter()
        connection.send(head, incoming.body, relay, is_head=incoming.method == b"HEAD")

    # -- what comes of it ----------------------------------------------------------------------

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
        step = after_failure(
            error,
            journey.client.started,
            reconnected=journey.fresh,
            others=len(journey.candidates) > 1,
        )
        if error.code == UNREACHABLE:
            self._fleet.mark_down(journey.decision.worker, error.message)
        if step is Step.GIVE_UP:
            self._give_up(journey, error)
        else:
            self._retry(journey, step, step.value)

    def _retry(self, journey: Journey, step: Step, reason: str) -> None:
        self._reporter.retried(reason)
        journey.release()
        journey.again = step is Step.RECONNECT
        journey.fresh = journey.fresh or journey.again
        if not journey.again:
            tried = journey.decision.worker
            journey.candidates = [other for other in journey.candidates if other is not tried]
        self._attempt(journey)

    def _give_up(self, journey: Journey, error: RouterError) -> None:
        journey.error = error
        in_band = journey.relay is not None and journey.relay.open_ended
        journey.client.fail(error, in_band=in_band)
        self._conclude(journey)

    def _conclude(self, journey: Journey) -> None:
        journey.end()
        self._reporter.conclude(journey)

    # ------------------------------------------------------------------------------------------

    def _candidates(self, request: Request) -> Sequence[Worker]:
        """Who may serve the request: the worker it is pinned to, the one that stores what it refers to, or all
        that serve its model.
        """
        pinned = request.incoming.by_name.get(b"x-router-worker")
        if pinned is not None:
            worker = self._fleet.get(pinned.decode("latin-1"))
            if worker is None:
                raise unknown_worker(pinned.decode("latin-1"))
            return (worker,)
        candidates = self._fleet.candidates(request.model)
        if request.endpoint.stores:
            home = self._homes.find(
                request.previous_response_id or stored_response_id(request.incoming.path)
            )
            return [worker for worker in candidates if worker.id == home] or candidates
        return candidates

"""A request's path, in one line: identify → candidates → look up → choose → lease → send → relay → learn.

Knows no sockets and no server: the edge hands in a whole request and takes the answer's pieces.
"""

import asyncio
from collections.abc import Sequence
from time import perf_counter

from router.errors import RouterError, Source
from router.fleet.fleet import Fleet
from router.fleet.lease import Lease
from router.fleet.load import PendingPrefill
from router.fleet.worker import Worker
from router.ids import Headers
from router.index.predicted import PredictedIndex
from router.prompt.endpoints import stored_response_id
from router.prompt.identity import Identity, TextIdentity
from router.prompt.request import Request
from router.proxy.downstream import Downstream
from router.proxy.relay import Relay
from router.proxy.retry import NO_REFUSALS, REFUSALS, UNREACHABLE, Step, after_failure
from router.report import Record, Reporter
from router.routing.affinity import ResponseHomes
from router.routing.chooser import Chooser
from router.routing.policy import Decision
from router.upstream.headers import RequestLine, request_head


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

    async def serve(self, record: Record, client: Downstream) -> None:
        """Answer one request; every failure is told to the client. Cancelled when the client leaves."""
        try:
            request = record.request = Request(record.incoming)
            candidates = self._candidates(request)
            identity = record.identity = self._identities.identify(request)
            await self._route(record, client, request, identity, candidates)
        except RouterError as error:
            record.error = error
            client.fail(error)
        except asyncio.CancelledError:
            record.cancelled = True
            raise
        finally:
            self._reporter.conclude(record)

    def refuse(self, record: Record, client: Downstream, error: RouterError) -> None:
        """Answer a request that is not even read to its end."""
        record.error = error
        client.fail(error)
        self._reporter.conclude(record)

    async def _route(
        self,
        record: Record,
        client: Downstream,
        request: Request,
        identity: Identity,
        candidates: Sequence[Worker],
    ) -> None:
        """Try candidates, best first, for as long as nobody can have started."""
        overlaps = self._chooser.look_up(identity)
        fresh = False
        while True:
            decision = self._chooser.choose(request, identity, candidates, overlaps)
            others = [worker for worker in candidates if worker is not decision.worker]
            refusals = REFUSALS if others else NO_REFUSALS
            try:
                relay = await self._attempt(record, client, decision, refusals, fresh=fresh)
                if not relay.refused:
                    return
                reason = "refused"
            except RouterError as error:
                step = after_failure(error, client.started, reconnected=fresh, others=bool(others))
                if error.code == UNREACHABLE:
                    self._fleet.mark_down(decision.worker, error.message)
                if step is Step.GIVE_UP:
                    raise
                reason = step.value
            self._reporter.retried(reason)
            fresh = reason == Step.RECONNECT.value
            candidates = candidates if fresh else others

    async def _attempt(
        self,
        record: Record,
        client: Downstream,
        decision: Decision,
        refusals: frozenset[int],
        *,
        fresh: bool,
    ) -> Relay:
        """Send to one worker and relay what it answers. Raises `RouterError` when the answer breaks off."""
        incoming, worker = record.incoming, decision.worker
        assert record.request is not None
        assert record.identity is not None
        record.decision = decision
        record.attempts += 1
        prefill = PendingPrefill(
            decision.prefill_s, decision.uncached_tokens, streams=record.request.stream
        )
        with Lease(worker, prefill) as lease:
            itl = self._reporter.series(record).itl
            added: Headers = [
                (b"x-request-id", record.request_id.encode("latin-1")),
                (b"x-router-worker", worker.id.encode("ascii")),
            ]
            relay = record.relay = Relay(client, added, refusals, itl, lease.first_token)
            connection = None if fresh else worker.pool.take()
            if connection is None:
                connection = await worker.pool.connect()
            line = RequestLine(
                incoming.method, worker.pool.address.prefix + incoming.target, added[0][1]
            )
            head = request_head(line, worker.authority, incoming.headers, len(incoming.body))
            self._index.sent(worker.id, record.identity)
            client.feed_from(connection)
            record.sent_at = perf_counter()
            connection.send(head, incoming.body, relay, is_head=incoming.method == b"HEAD")
            try:
                await relay.done
            finally:
                client.feed_from(None)
                if not relay.ended:
                    connection.abort()
        if relay.error is not None:
            raise relay.error
        return relay

    def _candidates(self, request: Request) -> Sequence[Worker]:
        """Who may serve the request: the worker it is pinned to, the one that stores what it refers to, or all
        that serve its model.
        """
        pinned = request.incoming.header(b"x-router-worker")
        if pinned is not None:
            worker = self._fleet.get(pinned.decode("latin-1"))
            if worker is None:
                raise RouterError(
                    400,
                    "unknown_worker",
                    f"There is no worker {pinned.decode('latin-1')!r}; GET /workers lists them.",
                    source=Source.CLIENT,
                )
            return (worker,)
        candidates = self._fleet.candidates(request.model)
        home = self._homes.find(
            request.previous_response_id or stored_response_id(request.incoming.path)
        )
        return [worker for worker in candidates if worker.id == home] or candidates

"""One request on its way: everything known of it, filled in as it goes."""

import asyncio
from time import perf_counter
from typing import Protocol

from router.access.tenant import Ticket
from router.errors import RouterError
from router.fleet.lease import Lease
from router.fleet.load import PendingPrefill
from router.ids import WorkerId
from router.prompt.request import Incoming, Request
from router.proxy.downstream import Downstream
from router.proxy.relay import Relay
from router.proxy.resume import Asked
from router.routing.policy import Decision, Question
from router.telemetry.tracing import Trace
from router.upstream.connection import Connection


class Queue(Protocol):
    """Where a journey waits."""

    def withdraw(self, waiter: "Journey") -> None:
        """It waits no longer."""


class Pilot(Protocol):
    """Who goes on with a journey that has waited."""

    def proceed(self, journey: "Journey", decision: Decision) -> None:
        """Send it."""

    def give_up(self, journey: "Journey", error: RouterError) -> None:
        """End it with an error."""


class Journey:
    """From a request's arrival to its end (`routing.policy.Waiter`).

    `request`, `question`, `decision` and `lease` are there once the gateway has come so far; `queue` while it
    waits for a worker; `relay` and `connection` belong to the running attempt, `task` to a step that takes time.
    `bound`: why no other worker will do, empty when any will. `expected_at`: workers that the prompt was sent to
    and that have not begun to answer. `fresh`: a kept-alive connection failed, only new ones are used from now on. Times are
    `perf_counter` seconds; 0.0: not reached. `waits`: for a worker, from when to when; `queued_s`: in all. `trace`: None where requests are not traced. `body`: what the next worker is sent.
    `lost`: workers that broke off before the client had anything; `resumed`: times that an answer went on elsewhere;
    `asked`: what it takes for that, else `unresumable` says why it cannot. `pinged`: the client has the head of a stream, and comments.
    """

    __slots__ = (
        "_pilot",
        "_waiting_since",
        "arrived_at",
        "asked",
        "attempts",
        "body",
        "bound",
        "cancelled",
        "client",
        "connection",
        "decision",
        "ended_at",
        "error",
        "expected_at",
        "fresh",
        "incoming",
        "lease",
        "lost",
        "model",
        "pinged",
        "question",
        "queue",
        "queued_s",
        "relay",
        "request",
        "request_id",
        "resumed",
        "sent_at",
        "task",
        "ticket",
        "trace",
        "unresumable",
        "waits",
    )

    request: Request
    question: Question
    decision: Decision
    lease: Lease
    _pilot: Pilot
    _waiting_since: float

    def __init__(self, incoming: Incoming, request_id: bytes, client: Downstream) -> None:
        self.incoming = incoming
        self.request_id = request_id
        self.client = client
        self.arrived_at = perf_counter()
        self.sent_at = 0.0
        self.ended_at = 0.0
        self.queued_s = 0.0
        self.attempts = 0
        self.lost = 0
        self.resumed = 0
        self.asked: Asked | None = None
        self.unresumable = ""
        self.pinged = False
        self.body = incoming.body
        self.bound = ""
        self.fresh = False
        self.cancelled = False
        self.model: str | None = None
        self.queue: Queue | None = None
        self.relay: Relay | None = None
        self.connection: Connection | None = None
        self.task: asyncio.Task[None] | None = None
        self.ticket: Ticket | None = None
        self.expected_at: list[WorkerId] = []
        self.waits: tuple[tuple[float, float], ...] = ()
        self.trace: Trace | None = None
        self.error: RouterError | None = None

    @property
    def over(self) -> bool:
        """The journey has ended."""
        return self.ended_at > 0.0

    @property
    def routed(self) -> bool:
        """A worker was chosen."""
        return self.attempts > 0

    @property
    def given(self) -> bool:
        """The client has some of an answer, which another worker could only go on with."""
        relay = self.relay
        return relay is not None and relay.begun and not (self.pinged and not relay.head)

    def prefill(self) -> PendingPrefill:
        """What the request adds to its worker's work."""
        if not self.request.endpoint.works:
            return PendingPrefill(0.0, 0.0, streams=False)
        decision = self.decision
        return PendingPrefill(
            decision.prefill_s,
            decision.uncached_tokens,
            self.question.identity.tokens,
            streams=self.request.stream,
        )

    # -- waiting for a worker ------------------------------------------------------------------

    def wait(self, queue: Queue, pilot: Pilot) -> None:
        """It is about to be put into `queue`; `pilot` goes on when that is over."""
        self.queue = queue
        self._pilot = pilot
        self._waiting_since = perf_counter()

    def go(self, decision: Decision) -> None:
        """It is this one's turn."""
        self._waited()
        self._pilot.proceed(self, decision)

    def turn_away(self, error: RouterError) -> None:
        """It waited for nothing."""
        self._waited()
        self._pilot.give_up(self, error)

    def _waited(self) -> None:
        self.queue = None
        now = perf_counter()
        self.queued_s += now - self._waiting_since
        self.waits = (*self.waits, (self._waiting_since, now))

    # -- letting go ----------------------------------------------------------------------------

    def release(self) -> None:
        """Give back what the running attempt holds, or the place in the queue."""
        if self.queue is not None:
            self.queue.withdraw(self)
            self._waited()
        if self.task is not None:
            self.task.cancel()
            self.task = None
        if self.connection is not None:
            self.connection.abort()
            self.connection = None
        if self.attempts:
            now = perf_counter()
            self.lease.release(now)
            if self.trace is not None:
                self.trace.ended(now, self.relay.answered if self.relay is not None else 0)

    def forget(self) -> None:
        """Let go of all that is large or points back here; keep what counts and logs need.

        Without cycles a request's memory is free at once, and not when the collector comes by.
        """
        self.incoming.body = self.body = b""
        self.asked = None
        del self.client
        if self.relay is not None:
            self.relay.forget()
        if self.attempts:
            del self.request, self.question, self.lease

    def end(self) -> None:
        """Whatever way it ended: nothing is held any more."""
        self.release()
        if self.ticket is not None:
            self.ticket.release()
        self.client.feed_from(None)
        self.ended_at = perf_counter()

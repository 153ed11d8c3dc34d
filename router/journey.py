"""One request on its way: everything known of it, filled in as it goes."""

import asyncio
from collections.abc import Mapping, Sequence
from time import perf_counter

from router.errors import RouterError
from router.fleet.lease import Lease
from router.fleet.worker import Worker
from router.ids import WorkerId
from router.prompt.identity import Identity
from router.prompt.request import Incoming, Request
from router.proxy.downstream import Downstream
from router.proxy.relay import Relay
from router.routing.policy import Decision
from router.upstream.connection import Connection


class Journey:
    """From a request's arrival to its end.

    `request`, `identity`, `decision` and `lease` are there once the gateway has come so far; `relay`,
    `connection` and `connecting` belong to the running attempt. `fresh`: a kept-alive connection failed, only
    new ones are used from now on; `again`: the next attempt goes to the same worker. Times are `perf_counter` seconds; 0.0: not reached.
    """

    __slots__ = (
        "again",
        "arrived_at",
        "attempts",
        "cancelled",
        "candidates",
        "client",
        "connecting",
        "connection",
        "decision",
        "ended_at",
        "error",
        "fresh",
        "identity",
        "incoming",
        "lease",
        "model",
        "overlaps",
        "relay",
        "request",
        "request_id",
        "sent_at",
    )

    request: Request
    identity: Identity
    decision: Decision
    lease: Lease
    candidates: Sequence[Worker]
    overlaps: Mapping[WorkerId, int]

    def __init__(self, incoming: Incoming, request_id: bytes, client: Downstream) -> None:
        self.incoming = incoming
        self.request_id = request_id
        self.client = client
        self.arrived_at = perf_counter()
        self.sent_at = 0.0
        self.ended_at = 0.0
        self.attempts = 0
        self.again = False
        self.fresh = False
        self.cancelled = False
        self.model: str | None = None
        self.relay: Relay | None = None
        self.connection: Connection | None = None
        self.connecting: asyncio.Task[None] | None = None
        self.error: RouterError | None = None

    @property
    def over(self) -> bool:
        """The journey has ended."""
        return self.ended_at > 0.0

    @property
    def routed(self) -> bool:
        """A worker was chosen."""
        return self.attempts > 0

    def release(self) -> None:
        """Give back what the running attempt holds."""
        if self.connecting is not None:
            self.connecting.cancel()
            self.connecting = None
        if self.connection is not None:
            self.connection.abort()
            self.connection = None
        if self.attempts:
            self.lease.release()

    def forget(self) -> None:
        """Let go of all that is large or points back here; keep what counts and logs need.

        Without cycles a request's memory is free at once, and not when the collector comes by.
        """
        self.incoming.body = b""
        del self.client
        self.overlaps = {}
        if self.relay is not None:
            self.relay.forget()
        if self.attempts:
            del self.request, self.identity, self.lease

    def end(self) -> None:
        """Whatever way it ended: nothing is held any more."""
        self.release()
        self.client.feed_from(None)
        self.ended_at = perf_counter()

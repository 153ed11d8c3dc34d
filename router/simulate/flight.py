"""Who asks in a simulation, and what is under way."""

from collections.abc import Callable

from router.errors import RouterError
from router.fleet.lease import Lease
from router.prompt.identity import Identity, TokenIdentity
from router.routing.policy import Decision
from router.simulate.brain import MODEL
from router.simulate.job import Job
from router.simulate.workload import Call, Session


class Caller:
    """A session under way."""

    __slots__ = ("left", "session", "step")

    def __init__(self, session: Session) -> None:
        self.session = session
        self.step = 0
        self.left = 0


class Flight:
    """A call under way (`policy.Waiter`, and what policies read of a request). `router`: the number of its router."""

    __slots__ = (
        "_send",
        "arrived_at",
        "call",
        "caller",
        "decision",
        "first_at",
        "identity",
        "job",
        "lease",
        "model",
        "router",
        "sent_at",
        "session",
    )

    decision: Decision
    lease: Lease

    def __init__(
        self,
        send: Callable[["Flight", Decision], None],
        caller: Caller,
        call: Call,
        now: float,
        block: int,
        router: int = 0,
    ) -> None:
        self._send = send
        self.caller = caller
        self.call = call
        self.arrived_at = now
        self.model: str | None = MODEL
        self.session = caller.session.name
        self.router = router
        self.identity: Identity = TokenIdentity.of(call.blocks, call.prompt_tokens, block)
        self.first_at = 0.0
        self.sent_at = 0.0
        self.job: Job | None = None

    def go(self, decision: Decision) -> None:
        """It is sent."""
        self._send(self, decision)

    def turn_away(self, error: RouterError) -> None:
        """Never in a simulation: its queue is unlimited."""
        raise error

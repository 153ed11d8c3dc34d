"""A request's path: identify → candidates → look up → choose (or wait) → lease → send → relay → learn.

Knows no sockets and no server: the edge hands in a whole request and takes the answer's pieces. Nothing on
the way waits but finding out a prompt's tokens, where workers say what they hold, and what other routers know, where
there are some; the opening of a connection; and the queue while no worker has room, which calls back, so that a request
costs no task. What happens later is told by the worker's connection.
"""

from time import perf_counter

from msgspec.structs import replace

from router.access.tenant import Tenant
from router.attempts import Attempts
from router.errors import NOBODY_GOES_ON, SHUTTING_DOWN, RouterError
from router.journey import Journey
from router.keepalive import KeepAlive
from router.passage import Passage
from router.prompt.caller import tell_worker
from router.prompt.request import Incoming, Request
from router.prompts import Prompts
from router.proxy.downstream import Downstream
from router.routing.dispatch import Dispatch
from router.routing.intake import Intake
from router.routing.policy import Decision


class Gateway:
    """Serves requests over the fleet (`journey.Pilot`)."""

    def __init__(
        self,
        intake: Intake,
        prompts: Prompts,
        dispatch: Dispatch,
        attempts: Attempts,
        passage: Passage,
        keep_alive: KeepAlive,
    ) -> None:
        self._intake = intake
        self._prompts = prompts
        self._dispatch = dispatch
        self._reporter = passage.reporter
        self._attempts = attempts
        self._passage = passage
        self._keep_alive = keep_alive
        attempts.admit = self._admit

    def begin(self, incoming: Incoming, request_id: bytes, client: Downstream) -> Journey:
        """Set out to answer a request; every failure is told to the client."""
        journey = Journey(incoming, request_id, client)
        self._passage.step(journey, self._set_out)
        return journey

    def _set_out(self, journey: Journey) -> None:
        request = journey.request = Request(journey.incoming)
        journey.model = request.model
        if journey.incoming.tenant is not None:
            self._enter(journey, journey.incoming.tenant)
        if request.stream:
            self._keep_alive.watch(journey)
        if self._prompts.shared and (response_id := self._intake.unknown_home(request)):
            self._passage.begin_task(journey, lambda: self._find_home(journey, response_id))
        else:
            self._ask(journey)

    def _enter(self, journey: Journey, tenant: Tenant) -> None:
        """The tenant's quotas have to allow it."""
        request = journey.request
        tell_worker(request)
        journey.ticket = tenant.admit(request.model, journey.arrived_at, runs=request.runs_a_model)

    async def _find_home(self, journey: Journey, response_id: str) -> None:
        """Another router may know who stores what the request refers to."""
        home = await self._prompts.home(response_id)
        journey.task = None
        if home is not None:
            self._intake.remember(response_id, home)
        self._passage.step(journey, self._ask)

    def _ask(self, journey: Journey) -> None:
        request = journey.request
        question, journey.bound = self._intake.question(request, journey.arrived_at)
        question.total_s = self._attempts.options.of(request.endpoint.name).total_s
        journey.question = question
        if journey.ticket is not None and request.endpoint.works:
            journey.ticket.charge(question.identity.tokens, journey.arrived_at)
        self._reporter.degraded(journey)
        if self._prompts.wanted(request, question.candidates, bound=bool(journey.bound)):
            self._passage.begin_task(journey, lambda: self._identify(journey))
        else:
            self._admit(journey)

    async def _identify(self, journey: Journey) -> None:
        """Find out the prompt's tokens, and what other routers know of it; its text will do if that takes too long."""
        question = journey.question
        request, text = journey.request, question.identity
        found = await self._prompts.identity(request, text, question.candidates)
        journey.task = None
        question.identity = found
        self._passage.step(journey, self._identified)

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
        """The client left: the worker's connection is closed, which ends its work; or that is let go on, if so configured,
        for the sake of what it leaves in the cache.
        """
        if not journey.over:
            journey.cancelled = True
            if not self._attempts.finish(journey):
                self._passage.conclude(journey)

    def close(self) -> None:
        """The router stops: requests that wait for whatever are told so."""
        self._dispatch.close(SHUTTING_DOWN)
        self._passage.close(SHUTTING_DOWN)

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

    def proceed(self, journey: Journey, decision: Decision) -> None:
        """It is decided where the request goes."""
        if journey.resumed and decision.worker.target.service is not None:
            self._reporter.resumed("impossible")  # the last worker went while it waited
            self.give_up(journey, NOBODY_GOES_ON)
            return
        worker = self._intake.meant(decision.worker, journey.request)
        if (
            worker is not decision.worker
        ):  # queues know servers of a model, not what a request says of ranks
            decision = replace(decision, worker=worker)
        journey.decision = decision
        self._passage.step(journey, self._attempts.start)

    def give_up(self, journey: Journey, error: RouterError) -> None:
        """End a journey with an error."""
        self._passage.give_up(journey, error)

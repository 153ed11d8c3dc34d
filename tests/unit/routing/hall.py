"""A queue before workers that do what they are sent, and short ways to wait in it."""

from collections.abc import Callable, Sequence
from types import SimpleNamespace
from typing import Any

from router.errors import RouterError, no_worker
from router.fleet.lease import Lease
from router.fleet.load import PendingPrefill
from router.fleet.worker import Worker
from router.index.union import UnionIndex
from router.prompt.identity import TokenIdentity
from router.routing.chooser import Chooser
from router.routing.cost import CostModel, Rates
from router.routing.options import QueueOptions
from router.routing.policy import Decision, Question
from router.routing.queue import LateBinding
from router.telemetry.metrics import Histogram
from tests.unit.routing.table import BLOCK, NOW, prompt
from tests.unit.support import workers_of

ROOM = 1000.0
"""Tokens."""

Then = Callable[["Asked"], None]


class Asked:
    """A request (`routing.policy.Waiter`): takes its lease when it is sent, then does what `then` says.

    `told` has what it was told, in order; `waits`: how often it was admitted; `running`: its lease is held.
    """

    def __init__(self, hall: "Hall", question: Question, then: Then | None = None) -> None:
        self.hall = hall
        self.question = question
        self.then = then
        self.told: list[Decision | RouterError] = []
        self.lease: Lease | None = None
        self.waits = 0
        self.running = False

    def go(self, decision: Decision) -> None:
        self.told.append(decision)
        self.hall.sent.append(self)
        self.hall.check_room(decision)
        prefill = PendingPrefill(
            decision.prefill_s,
            decision.uncached_tokens,
            self.question.identity.tokens,
            streams=True,
        )
        self.lease, self.running = Lease(decision.worker, prefill, self.hall.now), True
        self.hall.index.sent(decision.worker.id, self.question.identity)
        if self.then is not None:
            self.then(self)

    def turn_away(self, error: RouterError) -> None:
        self.told.append(error)
        if self.then is not None:
            self.then(self)

    @property
    def worker(self) -> Worker | None:
        """Where it was sent last."""
        decision = self.told[-1] if self.told else None
        return decision.worker if isinstance(decision, Decision) else None

    @property
    def error(self) -> str | None:
        """Why it was turned away."""
        error = self.told[-1] if self.told else None
        return error.code if isinstance(error, RouterError) else None

    @property
    def waiting(self) -> bool:
        """It has not been told anything yet."""
        return len(self.told) < self.waits

    def first_token(self) -> None:
        """Its prefill is over."""
        assert self.lease is not None
        self.lease.first_token(self.hall.now)
        self.hall.drain()

    def end(self) -> None:
        """It is answered."""
        self._release()
        self.hall.drain()

    def refused(self) -> Worker:
        """Its worker does not take it: which one."""
        worker = self.worker
        assert worker is not None
        self._release()
        self.hall.index.settled(worker.id, self.question.identity)
        return worker

    def _release(self) -> None:
        assert self.lease is not None
        self.lease.release(self.hall.now)
        self.running = False


class Hall:
    """A queue before workers `names`, each with room for 1000 tokens at a time unless `options` say otherwise.

    Nobody's metrics are known. `sent` has the requests that were sent, in order.
    """

    def __init__(self, *names: str, **options: Any) -> None:
        self.all = workers_of(*(names or ("a", "b")))
        self.up: Sequence[Worker] = list(self.all)
        self.serving: dict[str | None, Sequence[Worker]] = {}
        self.index, self.cost = UnionIndex(), CostModel(Rates())
        chooser = Chooser(self.index, self.cost, Histogram((1.0,)))
        self.options = QueueOptions(**{"room_tokens": ROOM} | options)
        self.queue = LateBinding(chooser, self.candidates, self.options, seed=1)
        self.waited: list[float] = []
        self.queue.on_leave = self.waited.append
        self.sent: list[Asked] = []
        self.now = NOW

    def candidates(self, model: str | None) -> Sequence[Worker]:
        """Whoever is up serves every model that `serving` does not name."""
        workers = self.serving.get(model, self.up)
        if not workers:
            raise no_worker("None is up.")
        return workers

    def check_room(self, decision: Decision) -> None:
        """Nothing is sent to a worker without room, or that is not there."""
        load = decision.worker.load
        assert load.pending_tokens(self.now) < self.options.room_tokens
        assert load.inflight + load.foreign < self.options.max_inflight
        assert decision.worker in self.up

    # -- requests ------------------------------------------------------------------------------

    def question(
        self, *parts: int, blocks: int = 10, model: str = "m", tenant: str = "", priority: int = 0
    ) -> Question:
        """A request that arrives now."""
        identity = TokenIdentity.of(
            list(prompt(*parts, blocks=blocks)), max(1, blocks) * BLOCK, BLOCK
        )
        asking = SimpleNamespace(model=model, session=None)
        workers, overlaps = self.serving.get(model, self.up), self.index.lookup(identity)
        return Question(asking, identity, workers, overlaps, self.now, self.now, tenant, priority)

    def offer(self, *parts: int, **rest: Any) -> Decision | None:
        """What a request that arrives now is told."""
        return self.queue.offer(self.question(*parts, **rest))

    def ask(self, *parts: int, then: Then | None = None, **rest: Any) -> Asked:
        """A request arrives; it waits if it has to."""
        asked = Asked(self, self.question(*parts, **rest), then)
        self.admit(asked)
        return asked

    def admit(self, asked: Asked) -> None:
        """As the gateway does."""
        asked.waits += 1
        decision = self.queue.offer(asked.question)
        if decision is not None:
            asked.go(decision)
            return
        try:
            self.queue.wait(asked.question, asked)
        except RouterError:
            asked.waits -= 1
            raise

    def retry(self, asked: Asked) -> None:
        """Its worker refused it: another one, if there is one."""
        question = asked.question
        question.tried = (*question.tried, asked.refused())
        question.candidates = [each for each in self.up if each not in question.tried] or self.up
        question.overlaps, question.now = self.index.lookup(question.identity), self.now
        self.admit(asked)

    # -- time ----------------------------------------------------------------------------------

    def drain(self, after: float = 0.0) -> None:
        """Something changed, or `after` seconds pass."""
        self.now += after
        self.queue.drain(self.now)

    def expire(self, after: float = 0.0) -> None:
        """Who has waited too long by then is turned away."""
        self.now += after
        self.queue.expire(self.now)

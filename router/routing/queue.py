"""Late binding: a request is bound to a worker when that worker has room for it, and waits here until then.

In an engine's queue a request could not move any more; here it takes whatever worker serves it first, and the
shortest uncached work goes first. A worker has room while the prefill that was sent to it is less than what
its scheduler takes in one step: so it never idles, and never holds what another could have begun.
"""

import random
from collections.abc import Callable, Sequence
from itertools import islice
from math import inf

import msgspec

from router.errors import RouterError, queue_full, waited_too_long
from router.fleet.worker import Worker
from router.routing.chooser import Chooser
from router.routing.lane import Lane, Ticket
from router.routing.policy import Choice, Decision, Question, Waiter
from router.routing.pricing import Prices

SCAN = 128
"""How many of the waiting are looked at when there is room."""

REFRESH_S = 0.2
"""Age at which what is known of a waiting prompt's caches is looked up anew."""

_OTHERS = 16
_NEVER_BELOW = 0.25


class QueueOptions(msgspec.Struct, frozen=True):
    """`room_tokens`: uncached prompt tokens that a worker is sent at a time, best its `max_num_batched_tokens`;
    `max_inflight`: its `max_num_seqs`; `kv_limit`: KV cache usage above which it gets nothing new. `ageing`:
    seconds of work that a second of waiting is worth. `limit`, `timeout_s`: who waits beyond is turned away.
    """

    room_tokens: float = 8192.0
    max_inflight: int = 1024
    kv_limit: float = 0.95
    ageing: float = 0.005
    limit: int = 10_000
    timeout_s: float = 120.0


class LateBinding:
    """The policy `prefix` (`policy.Admission`): lowest cost over all workers that are up, whether they have room
    or not; sent when that one has room and nobody before it waits for the same.

    `candidates` gives the workers that can serve a model. `observe` is told how long each waited.
    """

    name = "prefix"

    def __init__(
        self,
        chooser: Chooser,
        candidates: Callable[[str | None], Sequence[Worker]],
        options: QueueOptions | None = None,
        *,
        seed: int | None = None,
    ) -> None:
        self.options = options or QueueOptions()
        self.on_leave: Callable[[float], None] = _ignore
        self._chooser = chooser
        self._cost = chooser.cost
        self._candidates = candidates
        self._random = random.Random(seed)  # noqa: S311 - ties, not secrets
        self._lanes: dict[str | None, Lane] = {}
        self._tickets: dict[Waiter, Ticket] = {}
        self._number = 0
        self._draining = False
        self._stirred = False

    def __len__(self) -> int:
        return len(self._tickets)

    # -- arrivals ------------------------------------------------------------------------------

    def offer(self, question: Question) -> Decision | None:
        """At once while nobody waits for this model and the best worker has room."""
        lane = self._lanes.get(question.request.model)
        if lane is not None and lane.tickets:
            return None
        workers, now = question.candidates, question.now
        places = {worker.id: place for place, worker in enumerate(workers)}
        prices = Prices(workers, places, self._cost, now)
        place = self._best(prices.of(question.identity, question.overlaps))
        if not self.has_room(workers[place], now):
            return None
        return self._decide(question, workers[place])

    def wait(self, question: Question, waiter: Waiter) -> None:
        """Take a place in the queue; it may be this one's turn at once."""
        if len(self._tickets) >= self.options.limit:
            raise queue_full(self.options.limit, self._retry_after())
        lane = self._lanes.setdefault(question.request.model, Lane())
        ticket = Ticket(question, waiter, self._number)
        self._number += 1
        lane.set_workers(self._candidates(question.request.model))
        ticket.key = self._key(ticket, Prices(lane.workers, lane.places, self._cost, question.now))
        lane.add(ticket)
        self._tickets[waiter] = ticket
        self.drain(question.now)

    def withdraw(self, waiter: Waiter) -> None:
        """It waits no longer."""
        ticket = self._tickets.pop(waiter, None)
        if ticket is not None:
            self._lanes[ticket.question.request.model].remove(ticket)

    # -- departures ----------------------------------------------------------------------------

    def drain(self, now: float) -> None:
        """Send whoever can be sent. What that sets off is taken up after."""
        self._stirred = True
        if self._draining or not self._tickets:
            return
        self._draining = True
        try:
            while self._stirred:
                self._stirred = False
                for model, lane in list(self._lanes.items()):
                    self._drain_lane(model, lane, now)
        finally:
            self._draining = False

    def _drain_lane(self, model: str | None, lane: Lane, now: float) -> None:
        if not lane.tickets:
            del self._lanes[model]
            return
        try:
            lane.set_workers(self._candidates(model))
        except RouterError as error:
            for ticket in list(lane.tickets):
                self._turn_away(ticket, error)
            return
        while lane.tickets and self._pass(lane, now):
            pass

    def _pass(self, lane: Lane, now: float) -> bool:
        """Look at the first in order, each with the reservations of those before it. True: look again."""
        rooms = [self.has_room(worker, now) for worker in lane.workers]
        if True not in rooms:
            return False
        prices = Prices(lane.workers, lane.places, self._cost, now)
        reserved = [False] * len(rooms)
        for ticket in self._front(lane, prices, now):
            question = ticket.question
            place = self._best(_costs(question, prices))
            own = prices.prefill_s(place, question.identity, question.overlaps)
            if not rooms[place] or reserved[place]:
                prices.base[place] += own
                reserved[place] = True
                continue
            fair = lane.shared
            self._send(lane, ticket, lane.workers[place], own, now)
            if fair or self._stirred:
                return True
            prices.update(place, self._cost, now)
            rooms[place] = self.has_room(lane.workers[place], now)
            if True not in rooms:
                return False
        return False

    def _send(self, lane: Lane, ticket: Ticket, worker: Worker, own: float, now: float) -> None:
        question = ticket.question
        lane.remove(ticket)
        del self._tickets[ticket.waiter]
        lane.charge(question.tenant, own / len(lane.workers))
        question.now = now
        question.candidates = _untried(question, lane.workers)
        self.on_leave(now - question.arrived_at)
        ticket.waiter.go(self._decide(question, worker))

    def _decide(self, question: Question, worker: Worker) -> Decision:
        reason = "cached" if worker.id in question.overlaps else "least_wait"
        return self._chooser.expect(self.name, Choice(worker, reason), question)

    # -- judgement -----------------------------------------------------------------------------

    def has_room(self, worker: Worker, now: float) -> bool:
        """The worker would begin with another request soon."""
        load, options = worker.load, self.options
        if load.kv_usage is not None and load.kv_usage > options.kv_limit:
            return False
        rates = self._cost.rates
        speed = rates.middle / rates.scale(worker.id)
        tokens = load.pending_tokens(now) if load.pending else 0.0
        room = options.room_tokens * min(1.0, max(speed, _NEVER_BELOW))
        return tokens < room and load.inflight + load.foreign < options.max_inflight

    def _best(self, costs: list[float]) -> int:
        least = min(costs)
        if costs.count(least) == 1:
            return costs.index(least)
        return self._random.choice([place for place, cost in enumerate(costs) if cost == least])

    def _key(self, ticket: Ticket, prices: Prices) -> float:
        question = ticket.question
        least = prices.least_prefill_s(question.identity, question.overlaps)
        return least + self.options.ageing * question.arrived_at

    def _front(self, lane: Lane, prices: Prices, now: float) -> list[Ticket]:
        """The first in order, by what the caches hold now."""
        stale = [t for t in lane.first(SCAN) if now - t.looked_up_at > REFRESH_S]
        if stale:
            stale += [t for t in islice(lane.tickets, _OTHERS) if now - t.looked_up_at > REFRESH_S]
            for ticket in stale:
                self._refresh(ticket, prices, now)
        return lane.first(SCAN)

    def _refresh(self, ticket: Ticket, prices: Prices, now: float) -> None:
        ticket.looked_up_at = now
        question = ticket.question
        question.overlaps = self._chooser.look_up(question.identity)
        key = self._key(ticket, prices)
        if key != ticket.key:
            ticket.line.remove(ticket)
            ticket.key = key
            ticket.line.add(ticket)

    # -- limits --------------------------------------------------------------------------------

    def expire(self, now: float) -> None:
        """Turn away who has waited too long."""
        for ticket in list(self._tickets.values()):
            if now - ticket.question.arrived_at < self.options.timeout_s:
                return  # the rest came later
            self._turn_away(ticket, waited_too_long(self.options.timeout_s, self._retry_after()))

    def close(self, error: RouterError) -> None:
        """Turn away everybody."""
        for ticket in list(self._tickets.values()):
            self._turn_away(ticket, error)

    def _turn_away(self, ticket: Ticket, error: RouterError) -> None:
        self.withdraw(ticket.waiter)
        ticket.waiter.turn_away(error)

    def _retry_after(self) -> int:
        """Seconds until about half of what waits is done."""
        work = sum(
            t.key - self.options.ageing * t.question.arrived_at for t in self._tickets.values()
        )
        workers = max((len(lane.workers) for lane in self._lanes.values()), default=1)
        return max(1, min(60, round(work / workers / 2)))


def _untried(question: Question, workers: Sequence[Worker]) -> Sequence[Worker]:
    """Who is left for a request that some have refused; everybody when nobody is left."""
    if not question.tried:
        return workers
    return [worker for worker in workers if worker not in question.tried] or workers


def _costs(question: Question, prices: Prices) -> list[float]:
    """What the request costs on each worker; those it is not to go to are beyond all price."""
    costs = prices.of(question.identity, question.overlaps)
    if question.tried:
        left = _untried(question, prices.workers)
        return [
            cost if worker in left else inf
            for worker, cost in zip(prices.workers, costs, strict=True)
        ]
    return costs


def _ignore(seconds: float) -> None:
    del seconds

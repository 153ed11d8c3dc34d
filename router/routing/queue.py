"""Late binding: a request is bound to a worker when that worker has room for it, and waits here until then.

In an engine's queue a request could not move any more; here it takes whatever worker serves it first, and the
shortest uncached work goes first. A worker has room while the prefill that was sent to it is less than what
its scheduler takes in one step: so it never idles, and never holds what another could have begun.
"""

import random
from collections.abc import Callable, Sequence
from itertools import islice
from math import inf

from router.errors import RouterError, queue_full
from router.fleet.worker import Worker
from router.routing.chooser import Chooser
from router.routing.lane import Lane, Ticket
from router.routing.options import QueueOptions
from router.routing.policy import QUEUE_FULL, Choice, Decision, Preview, Question, Waiter
from router.routing.pricing import Prices
from router.routing.room import Room
from router.routing.waiting import Waiting

SCAN = 128
"""How many of the first are looked at when there is room, and up to a fourth more of those behind them: what
workers the first ones have no use for may suit others.
"""

REFRESH_S = 0.2
"""Age at which what is known of a waiting prompt's caches is looked up anew."""

_LOOKUPS = 32
_OTHERS = 16
"""How many at the front are looked up at a time, and of the oldest along with them, so that each comes to it."""

_CROWDING = 2.0
_MOST_CROWDING = 20.0
"""A second of a worker's time holds up everybody who waits: it counts twice more for each that waits per worker,
so that a crowd is served where its caches are. Bounded, since what a crowd waits for may be memory instead.
"""


class LateBinding(Waiting):
    """The policy `prefix` (`policy.Admission`): lowest cost over all workers that are up, whether they have room
    or not; sent when that one has room and nobody before it waits for the same.

    `candidates` gives the workers that can serve a model.
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
        super().__init__(options)
        self.room = Room(chooser.cost, self.options)
        self._chooser = chooser
        self._cost = chooser.cost
        self._candidates = candidates
        self._random = random.Random(seed)  # noqa: S311 - ties, not secrets
        self._lanes: dict[str | None, Lane] = {}

    def set_options(self, options: QueueOptions) -> None:
        """From now on these."""
        super().set_options(options)
        self.room.options = options

    # -- arrivals ------------------------------------------------------------------------------

    def offer(self, question: Question) -> Decision | None:
        """At once while nobody waits for this model and the best worker has room."""
        lane = self._lanes.get(question.request.model)
        if lane is not None and lane.tickets:
            return None
        workers, now = question.candidates, question.now
        places = {worker.id: place for place, worker in enumerate(workers)}
        prices = Prices(workers, places, self._cost, now)
        worker = workers[self._best(prices.of(question.identity, question.overlaps))]
        if not self.room.at(worker, now) or not self.room.fits(question, worker, now):
            return None
        return self._decide(question, worker)

    def preview(self, question: Question) -> Preview:
        """What `offer` would say, and `wait` if it had to: in the queue caches count for more."""
        lane = self._lanes.get(question.request.model)
        ahead = len(lane) if lane is not None else 0
        lacks = [self.room.lacking(question, w, question.now) for w in question.candidates]
        costs, best = self._compare(question, 0.0)
        waits = "others_wait" if ahead else lacks[best[0]]
        if waits:
            costs, best = self._compare(question, _crowding(ahead + 1, question.candidates))
            full = len(self._tickets) >= self.options.limit
            waits = QUEUE_FULL if full else waits if ahead else lacks[best[0]]
        choices = [_choice(question, question.candidates[place]) for place in best]
        return Preview(choices, waits, costs, lacks)

    def _compare(self, question: Question, crowding: float) -> tuple[list[float], list[int]]:
        """The cost on each candidate, and where it is least."""
        workers = question.candidates
        places = {worker.id: place for place, worker in enumerate(workers)}
        prices = Prices(workers, places, self._cost, question.now, crowding)
        costs = prices.of(question.identity, question.overlaps)
        least = min(costs)
        return costs, [place for place, cost in enumerate(costs) if cost == least]

    def wait(self, question: Question, waiter: Waiter) -> None:
        """Take a place in the queue; it may be this one's turn at once."""
        if len(self._tickets) >= self.options.limit:
            raise queue_full(self.options.limit, self._retry_after())
        lane = self._lanes.setdefault(question.request.model, Lane())
        ticket = Ticket(question, waiter, self._number)
        self._number += 1
        lane.set_workers(self._candidates(question.request.model))
        prices = Prices(lane.workers, lane.places, self._cost, question.now)
        ticket.rank_by_work(prices.least_prefill_s(question.identity, question.overlaps))
        lane.add(ticket)
        self._tickets[waiter] = ticket
        self.drain(question.now)

    def withdraw(self, waiter: Waiter) -> None:
        """It waits no longer."""
        ticket = self._tickets.pop(waiter, None)
        if ticket is not None:
            self._lanes[ticket.question.request.model].remove(ticket)
            self._stirred = True

    # -- departures ----------------------------------------------------------------------------

    def _drain_all(self, now: float) -> None:
        for model, lane in list(self._lanes.items()):
            self._drain_lane(model, lane, now)

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
        room, workers = self.room, lane.workers
        rooms = [room.at(worker, now) for worker in workers]
        if True not in rooms:
            return False
        prices = Prices(workers, lane.places, self._cost, now, _crowding(len(lane), workers))
        reserved = [False] * len(rooms)
        for ticket in self._front(lane, prices, now):
            question = ticket.question
            place = self._best(_costs(question, prices))
            own = prices.prefill_s(place, question.identity, question.overlaps)
            worker = workers[place]
            if reserved[place] or not rooms[place] or not room.fits(question, worker, now):
                prices.base[place] += own
                reserved[place] = True
                continue
            fair = lane.shared
            self._send(lane, ticket, worker, own, now)
            if fair or self._stirred:
                return True
            prices.update(place, self._cost, now)
            rooms[place] = room.at(worker, now)
            if True not in rooms:
                return False
        return False

    def _send(self, lane: Lane, ticket: Ticket, worker: Worker, own: float, now: float) -> None:
        question = ticket.question
        lane.take(ticket, own, now - self.options.patience_s)
        del self._tickets[ticket.waiter]
        question.now = now
        question.candidates = question.untried(lane.workers) or lane.workers
        self.on_leave(now - question.arrived_at)
        ticket.waiter.go(self._decide(question, worker))

    def _decide(self, question: Question, worker: Worker) -> Decision:
        return self._chooser.expect(self.name, _choice(question, worker), question)

    # -- judgement -----------------------------------------------------------------------------

    def _best(self, costs: list[float]) -> int:
        least = min(costs)
        if costs.count(least) == 1:
            return costs.index(least)
        return self._random.choice([place for place, cost in enumerate(costs) if cost == least])

    def _front(self, lane: Lane, prices: Prices, now: float) -> list[Ticket]:
        """The first in order, by what the caches hold now."""
        late = now - self.options.patience_s
        first = lane.first(SCAN, late)
        stale = [t for t in first if now - t.looked_up_at > REFRESH_S][:_LOOKUPS]
        if not stale:
            return first
        stale += [t for t in islice(lane.tickets, _OTHERS) if now - t.looked_up_at > REFRESH_S]
        for ticket in stale:
            self._refresh(ticket, prices, now)
        return lane.first(SCAN, late)

    def _refresh(self, ticket: Ticket, prices: Prices, now: float) -> None:
        ticket.looked_up_at = now
        question = ticket.question
        question.overlaps = self._chooser.look_up(question.identity)
        own = prices.least_prefill_s(question.identity, question.overlaps)
        ticket.line.rank_by_work(ticket, own)

    def _retry_after(self) -> int:
        """Seconds until about half of what waits is done."""
        work = sum(ticket.own_s for ticket in self._tickets.values())
        workers = max((len(lane.workers) for lane in self._lanes.values()), default=1)
        return max(1, min(60, round(work / workers / 2)))


def _choice(question: Question, worker: Worker) -> Choice:
    return Choice(worker, "cached" if worker.id in question.overlaps else "least_wait")


def _crowding(waiting: int, workers: Sequence[Worker]) -> float:
    return min(_CROWDING * waiting / len(workers), _MOST_CROWDING)


def _costs(question: Question, prices: Prices) -> list[float]:
    """What the request costs on each worker; those it is not to go to are beyond all price."""
    costs = prices.of(question.identity, question.overlaps)
    if question.tried:
        left = question.untried(prices.workers) or prices.workers
        return [
            cost if worker in left else inf
            for worker, cost in zip(prices.workers, costs, strict=True)
        ]
    return costs

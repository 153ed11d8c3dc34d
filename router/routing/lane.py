"""Who waits, in which order: priorities first, then fairly by tenant, then the least work, then by age."""

from bisect import bisect_left, insort
from collections.abc import Iterable, Sequence
from math import log

from router.fleet.worker import Worker
from router.ids import WorkerId
from router.routing.policy import Question, Waiter

_GRAIN = log(1.05)
"""Work that differs by less than 5 % counts as equal: then the older goes first."""

_SHARE = 0.005
"""Part of the workers' time that goes to whoever has waited longest, beyond all patience: the queue never stands
still for the longest prompts, and so small a part delays nobody else, however many they are.
"""

_SAVED_S = 1.0
"""How much of that can be saved up, in seconds of work."""


_REMEMBERED = 100
"""Tenants that do not wait and were given no more than who does are as good as new; so many are kept in mind."""


class Ticket:
    """One waiting request. `own_s`: its prefill where it needs least, seconds."""

    __slots__ = ("line", "looked_up_at", "number", "own_s", "place", "question", "waiter")

    line: "Line"

    def __init__(self, question: Question, waiter: Waiter, number: int) -> None:
        self.question = question
        self.waiter = waiter
        self.number = number
        self.looked_up_at = question.now
        self.own_s = 0.0
        self.place: tuple[float, float, int] = (0.0, 0.0, number)

    def rank(self, key: float) -> None:
        """Its place among others: lowest key first, then by arrival."""
        self.place = (key, self.question.arrived_at, self.number)

    def rank_by_work(self, own_s: float) -> None:
        """The shortest work first."""
        self.own_s = own_s
        self.rank(round(log(own_s) / _GRAIN))


class Line:
    """The waiting of one tenant and priority, lowest rank first."""

    __slots__ = ("_credit_s", "_entries", "_tickets", "priority", "tenant")

    def __init__(self, priority: int = 0, tenant: str = "") -> None:
        self.priority = priority
        self.tenant = tenant
        self._entries: list[tuple[tuple[float, float, int], Ticket]] = []
        self._tickets: dict[Ticket, None] = {}
        self._credit_s = 0.0

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, ticket: Ticket) -> None:
        """Where its rank belongs."""
        ticket.line = self
        self._tickets[ticket] = None
        insort(self._entries, (ticket.place, ticket))

    def remove(self, ticket: Ticket) -> None:
        """It waits no longer."""
        del self._tickets[ticket]
        del self._entries[bisect_left(self._entries, (ticket.place,))]

    def rank_by_work(self, ticket: Ticket, own_s: float) -> None:
        """Its work has changed."""
        before = ticket.place
        ticket.rank_by_work(own_s)
        if ticket.place != before:
            del self._entries[bisect_left(self._entries, (before,))]
            insort(self._entries, (ticket.place, ticket))

    def first(self, limit: int) -> list[Ticket]:
        """The next in order, and a sample of those behind them, a fourth as many."""
        entries = self._entries[:limit]
        behind = len(self._entries) - limit
        if behind > 0:
            entries += self._entries[limit :: -(-behind // (limit // 4 or 1))]
        return [entry[1] for entry in entries]

    # -- whose patience is at its end ----------------------------------------------------------

    def overdue(self, late: float) -> Ticket | None:
        """The oldest, if it came before `late` and it is the turn of such."""
        if self._credit_s < 0.0 or not self._tickets:
            return None
        oldest = next(iter(self._tickets))
        return oldest if oldest.question.arrived_at < late else None

    def spent(self, seconds: float, *, overdue: bool) -> None:
        """Somebody of this line was given so much of the workers' time."""
        self._credit_s = min(self._credit_s + _SHARE * seconds, _SAVED_S)
        if overdue:
            self._credit_s -= seconds


class Lane:
    """The waiting of one model, who all go to the same workers.

    Tenants share by virtual counters (VTC, arXiv 2401.00588): whoever was given least goes first, and who comes
    (back) to wait starts at the least of those who do, so that idling earns nothing.
    """

    def __init__(self) -> None:
        self.workers: Sequence[Worker] = ()
        self.places: dict[WorkerId, int] = {}
        self.tickets: dict[Ticket, None] = {}
        self._lines: dict[tuple[int, str], Line] = {}
        self._given: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self.tickets)

    @property
    def shared(self) -> bool:
        """Several tenants or priorities wait."""
        return len(self._lines) > 1

    def set_workers(self, workers: Sequence[Worker]) -> None:
        """Whoever can take the lane's requests now."""
        if workers is not self.workers:
            self.workers = workers
            self.places = {worker.id: place for place, worker in enumerate(workers)}

    def add(self, ticket: Ticket) -> None:
        """It begins to wait."""
        question = ticket.question
        line = self._lines.get((question.priority, question.tenant))
        if line is None:
            self._join(question.tenant)
            line = Line(question.priority, question.tenant)
            self._lines[question.priority, question.tenant] = line
        self.tickets[ticket] = None
        line.add(ticket)

    def _join(self, tenant: str) -> None:
        waiting = {line.tenant for line in self._lines.values()}
        if tenant not in waiting:
            least = min((self._given[each] for each in waiting), default=0.0)
            self._given[tenant] = max(self._given.get(tenant, 0.0), least)
            if len(self._given) > 2 * len(waiting) + _REMEMBERED:
                self._given = {
                    each: given
                    for each, given in self._given.items()
                    if given > least or each in waiting or each == tenant
                }

    def remove(self, ticket: Ticket) -> None:
        """It does not wait any more."""
        del self.tickets[ticket]
        line = ticket.line
        line.remove(ticket)
        if not line:
            del self._lines[line.priority, line.tenant]
        if not self.tickets:
            self._given.clear()

    def take(self, ticket: Ticket, seconds: float, late: float) -> None:
        """It is given so much of one worker's time, and waits no more. `late` as in `first`."""
        line, tenant = ticket.line, ticket.question.tenant
        line.spent(seconds, overdue=ticket is line.overdue(late))
        self.remove(ticket)
        if self.tickets:
            self._given[tenant] = self._given.get(tenant, 0.0) + seconds / len(self.workers)

    def first(self, limit: int, late: float) -> list[Ticket]:
        """The next in order. Who came before `late` may go before others of the same tenant and priority."""
        given = self._given
        lines: Iterable[Line] = self._lines.values()
        if self.shared:
            lines = sorted(lines, key=lambda line: (line.priority, given[line.tenant]))
        first: list[Ticket] = []
        for line in lines:
            overdue = line.overdue(late)
            if overdue is not None:
                first.append(overdue)
            first += [ticket for ticket in line.first(limit) if ticket is not overdue]
            if len(first) >= limit:
                break
        return first

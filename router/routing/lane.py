"""Who waits, in which order: priorities first, then fairly by tenant, then by key."""

from bisect import bisect_left, insort
from collections.abc import Sequence

from router.fleet.worker import Worker
from router.ids import WorkerId
from router.routing.policy import Question, Waiter


class Ticket:
    """One waiting request. `key` orders it: its least own seconds on any worker, and its age."""

    __slots__ = ("key", "line", "looked_up_at", "number", "question", "waiter")

    line: "Line"

    def __init__(self, question: Question, waiter: Waiter, number: int) -> None:
        self.question = question
        self.waiter = waiter
        self.number = number
        self.looked_up_at = question.now
        self.key = 0.0


class Line:
    """The waiting of one tenant and priority, lowest key first."""

    __slots__ = ("entries", "priority", "tenant")

    def __init__(self, priority: int, tenant: str) -> None:
        self.priority = priority
        self.tenant = tenant
        self.entries: list[tuple[float, int, Ticket]] = []

    def add(self, ticket: Ticket) -> None:
        """Where its key belongs; among equals by arrival."""
        ticket.line = self
        insort(self.entries, (ticket.key, ticket.number, ticket))

    def remove(self, ticket: Ticket) -> None:
        """It waits no longer, or its key is about to change."""
        del self.entries[bisect_left(self.entries, (ticket.key, ticket.number))]


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

    def remove(self, ticket: Ticket) -> None:
        """It does not wait any more."""
        del self.tickets[ticket]
        line = ticket.line
        line.remove(ticket)
        if not line.entries:
            del self._lines[line.priority, line.tenant]
        if not self.tickets:
            self._given.clear()

    def charge(self, tenant: str, seconds: float) -> None:
        """`tenant` was given so much of the workers' time."""
        if self.tickets:
            self._given[tenant] = self._given.get(tenant, 0.0) + seconds

    def first(self, limit: int) -> list[Ticket]:
        """The next in order."""
        if not self.shared:
            return [entry[2] for line in self._lines.values() for entry in line.entries[:limit]]
        given = self._given
        lines = sorted(self._lines.values(), key=lambda line: (line.priority, given[line.tenant]))
        return [entry[2] for line in lines for entry in line.entries[:limit]][:limit]

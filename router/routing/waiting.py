"""What all queues have in common: who waits, taking turns, and the ways out that are not a turn."""

from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable, Mapping

from router.errors import RouterError, out_of_time, waited_too_long
from router.routing.lane import Ticket
from router.routing.options import QueueOptions
from router.routing.policy import Waiter


class Waiting(ABC):
    """The waiting part of a `policy.Admission`. `on_leave` is told how long each waited that was sent.

    Who is told something may admit, withdraw or drain meanwhile: `_stirred` says that something has changed.
    """

    def __init__(self, options: QueueOptions | None) -> None:
        self.options = options or QueueOptions()
        self.on_leave: Callable[[float], None] = _ignore
        self._tickets: dict[Waiter, Ticket] = {}
        self._number = 0
        self._draining = False
        self._stirred = False

    def __len__(self) -> int:
        return len(self._tickets)

    def depths(self) -> Mapping[str | None, int]:
        """How many wait, by model."""
        return Counter(ticket.question.request.model for ticket in self._tickets.values())

    def set_options(self, options: QueueOptions) -> None:
        """From now on these."""
        self.options = options

    @abstractmethod
    def withdraw(self, waiter: Waiter) -> None:
        """It waits no longer."""

    @abstractmethod
    def _drain_all(self, now: float) -> None:
        """Send whoever can be sent now."""

    @abstractmethod
    def _retry_after(self) -> int:
        """Seconds after which another try may do better."""

    def drain(self, now: float) -> None:
        """Send whoever can be sent. What that sets off is taken up after."""
        self._stirred = True
        if self._draining or not self._tickets:
            return
        self._draining = True
        try:
            while self._stirred:
                self._stirred = False
                self._drain_all(now)
        finally:
            self._draining = False

    def expire(self, now: float) -> None:
        """Turn away who has waited too long, or whose answer would be late already."""
        timeout = self.options.timeout_s
        for ticket in list(self._tickets.values()):
            waited, total_s = now - ticket.question.arrived_at, ticket.question.total_s
            if waited >= total_s:
                self._turn_away(ticket, out_of_time(total_s))
            elif waited >= timeout:
                self._turn_away(ticket, waited_too_long(timeout, self._retry_after()))

    def close(self, error: RouterError) -> None:
        """Turn away everybody."""
        for ticket in list(self._tickets.values()):
            self._turn_away(ticket, error)

    def _turn_away(self, ticket: Ticket, error: RouterError) -> None:
        if ticket.waiter in self._tickets:  # else it withdrew while another was told
            self.withdraw(ticket.waiter)
            ticket.waiter.turn_away(error)


def _ignore(seconds: float) -> None:
    del seconds

"""How much a worker's refusals may cost the others (pure)."""


class Budget:
    """How often requests that were refused may be sent on: as a share of all, so that a fleet that is overloaded is not
    asked many times for each. Source: Finagle's RetryBudget; "Handling Overload" in Google's SRE book.

    One per worker that refuses: that a single one always does leaves the others' budgets as they are. `reserve`: what
    there is without any traffic, and the most that can be saved up is ten times that.
    """

    __slots__ = ("_left", "_most")

    def __init__(self, reserve: float = 10.0) -> None:
        self._left = reserve
        self._most = 10.0 * reserve

    @property
    def enough(self) -> bool:
        """One more may be sent on."""
        return self._left >= 1.0

    def earn(self, share: float) -> None:
        """A request was sent, of which this share may be sent on."""
        self._left = min(self._left + share, self._most)

    def spend(self) -> None:
        """One was sent on."""
        self._left -= 1.0

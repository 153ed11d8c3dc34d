"""A token bucket (as in RFC 2697): so much a minute, of which a minute's worth may come at once.

What was not known in time is taken out afterwards; the bucket then holds less than nothing, and nobody gets anything
until that is paid.
"""

_MINUTE_S = 60.0


class Bucket:
    """Full at first. `level`: what is left, as of the last call that said when. `capacity`: the most that it holds."""

    __slots__ = ("_at", "_rate", "_share", "capacity", "level", "limit")

    def __init__(self, limit: int, now: float) -> None:
        self.limit = limit
        self._share = 1.0
        self.capacity = self.level = float(limit)
        self._rate = self.capacity / _MINUTE_S
        self._at = now

    def resize(self, limit: int) -> None:
        """The limit is another; what is left stays the same part of it."""
        self.level *= limit / self.limit
        self.limit = limit
        self.divide(self._share)

    def divide(self, share: float) -> None:
        """This part of the limit is this router's, while it does not hear what others spend."""
        self._share = share
        self.capacity = self.limit * share
        self._rate = self.capacity / _MINUTE_S

    def refill(self, now: float) -> float:
        """The level now."""
        level = self.level + (now - self._at) * self._rate
        if level > self.capacity:
            level = self.capacity
        self._at = now
        self.level = level
        return level

    def wait_s(self, amount: float, now: float) -> float:
        """Seconds until so much is there; 0.0: it is. Of more than it can hold it must only be full."""
        lacking = min(amount, self.capacity) - self.refill(now)
        return lacking / self._rate if lacking > 0.0 else 0.0

    def take(self, amount: float, now: float) -> None:
        """Take out, or with less than 0 put back: never more than fits."""
        self.level = min(self.capacity, self.refill(now) - amount)

"""What a server's answers to requests say of its health, and how many requests it is given because of that (pure).

Closed, while all is well; open for a while after too many failures, each time for twice as long; then on probation:
one request at a time, and twice as many after each success, until it is as good as any. Source: M. Nygard's circuit
breaker, with the ejection times and the slow start of Envoy's outlier detection.
"""

from enum import StrEnum

import msgspec


class State(StrEnum):
    """Of a circuit."""

    CLOSED = "closed"
    OPEN = "open"
    PROBATION = "probation"


class CircuitOptions(msgspec.Struct, frozen=True, gc=False):
    """`failures`: how many more failures than successes open it; `open_s`: for how long at first; `most_s`: at most."""

    failures: int = 5
    open_s: float = 5.0
    most_s: float = 60.0


_CLOSED_AT = 32
"""Requests at a time that a worker on probation was trusted with when it is done with that."""

_FORGIVEN_S = 300.0
"""A circuit that was closed for so long opens for the shortest time again."""

_LONGEST_PAUSE_S = 60.0
"""No worker is left alone for longer, whatever it asks for."""


class Circuit:
    """One server's. Times are `perf_counter` seconds."""

    __slots__ = (
        "_allowance",
        "_closed_at",
        "_open_until",
        "_options",
        "_paused_until",
        "_score",
        "_strikes",
        "opened",
        "troubled",
    )

    def __init__(self, options: CircuitOptions | None = None) -> None:
        self._options = options or CircuitOptions()
        self._score = 0
        self._strikes = 0
        self._allowance = 0
        self._open_until = 0.0
        self._paused_until = 0.0
        self._closed_at = 0.0
        self.opened = 0
        self.troubled = False
        """There is something that a success would change."""

    @property
    def plain(self) -> bool:
        """Nothing holds the worker back."""
        return not self._open_until and not self._paused_until

    def state(self, now: float) -> State:
        """What it is now."""
        if not self._open_until:
            return State.CLOSED
        return State.OPEN if now < self._open_until else State.PROBATION

    def open_for(self, now: float) -> float:
        """Seconds until the worker is given requests again; 0: it is."""
        return max(0.0, self._open_until - now, self._paused_until - now)

    def admits(self, inflight: int, now: float) -> bool:
        """Whether a worker with so many requests may be given one more."""
        if now < self._paused_until or now < self._open_until:
            return False
        self._paused_until = 0.0
        return not self._open_until or inflight < self._allowance

    def failed(self, now: float) -> bool:
        """The worker failed a request; True: that opened the circuit."""
        self.troubled = True
        if now < self._open_until:  # it was sent before
            return False
        if not self._open_until:
            self._score += 1
            if self._score < self._options.failures:
                return False
        self._open(now)
        return True

    def succeeded(self, now: float) -> bool:
        """The worker answered a request; True: that closed the circuit."""
        if not self._open_until:
            self._score = max(0, self._score - 1)
            self.troubled = self._score > 0
            return False
        if now < self._open_until:
            return False
        self._allowance *= 2
        if self._allowance <= _CLOSED_AT:
            return False
        self._open_until, self._closed_at = 0.0, now
        self.troubled = False
        return True

    def pause(self, seconds: float, now: float) -> None:
        """The worker asked to be left alone for a while."""
        until = now + min(seconds, _LONGEST_PAUSE_S)
        self._paused_until = max(self._paused_until, until)

    def _open(self, now: float) -> None:
        if self._closed_at and now - self._closed_at > _FORGIVEN_S:
            self._strikes = 0
        seconds = min(self._options.open_s * 2**self._strikes, self._options.most_s)
        self._strikes = min(self._strikes + 1, 16)
        self._score, self._allowance = 0, 1
        self._open_until = now + seconds
        self.opened += 1

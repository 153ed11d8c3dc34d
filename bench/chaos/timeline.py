"""What really happened to which part, and when (pure)."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field

from bench.chaos.schedule import Kind

# Faults that end what the part was doing; a hang does while it lasts.
_BREAKING = frozenset((Kind.KILL, Kind.SLEEP, Kind.PAUSE, Kind.ENGINE_DEAD))


@dataclass(slots=True)
class Incident:
    """A fault from its beginning to when the part was up again, on the client's clock."""

    kind: Kind
    target: str
    began: float
    ended: float = math.inf


@dataclass(slots=True)
class Timeline:
    """All incidents of a run."""

    incidents: list[Incident] = field(default_factory=list)
    skipped: int = 0

    def begin(self, kind: Kind, target: str, now: float) -> Incident:
        """A fault begins."""
        self.incidents.append(Incident(kind, target, now))
        return self.incidents[-1]

    def any(self, begin: float, end: float) -> bool:
        """Whether something was wrong at some time in between."""
        return any(each.began <= end and each.ended >= begin for each in self.incidents)

    def worker_broke(self, worker: str, begin: float, end: float) -> bool:
        """Whether what a worker did at `begin` cannot have been ended by itself at `end`."""
        for each in self.incidents:
            if each.target != worker or not begin <= each.began <= end:
                continue
            if each.kind in _BREAKING or (each.kind is Kind.HANG and end < each.ended):
                return True
        return False

    def killed(self, router: str, begin: float, end: float) -> bool:
        """Whether a router was killed in between, with all that it had under way."""
        return self._happened(Kind.ROUTER_KILL, router, begin, end)

    def engine_died(self, worker: str, begin: float, end: float) -> bool:
        """Whether a worker lost its engine in between."""
        return self._happened(Kind.ENGINE_DEAD, worker, begin, end)

    def _happened(self, kind: Kind, target: str, begin: float, end: float) -> bool:
        return any(
            each.kind is kind and each.target == target and begin <= each.began <= end
            for each in self.incidents
        )

    def leaving(self, router: str, now: float) -> Kind | None:
        """How a router is going away now, if it is."""
        for each in self.incidents:
            if each.target == router and each.began <= now <= each.ended:
                return each.kind
        return None

    def counts(self) -> dict[str, int]:
        """How many faults of each kind there were."""
        found = Counter(str(each.kind) for each in self.incidents)
        return {str(kind): found[kind] for kind in Kind if found[kind]}

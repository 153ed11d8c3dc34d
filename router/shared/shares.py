"""How much of what a worker is sent comes from this router: no more of its cache can this one count on alone."""

from collections.abc import Callable
from typing import NamedTuple

from router.ids import WorkerId

_ENOUGH_TOKENS = 4096
"""New tokens of a worker that a share is judged by."""

_LEAST = 0.05
_WEIGHT = 0.3
_CHANGE = 0.05
_U32 = 1 << 32


class _Count(NamedTuple):
    """Where both counts stood, and the share then."""

    own: int
    all: int
    share: float


class Shares:
    """`on_share` is told of each share that has changed."""

    def __init__(self) -> None:
        self.on_share: Callable[[WorkerId, float], None] = _ignore
        self._counts: dict[WorkerId, _Count] = {}
        self._told: dict[WorkerId, float] = {}

    def observe(self, worker: WorkerId, own: int, everybody: int) -> None:
        """New tokens that the worker was ever sent, by this router and by all (modulo 2**32)."""
        before = self._counts.get(worker)
        if before is None:
            self._counts[worker] = _Count(own, everybody, 1.0)
            return
        total = (everybody - before.all) % _U32
        if total < _ENOUGH_TOKENS:
            return
        seen = min(1.0, max(_LEAST, (own - before.own) / total))
        share = before.share + _WEIGHT * (seen - before.share)
        self._counts[worker] = _Count(own, everybody, share)
        if abs(share - self._told.get(worker, 1.0)) > _CHANGE * share:
            self._told[worker] = share
            self.on_share(worker, share)

    def forget(self) -> None:
        """There is nobody else, as far as can be seen."""
        for worker in self._told:
            self.on_share(worker, 1.0)
        self._told.clear()
        self._counts.clear()


def _ignore(worker: WorkerId, share: float) -> None:
    del worker, share

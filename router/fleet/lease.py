"""A request's claim on a worker. Whoever takes one releases it on every way out; releasing twice is harmless."""

from time import perf_counter

from router.fleet.load import PendingPrefill
from router.fleet.worker import Worker


class Lease:
    """Counts a request as in flight on `worker`, and its prefill as pending until `first_token`."""

    __slots__ = ("_held", "_prefill", "worker")

    def __init__(self, worker: Worker, prefill: PendingPrefill) -> None:
        self.worker = worker
        self._prefill = prefill
        self._held = True
        worker.load.enter(prefill, perf_counter())

    def first_token(self, at: float) -> None:
        """The prefill is over."""
        self.worker.load.prefilled(self._prefill, at)

    def release(self) -> None:
        """The request is over."""
        if self._held:
            self._held = False
            self.worker.load.leave(self._prefill, perf_counter())

"""A request's claim on a worker, released by every way out of the `with` block."""

from time import perf_counter
from types import TracebackType

from router.fleet.load import PendingPrefill
from router.fleet.worker import Worker


class Lease:
    """Counts a request as in flight on `worker`, and its prefill as pending until `first_token`."""

    __slots__ = ("_prefill", "worker")

    def __init__(self, worker: Worker, prefill: PendingPrefill) -> None:
        self.worker = worker
        self._prefill = prefill

    def __enter__(self) -> "Lease":
        self.worker.load.enter(self._prefill, perf_counter())
        return self

    def first_token(self, at: float) -> None:
        """The prefill is over."""
        self.worker.load.prefilled(self._prefill, at)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.worker.load.leave(self._prefill, perf_counter())

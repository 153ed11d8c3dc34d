"""A request's claim on a worker. Whoever takes one releases it on every way out; releasing twice is harmless."""

from collections.abc import Callable

from router.fleet.load import PendingPrefill
from router.fleet.worker import Worker


def _nothing() -> None:
    pass


class Lease:
    """Counts a request as in flight on `worker`, and its prefill as pending until `first_token`. `on_room` is
    called after either has ended.
    """

    __slots__ = ("_held", "_on_room", "_prefill", "worker")

    def __init__(
        self,
        worker: Worker,
        prefill: PendingPrefill,
        now: float,
        on_room: Callable[[], None] = _nothing,
    ) -> None:
        self.worker = worker
        self._prefill = prefill
        self._held = True
        self._on_room = on_room
        worker.load.enter(prefill, now)

    def first_token(self, at: float) -> None:
        """The prefill is over."""
        self.worker.load.prefilled(self._prefill, at)
        self._on_room()

    def release(self, now: float) -> None:
        """The request is over."""
        if self._held:
            self._held = False
            self.worker.load.leave(self._prefill, now)
            self._on_room()

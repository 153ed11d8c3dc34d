"""Stored responses live in one worker: remembers which."""

from collections import OrderedDict
from collections.abc import Callable

from router.ids import WorkerId


class ResponseHomes:
    """Response id → worker, for the last `limit` responses. `on_stored` is told of those that answers brought."""

    def __init__(self, limit: int = 100_000) -> None:
        self.on_stored: Callable[[str, WorkerId], None] = _ignore
        self._homes: OrderedDict[str, WorkerId] = OrderedDict()
        self._limit = limit

    def stored(self, response_id: str, worker: WorkerId) -> None:
        """An answer of `worker` says that it stores this response."""
        self.remember(response_id, worker)
        self.on_stored(response_id, worker)

    def remember(self, response_id: str, worker: WorkerId) -> None:
        """`worker` stores this response."""
        self._homes[response_id] = worker
        self._homes.move_to_end(response_id)
        while len(self._homes) > self._limit:
            self._homes.popitem(last=False)

    def find(self, response_id: str | None) -> WorkerId | None:
        """Who stores it, as far as known."""
        return self._homes.get(response_id) if response_id else None


def _ignore(response_id: str, worker: WorkerId) -> None:
    del response_id, worker

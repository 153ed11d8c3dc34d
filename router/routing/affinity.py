"""Stored responses live in one worker: remembers which."""

from collections import OrderedDict

from router.ids import WorkerId


class ResponseHomes:
    """Response id → worker, for the last `limit` responses."""

    def __init__(self, limit: int = 100_000) -> None:
        self._homes: OrderedDict[str, WorkerId] = OrderedDict()
        self._limit = limit

    def remember(self, response_id: str, worker: WorkerId) -> None:
        """`worker` stores this response."""
        self._homes[response_id] = worker
        self._homes.move_to_end(response_id)
        while len(self._homes) > self._limit:
            self._homes.popitem(last=False)

    def find(self, response_id: str | None) -> WorkerId | None:
        """Who stores it, as far as known."""
        return self._homes.get(response_id) if response_id else None

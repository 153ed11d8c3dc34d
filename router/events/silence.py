"""Workers that say where they publish KV events, and publish none: their caches are guessed, and somebody should know."""

import logging
from collections.abc import Callable, Mapping

from router.events.counters import Counters
from router.ids import WorkerId

logger = logging.getLogger(__name__)

_TOKENS = 1000
"""Of prompts that a worker was sent: some of their blocks must have been told of."""

_PATIENCE_S = 10.0


class Silence:
    """Warns of each such worker once. `spent`: tokens that a worker's cache was given."""

    def __init__(self, spent: Callable[[WorkerId], int]) -> None:
        self._spent = spent
        self._since: dict[WorkerId, float] = {}
        self._named: set[WorkerId] = set()

    def keep(self, counters: Mapping[WorkerId, Counters], now: float) -> None:
        """To be called every so often, with what came from each worker that is followed."""
        for worker, counted in counters.items():
            if counted.batches or self._spent(worker) < _TOKENS:
                self._since.pop(worker, None)
                self._named.discard(worker)
            elif now - self._since.setdefault(worker, now) > _PATIENCE_S:
                self._name(worker)

    def _name(self, worker: WorkerId) -> None:
        if worker not in self._named:
            self._named.add(worker)
            logger.warning(
                "worker %s says that it publishes KV events, and none have come: what it holds is predicted from what it "
                "is sent. (Hybrid models publish none; else see whether its port can be reached.)",
                worker,
            )

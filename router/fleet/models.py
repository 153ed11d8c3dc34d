"""Which models workers serve, and which they served not long ago (pure)."""

from collections import Counter
from collections.abc import Iterable, Mapping
from typing import Any

from router.fleet.worker import Worker

MISSED_S = 3600.0
"""For so long a model is missed whose last worker left: until then it is away, later there is no such model."""


class Missed:
    """Models of workers that left. One that a worker stopped serving without leaving, as an adapter that was unloaded, is
    not missed.
    """

    def __init__(self) -> None:
        self._left_at: dict[str, float] = {}

    def left(self, workers: Iterable[Worker], now: float) -> None:
        """These are not there any more."""
        for worker in workers:
            if worker.target.service is None:
                self._left_at.update((model, now) for model in worker.report.models)

    def misses(self, model: str | None, now: float) -> bool:
        """Whether it was served lately."""
        return model is not None and now - self._left_at.get(model, -MISSED_S) < MISSED_S

    def names(self, now: float) -> list[str]:
        """All of them, whether others serve them or not."""
        self._left_at = {name: at for name, at in self._left_at.items() if now - at < MISSED_S}
        return [*self._left_at]


def serving(workers: Iterable[Worker], missed: Iterable[str]) -> Mapping[str, int]:
    """How many servers serve each model now: of those that workers know, whether they are up or not, and of `missed`."""
    found = Counter(dict.fromkeys(missed, 0))
    for worker in workers:
        if worker.target.service is None:
            serves = worker.serves and not worker.rank  # the ranks of a server are one
            found.update({model: int(serves) for model in worker.report.models})
    return found


def cards(workers: Iterable[Worker]) -> Mapping[str, dict[str, Any]]:
    """Every model served, with the card of the first worker that has it, of a service only where no worker does; the
    shortest context counts.
    """
    found: dict[str, dict[str, Any]] = {}
    for worker in sorted(workers, key=_stands_in):
        for name, card in worker.report.models.items():
            known = found.setdefault(name, dict(card))
            lengths = [n for n in (known.get("max_model_len"), card.get("max_model_len")) if n]
            if lengths:
                known["max_model_len"] = min(lengths)
    return found


def _stands_in(worker: Worker) -> bool:
    return worker.target.service is not None

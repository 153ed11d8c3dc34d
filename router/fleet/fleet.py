"""The set of workers and who of them can serve a request."""

import logging
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from router.engines.base import WorkerReport
from router.errors import SHUTTING_DOWN, RouterError, model_not_found, no_worker
from router.fleet.worker import Worker, worker_id
from router.ids import WorkerId
from router.upstream.pool import Address, Pool

logger = logging.getLogger(__name__)


class Fleet:
    """All workers. `set_workers` takes the complete set; what a removed worker leaves behind is told to
    `on_removed`, a worker whose report changed to `on_report`. `on_change`: who can serve what has changed.
    """

    def __init__(self, tls: ssl.SSLContext | None, *, connect_s: float, idle_s: float) -> None:
        self.on_removed: Callable[[Worker], None] = _ignore
        self.on_report: Callable[[Worker], None] = _ignore
        self.on_change: Callable[[], None] = _nothing
        self._tls = tls
        self._connect_s = connect_s
        self._idle_s = idle_s
        self._workers: dict[WorkerId, Worker] = {}
        self._next_order = 0
        self._serving: dict[str | None, tuple[Worker, ...]] = {}

    def __iter__(self) -> Iterator[Worker]:
        return iter(list(self._workers.values()))

    def __len__(self) -> int:
        return len(self._workers)

    def get(self, worker: str) -> Worker | None:
        """The worker with this id."""
        return self._workers.get(WorkerId(worker))

    @property
    def ready(self) -> bool:
        """At least one worker is up and serves a model."""
        return any(worker.up and worker.report.models for worker in self._workers.values())

    # -- changes -------------------------------------------------------------------------------

    def set_workers(self, urls: Iterable[str]) -> None:
        """Make the fleet exactly these; known workers keep their state."""
        wanted = {
            worker_id(address): (url, address) for url in urls for address in (Address.parse(url),)
        }
        for gone in [known for known in self._workers if known not in wanted]:
            worker = self._workers.pop(gone)
            logger.info("worker %s left", gone)
            worker.pool.retire()
            self.on_removed(worker)
        for new, (url, address) in wanted.items():
            if new in self._workers:
                continue
            pool = Pool(address, self._tls, connect_s=self._connect_s, idle_s=self._idle_s)
            self._workers[new] = Worker(url, pool, self._next_order)
            self._next_order += 1
        self._changed()

    def mark_up(self, worker: Worker) -> None:
        """The worker passed its health check."""
        worker.failures, worker.last_error = 0, None
        if not worker.up:
            worker.up = True
            self._changed()
            logger.info("worker %s is up: %s", worker.id, ", ".join(worker.models) or "no model")

    def mark_down(self, worker: Worker, why: str) -> None:
        """The worker failed its health check, or could not be reached for a request."""
        worker.failures += 1
        worker.last_error = why
        worker.pool.drop_idle()
        if worker.up or worker.failures == 1:
            logger.warning("worker %s is down: %s", worker.id, why)
        if worker.up:
            worker.up = False
            self._changed()

    def set_report(self, worker: Worker, report: WorkerReport) -> None:
        """What the worker says it serves."""
        if report == worker.report:
            return
        worker.report = report
        self.on_report(worker)
        self._changed()

    def _changed(self) -> None:
        self._serving.clear()
        self.on_change()

    # -- questions -----------------------------------------------------------------------------

    def candidates(self, model: str | None) -> tuple[Worker, ...]:
        """Workers that can take a request for `model` (None: the request names none).

        Only those that are up, unless none is: a worker that may be back is better than a certain error.
        Raises `RouterError` when nobody serves the model.
        """
        found = self._serving.get(model)
        if found is None:
            found = self._find(model)
            if found:
                self._serving[model] = found
        if not found:
            raise self._nobody(model)
        return found

    def _find(self, model: str | None) -> tuple[Worker, ...]:
        serving = [w for w in self._workers.values() if model is None or model in w.report.models]
        return tuple([w for w in serving if w.up] or serving)

    def _nobody(self, model: str | None) -> RouterError:
        known = sorted(self.model_cards())
        if not known or model is None:
            return no_worker("No worker is ready yet: none of them has answered /v1/models.")
        return model_not_found(model, known)

    def serves(self, model: str) -> bool:
        """Some worker serves `model`."""
        return model in self._serving or any(
            model in w.report.models for w in self._workers.values()
        )

    def model_cards(self) -> Mapping[str, dict[str, Any]]:
        """Every model served, with the card of the first worker that has it; the shortest context counts."""
        cards: dict[str, dict[str, Any]] = {}
        for worker in self._workers.values():
            for name, card in worker.report.models.items():
                known = cards.setdefault(name, dict(card))
                lengths = [n for n in (known.get("max_model_len"), card.get("max_model_len")) if n]
                if lengths:
                    known["max_model_len"] = min(lengths)
        return cards

    def sweep(self) -> None:
        """Close connections that were idle too long."""
        for worker in self._workers.values():
            worker.pool.sweep()

    def close(self) -> None:
        """Close every connection; answers under way end with an error that says why."""
        for worker in self._workers.values():
            worker.pool.close(SHUTTING_DOWN)


def _ignore(worker: Worker) -> None:
    del worker


def _nothing() -> None:
    pass

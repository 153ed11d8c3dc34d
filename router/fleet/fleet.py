"""The set of workers and who of them can serve a request."""

import logging
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from time import perf_counter
from typing import Any

from router.engines.base import Condition, WorkerReport
from router.errors import SHUTTING_DOWN, RouterError, model_not_found, no_worker
from router.fleet.circuit import Circuit, CircuitOptions
from router.fleet.worker import Worker, worker_id
from router.ids import WorkerId
from router.upstream.pool import Address, Pool

logger = logging.getLogger(__name__)

_LOOK_S = 1.0
"""How exact limits on answers are."""


class Fleet:
    """All workers. `set_workers` takes the complete set; what a removed worker leaves behind is told to
    `on_removed`, a worker whose report changed to `on_report`. `on_change`: who can serve what has changed.

    A server with several data-parallel ranks is several workers, which come and go, are up and down together.
    """

    def __init__(
        self,
        tls: ssl.SSLContext | None,
        *,
        connect_s: float,
        idle_s: float,
        circuits: CircuitOptions | None = None,
    ) -> None:
        self.on_removed: Callable[[Worker], None] = _ignore
        self.on_report: Callable[[Worker], None] = _ignore
        self.on_change: Callable[[], None] = _nothing
        self._tls = tls
        self._connect_s = connect_s
        self._idle_s = idle_s
        self._circuits = circuits
        self._held_back: set[WorkerId] = set()
        self._leaving: list[Pool] = []
        self._looked_at = 0.0
        self._processes: dict[WorkerId, tuple[Worker, ...]] = {}
        self._workers: dict[WorkerId, Worker] = {}
        self._orders = count()
        self._serving: dict[str | None, tuple[Worker, ...]] = {}

    def __iter__(self) -> Iterator[Worker]:
        return iter(list(self._workers.values()))

    def __len__(self) -> int:
        return len(self._workers)

    def get(self, worker: str) -> Worker | None:
        """The worker with this id."""
        return self._workers.get(WorkerId(worker))

    def processes(self) -> list[Worker]:
        """The first rank of each server: what is asked of it is asked once."""
        return [ranks[0] for ranks in self._processes.values()]

    def ranks(self, worker: Worker) -> tuple[Worker, ...]:
        """All workers that are of one server with this one, and this one if it left."""
        ranks = self._processes.get(worker.process, ())
        return ranks if worker in ranks else (worker,)

    @property
    def ready(self) -> bool:
        """At least one worker is up and serves a model."""
        return any(worker.serves and worker.report.models for worker in self._workers.values())

    # -- changes -------------------------------------------------------------------------------

    def set_workers(self, urls: Iterable[str]) -> None:
        """Make the fleet exactly these; known workers keep their state."""
        wanted = {
            worker_id(address): (url, address) for url in urls for address in (Address.parse(url),)
        }
        left = [self._processes.pop(known) for known in [*self._processes] if known not in wanted]
        for new, (url, address) in wanted.items():
            if new not in self._processes:
                pool = Pool(address, self._tls, connect_s=self._connect_s, idle_s=self._idle_s)
                circuit = Circuit(self._circuits)
                self._processes[new] = (Worker(url, pool, next(self._orders), circuit=circuit),)
        self._list()
        for ranks in left:
            ranks[0].pool.retire()
            self._leaving.append(ranks[0].pool)
            self._tell_of_the_gone(ranks)
        self._changed()

    def mark_up(self, worker: Worker) -> None:
        """The worker passed its health check."""
        news = not worker.up
        for rank in self.ranks(worker):
            rank.up, rank.failures, rank.last_error = True, 0, None
        if news:
            self._changed()
            models = ", ".join(worker.models) or "no model"
            logger.info("worker %s is up: %s", worker.process, models)

    def mark_down(self, worker: Worker, why: str) -> None:
        """The worker failed its health check, or could not be reached for a request."""
        news = worker.up
        for rank in self.ranks(worker):
            rank.up, rank.failures, rank.last_error = False, rank.failures + 1, why
        worker.pool.drop_idle()
        if news or worker.failures == 1:
            logger.warning("worker %s is down: %s", worker.process, why)
        if news:
            self._changed()

    def set_condition(self, worker: Worker, condition: Condition) -> None:
        """What the worker does with requests has been found out."""
        if condition is worker.condition:
            return
        for rank in self.ranks(worker):
            rank.condition = condition
        logger.info("worker %s is %s", worker.process, condition)
        self._changed()

    def drain(self, worker: Worker, *, drained: bool) -> None:
        """An operator wants the worker to be given no more requests, or to be given some again."""
        for rank in self.ranks(worker):
            rank.drained = drained
        logger.info(
            "worker %s is %s", worker.process, "drained" if drained else "no longer drained"
        )
        self._changed()

    def hold_back(self, worker: Worker) -> None:
        """The worker's circuit has a say in who is a candidate, until it is plain again."""
        self._held_back.add(worker.process)

    def set_report(self, worker: Worker, report: WorkerReport) -> None:
        """What the worker says it serves, and with how many ranks."""
        report = _completed(report, worker.report)
        if report == worker.report:
            return
        ranks = self._resized(self.ranks(worker), report.ranks)
        for rank in ranks:
            rank.report = report
        for rank in ranks:
            self.on_report(rank)
        self._changed()

    def _resized(self, ranks: tuple[Worker, ...], number: int | None) -> tuple[Worker, ...]:
        """The ranks of a server that has this many now (None: as many as before)."""
        first = ranks[0]
        number = number or len(ranks)
        if number == len(ranks) or ranks is not self._processes.get(first.process):
            return ranks
        more = [first.beside(rank, next(self._orders)) for rank in range(len(ranks), number)]
        self._processes[first.process] = kept = (*ranks[:number], *more)
        first.rank = 0 if number > 1 else None
        self._list()
        self._tell_of_the_gone(ranks[number:])
        return kept

    def _list(self) -> None:
        self._workers = {rank.id: rank for ranks in self._processes.values() for rank in ranks}

    def _tell_of_the_gone(self, workers: Iterable[Worker]) -> None:
        for worker in workers:
            logger.info("worker %s left", worker.id)
            self.on_removed(worker)

    def _changed(self) -> None:
        self._serving.clear()
        self.on_change()

    # -- questions -----------------------------------------------------------------------------

    def candidates(self, model: str | None) -> tuple[Worker, ...]:
        """Workers that can take a request for `model` (None: the request names none).

        Only those that serve, unless none does: a worker that may be back is better than a certain error.
        Raises `RouterError` when nobody serves the model.
        """
        found = self._serving.get(model)
        if found is None:
            found = self._find(model)
            if found:
                self._serving[model] = found
        if not found:
            raise self._nobody(model)
        return self._admitted(found) if self._held_back else found

    def _find(self, model: str | None) -> tuple[Worker, ...]:
        willing = [
            worker
            for worker in self._workers.values()
            if not worker.drained and (model is None or model in worker.report.models)
        ]
        staying = [worker for worker in willing if worker.condition is not Condition.DRAINING]
        return tuple(
            [worker for worker in staying if worker.serves]
            or [worker for worker in staying if worker.up]
            or staying
            or willing
        )

    def _admitted(self, workers: tuple[Worker, ...]) -> tuple[Worker, ...]:
        """Those of `workers` whose circuits let a request through; all of them where none does: an answer is more likely
        there than here.
        """
        now = perf_counter()
        barred = set()
        for process in [*self._held_back]:
            ranks = self._processes.get(process)
            if ranks is None or ranks[0].circuit.plain:
                self._held_back.discard(process)
            elif not ranks[0].circuit.admits(sum(rank.load.inflight for rank in ranks), now):
                barred.add(process)
        return tuple(worker for worker in workers if worker.process not in barred) or workers

    def _nobody(self, model: str | None) -> RouterError:
        known = sorted(self.model_cards())
        if model in known or (known and model is None):
            return no_worker("All workers that could serve the request are drained.")
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
        """Close connections that were idle too long, end answers that are overdue."""
        now = perf_counter()
        look = now - self._looked_at > _LOOK_S
        if look:
            self._looked_at = now
        for worker in self.processes():
            worker.pool.sweep()
            if look:
                worker.pool.look(now, up=worker.up)
        if look:
            self._leaving = [pool for pool in self._leaving if pool.open]
            for pool in self._leaving:
                pool.look(now, up=True)

    def close(self) -> None:
        """Close every connection; answers under way end with an error that says why."""
        for pool in (*self._leaving, *(worker.pool for worker in self.processes())):
            pool.close(SHUTTING_DOWN)


def _completed(report: WorkerReport, before: WorkerReport) -> WorkerReport:
    """What a worker does not say this time, as its metrics were late perhaps, is as it was."""
    known = {
        name: getattr(report, name) if getattr(report, name) is not None else getattr(before, name)
        for name in ("kv_tokens", "block_tokens", "started_at", "ranks")
    }
    return replace(report, **known)


def _ignore(worker: Worker) -> None:
    del worker


def _nothing() -> None:
    pass

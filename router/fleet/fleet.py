"""The set of workers and who of them can serve a request."""

import logging
import ssl
from collections.abc import Callable, Iterable, Iterator, Mapping, Set
from itertools import count
from time import perf_counter
from typing import Any

from router.engines.base import Condition, WorkerReport
from router.errors import SHUTTING_DOWN, no_worker
from router.fleet.candidates import able, nobody, services
from router.fleet.circuit import Circuit, CircuitOptions
from router.fleet.models import Missed, cards, serving
from router.fleet.pools import Pools
from router.fleet.reports import allowed, completed, stand_in
from router.fleet.target import Target, same_way
from router.fleet.worker import Worker, worker_id
from router.ids import WorkerId
from router.upstream.pool import Address, Pool

logger = logging.getLogger(__name__)

_LOOK_S = 1.0
"""How exact limits on answers are."""


class Fleet:
    """All workers. `set_targets` takes the complete set; what a removed worker leaves behind is told to
    `on_removed`, a new one to `on_added`, a worker whose report changed to `on_report`. `on_change`: who can serve what has changed.

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
        self.on_added: Callable[[Worker], None] = _ignore
        self.on_report: Callable[[Worker], None] = _ignore
        self.on_change: Callable[[], None] = _nothing
        self._pools = Pools(tls, connect_s=connect_s, idle_s=idle_s)
        self._circuits = circuits
        self._held_back: set[WorkerId] = set()
        self._leaving: list[Pool] = []
        self._looked_at = 0.0
        self._missed = Missed()
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
        """The first rank of each server: what is asked of it is asked once. Services are asked nothing."""
        return [ranks[0] for ranks in self._processes.values() if not ranks[0].target.service]

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
        """Make the fleet exactly the workers at these URLs."""
        self.set_targets([Target(url=url) for url in urls])

    def set_targets(self, targets: Iterable[Target]) -> None:
        """Make the fleet exactly these; known workers keep their state."""
        wanted = {
            worker_id(address): (target, address)
            for target in targets
            for address in (Address.parse(target.url),)
        }
        left = [
            self._processes.pop(known)
            for known, ranks in [*self._processes.items()]
            if known not in wanted or not same_way(ranks[0].target, wanted[known][0])
        ]
        before = {*self._processes}
        for new, (target, address) in wanted.items():
            if ranks := self._processes.get(new):
                self._retarget(ranks, target)
            else:
                self._processes[new] = (self._newcomer(target, address),)
        self._list()
        for ranks in left:
            ranks[0].pool.retire()
            self._leaving.append(ranks[0].pool)
            self._missed.left(ranks, perf_counter())
            self._tell_of_the_gone(ranks)
        self._changed()
        for worker in self.processes():
            if worker.process not in before:
                self.on_added(worker)

    def _newcomer(self, target: Target, address: Address) -> Worker:
        pool = self._pools.of(target, address)
        circuit = Circuit(self._circuits)
        worker = Worker(target, pool, next(self._orders), circuit=circuit)
        if target.service is not None:
            worker.up, worker.report = True, stand_in(target.service)
        return worker

    def _retarget(self, ranks: tuple[Worker, ...], target: Target) -> None:
        """What is said of a known worker may be another thing now."""
        before = ranks[0].target
        for rank in ranks:
            rank.target = target
        if target.leaving and not before.leaving:
            logger.info("worker %s will leave", ranks[0].process)
        if target.drained is not before.drained:
            logger.info(
                "worker %s is %s", ranks[0].process, "drained" if target.drained else "wanted again"
            )
        if target.service is not None:
            self.set_report(ranks[0], stand_in(target.service))
        elif target.models != before.models:  # what it may serve now it says when it is asked next
            self.set_report(ranks[0], ranks[0].report)

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

    def hold_back(self, worker: Worker) -> None:
        """The worker's circuit has a say in who is a candidate, until it is plain again."""
        self._held_back.add(worker.process)

    def set_report(self, worker: Worker, report: WorkerReport) -> None:
        """What the worker says it serves, and with how many ranks."""
        report = allowed(completed(report, worker.report), worker.target)
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

        Only those that serve, unless none does (`candidates.able`).
        Raises `RouterError` when nobody serves the model.
        """
        found = self._serving.get(model)
        if found is None:
            found = able(self._workers.values(), model)
            if found:
                self._serving[model] = found
        if not found:
            if not self.serves(model) and self._missed.misses(model, perf_counter()):
                raise no_worker(f"No worker that serves the model `{model}` is left.")
            raise nobody(self, model, sorted(self.model_cards()))
        return self._admitted(found, model) if self._held_back else found

    def _admitted(self, workers: tuple[Worker, ...], model: str | None) -> tuple[Worker, ...]:
        """Those of `workers` whose circuits let a request through, or who stands in for them; all of them where there is
        nobody: an answer is more likely there than here.
        """
        now = perf_counter()
        barred = set()
        for process in [*self._held_back]:
            ranks = self._processes.get(process)
            if ranks is None or ranks[0].circuit.plain:
                self._held_back.discard(process)
            elif not ranks[0].circuit.admits(sum(rank.load.inflight for rank in ranks), now):
                barred.add(process)
        admitted = tuple(worker for worker in workers if worker.process not in barred)
        return admitted or self._standing_in(model, barred) or workers

    def _standing_in(self, model: str | None, barred: Set[WorkerId]) -> tuple[Worker, ...]:
        return tuple(each for each in services(self, model) if each.process not in barred)

    def knows(self, worker: Worker) -> bool:
        """It is there, and no other at its address."""
        return self._workers.get(worker.id) is worker

    def serves(self, model: str | None) -> bool:
        """Some worker serves `model`."""
        return model in self._serving or any(
            model in w.report.models for w in self._workers.values()
        )

    def knows_model(self, model: str) -> bool:
        """Some worker serves `model`, or did until not long ago."""
        return self.serves(model) or self._missed.misses(model, perf_counter())

    def model_cards(self) -> Mapping[str, dict[str, Any]]:
        """Every model served, with a card of it."""
        return cards(self._workers.values())

    def model_workers(self) -> Mapping[str, int]:
        """How many workers serve each model, those included that nobody serves since workers left."""
        return serving(self._workers.values(), self._missed.names(perf_counter()))

    def sweep(self) -> None:
        """Close connections that were idle too long, end answers that are overdue."""
        now = perf_counter()
        look = now - self._looked_at > _LOOK_S
        if look:
            self._looked_at = now
        for worker, *_ in self._processes.values():
            worker.pool.sweep()
            if look:
                worker.pool.look(now, up=worker.up)
        if look:
            self._leaving = [pool for pool in self._leaving if pool.busy]
            for pool in self._leaving:
                pool.look(now, up=True)

    def close(self) -> None:
        """Close every connection; answers under way end with an error that says why."""
        for pool in (*self._leaving, *(ranks[0].pool for ranks in self._processes.values())):
            pool.close(SHUTTING_DOWN)


def _ignore(worker: Worker) -> None:
    del worker


def _nothing() -> None:
    pass

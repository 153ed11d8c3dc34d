"""Ties the parts of a running router together where one must hear of another."""

from collections.abc import Callable, Iterable
from time import perf_counter

from router.fleet.fleet import Fleet
from router.fleet.worker import Worker
from router.ids import WorkerId
from router.index.predicted import PredictedIndex
from router.routing.cost import Rates
from router.routing.dispatch import Dispatch
from router.telemetry.metrics import Metrics, WorkerSample


def tie(
    fleet: Fleet, index: PredictedIndex, rates: Rates, dispatch: Dispatch, metrics: Metrics
) -> None:
    """Let the fleet's changes reach what is kept per worker, and who waits for one."""
    started: dict[WorkerId, float | None] = {}

    def removed(worker: Worker) -> None:
        index.remove(worker.id)
        rates.forget(worker.id)
        started.pop(worker.id, None)

    def reported(worker: Worker) -> None:
        report = worker.report
        if report.started_at != started.setdefault(worker.id, report.started_at):
            started[worker.id] = report.started_at
            index.clear(worker.id)
        index.state_cache(worker.id, report.kv_tokens, report.block_tokens)

    fleet.on_removed, fleet.on_report, fleet.on_change = removed, reported, dispatch.stir
    metrics.workers = _samples(fleet, index)
    metrics.queue_depth = dispatch.__len__


def _samples(fleet: Fleet, index: PredictedIndex) -> Callable[[], Iterable[WorkerSample]]:
    def samples() -> Iterable[WorkerSample]:
        now = perf_counter()
        return [
            WorkerSample(
                worker.id,
                worker.up,
                worker.load.inflight,
                worker.load.pending_tokens(now),
                index.blocks(worker.id),
            )
            for worker in fleet
        ]

    return samples

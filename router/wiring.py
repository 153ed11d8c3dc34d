"""Ties the parts of a running router together where one must hear of another."""

from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping
from time import perf_counter

from router.fleet.fleet import Fleet
from router.fleet.worker import Worker
from router.ids import WorkerId
from router.insight import Insight
from router.routing.cost import CostModel
from router.routing.dispatch import Dispatch
from router.telemetry.metrics import Metrics
from router.telemetry.workers import WorkerSample


def tie(
    fleet: Fleet, insight: Insight, cost: CostModel, dispatch: Dispatch, metrics: Metrics
) -> None:
    """Let the fleet's changes reach what is kept per worker, and who waits for one."""
    started: dict[WorkerId, float] = {}
    knowledge, rates, shared = insight.knowledge, cost.rates, insight.shared

    def removed(worker: Worker) -> None:
        insight.removed(worker.id)
        rates.forget(worker.id)
        started.pop(worker.id, None)

    def reported(worker: Worker) -> None:
        report = worker.report
        now = report.started_at
        if now is not None and started.setdefault(worker.id, now) != now:
            started[worker.id] = now
            knowledge.clear(worker.id)
            if shared is not None:
                shared.lost_cache(worker)
        knowledge.state_cache(worker.id, report.kv_tokens, report.block_tokens)
        insight.reported(worker)

    fleet.on_removed, fleet.on_report, fleet.on_change = removed, reported, dispatch.stir
    metrics.workers.state = _samples(fleet, insight)
    metrics.queue_depths = _queue_depths(fleet, dispatch)
    metrics.pending_prefill = _pending_prefill(fleet)
    metrics.model_workers = fleet.model_workers
    metrics.inflight = lambda: sum(worker.load.own for worker in fleet) + len(dispatch)
    if shared is not None:
        metrics.shared.sample = shared.sample
    caches = metrics.caches
    caches.events = insight.event_samples
    caches.prompts, caches.mismatches = insight.prompts, insight.mismatches
    caches.tiers = insight.tier_questions
    caches.load_s = cost.loads.per_token_s


def _samples(fleet: Fleet, insight: Insight) -> Callable[[], Iterable[WorkerSample]]:
    def samples() -> Iterable[WorkerSample]:
        now = perf_counter()
        return [
            WorkerSample(
                worker.id,
                worker.up and worker.target.service is None,
                worker.state(now),
                worker.load.own,
                worker.load.part(now).tokens,
                insight.blocks(worker.id),
                worker.load.reported_running,
                worker.load.reported_waiting,
                worker.load.kv_usage,
                worker.circuit.opened,
            )
            for worker in fleet
        ]

    return samples


def _queue_depths(fleet: Fleet, dispatch: Dispatch) -> Callable[[], Mapping[str, int]]:
    def depths() -> Mapping[str, int]:
        found = Counter({model: 0 for worker in fleet for model in worker.report.models})
        for model, depth in dispatch.depths().items():
            found[model if model in found and model is not None else "unknown"] += depth
        return found

    return depths


def _pending_prefill(fleet: Fleet) -> Callable[[], Mapping[str, float]]:
    def pending() -> Mapping[str, float]:
        now = perf_counter()
        found: defaultdict[str, float] = defaultdict(float)
        for worker in fleet:
            tokens = 0.0 if worker.target.service else worker.load.part(now).tokens
            for model in worker.report.models:
                found[model] += tokens
        return found

    return pending

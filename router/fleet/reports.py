"""What a worker's report comes to, with what was known before and what is asked of the worker."""

from dataclasses import replace

from router.engines.base import WorkerReport
from router.fleet.target import Service, Target


def completed(report: WorkerReport, before: WorkerReport) -> WorkerReport:
    """What a worker does not say this time, as its metrics were late perhaps, is as it was."""
    known = {
        name: getattr(report, name) if getattr(report, name) is not None else getattr(before, name)
        for name in ("kv_tokens", "block_tokens", "started_at", "ranks")
    }
    return replace(report, **known)


def allowed(report: WorkerReport, target: Target) -> WorkerReport:
    """Without the models that are not to be asked of the worker."""
    if not target.models:
        return report
    models = {name: card for name, card in report.models.items() if name in target.models}
    return replace(report, models=models)


def stand_in(service: Service) -> WorkerReport:
    """What a service is taken to say of itself."""
    cards = {
        model: {"id": model, "object": "model", "owned_by": "fallback", "root": model}
        for model in service.models
    }
    return WorkerReport(cards)

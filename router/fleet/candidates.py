"""Who of a fleet can take a request for a model (pure)."""

from collections.abc import Iterable

from router.errors import RouterError, model_not_found, model_required, no_worker
from router.fleet.worker import Worker

_NONE = "There are no workers: none is configured, or none was found."
_SILENT = "No worker is ready yet: none of them has answered /v1/models."


def able(workers: Iterable[Worker], model: str | None) -> tuple[Worker, ...]:
    """Workers for a request for `model` (None: it names none). Those that serve; where none does a service that stands
    in; else those that may be back, which is better than a certain error.
    """
    known = list(workers)
    own = [
        worker
        for worker in known
        if worker.target.service is None
        and worker.employed
        and (model is None or model in worker.report.models)
    ]
    staying = [worker for worker in own if not worker.leaving]
    return (
        tuple(worker for worker in staying if worker.serves)
        or services(known, model)
        or tuple(worker for worker in staying if worker.up)
        or tuple(staying)
        or tuple(own)
    )


def services(workers: Iterable[Worker], model: str | None) -> tuple[Worker, ...]:
    """Those of them that stand in for workers of `model`. What names no model is for none of them: they have others, too."""
    return tuple(
        worker
        for worker in workers
        if worker.target.service is not None and worker.employed and model in worker.report.models
    )


def nobody(workers: Iterable[Worker], model: str | None, known: list[str]) -> RouterError:
    """Why none of them can take a request for `model`; `known`: the models that they serve."""
    workers = list(workers)
    if model is None and known and all(worker.target.service for worker in workers):
        return model_required(known)
    if model in known or (known and model is None):
        mine = [worker for worker in workers if model is None or model in worker.report.models]
        if any(not worker.target.drained for worker in mine):
            return no_worker("Workers that serve the model are only there for prefill.")
        return no_worker("All workers that could serve the request are drained.")
    if not known or model is None:
        return no_worker(_SILENT if workers else _NONE)
    return model_not_found(model, known)

"""`POST /workers/{id}/drain` and `/undrain`: an operator takes a worker out of use, and back, without one failed request."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI

from router.edge.openapi import errors
from router.errors import RouterError, Source
from router.fleet.fleet import Fleet
from router.fleet.worker import Worker


def add_drains(app: FastAPI, fleet: Fleet, describe: Callable[[Worker], dict[str, Any]]) -> None:
    """Add the routes to `app`. Routers that share a Redis tell each other."""

    def told(worker_id: str, *, drained: bool) -> dict[str, Any]:
        worker = fleet.get(worker_id)
        if worker is None:
            message = f"There is no worker {worker_id!r}; GET /workers lists them."
            raise RouterError(404, "unknown_worker", message, source=Source.CLIENT)
        fleet.drain(worker, drained=drained)
        return describe(worker)

    unknown = errors({404: "There is no such worker"})

    @app.post("/workers/{worker:path}/drain", responses=unknown)
    async def drain(worker: str) -> dict[str, Any]:
        """Give the worker no more requests; what it has runs to its end. It is idle once `inflight` is 0."""
        return told(worker, drained=True)

    @app.post("/workers/{worker:path}/undrain", responses=unknown)
    async def undrain(worker: str) -> dict[str, Any]:
        """Give the worker requests again."""
        return told(worker, drained=False)

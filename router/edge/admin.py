"""Every route that is not inference: health, readiness, metrics, models, workers."""

from collections.abc import Callable, Iterable, Mapping
from time import perf_counter
from typing import Any, Protocol

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from router.edge.envelope import error_body
from router.errors import RouterError, Source, model_not_found
from router.fleet.fleet import Fleet
from router.fleet.worker import Worker
from router.ids import WorkerId
from router.prompt.endpoints import Family
from router.routing.cost import Rates
from router.routing.policy import Admission
from router.routing.queue import LateBinding
from router.telemetry.metrics import Metrics

_READ = ["GET", "HEAD", "OPTIONS"]
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


class Caches(Protocol):
    """What is known of the workers' caches (`insight.Insight`)."""

    def blocks(self, worker: WorkerId) -> Mapping[str, int]:
        """Blocks known to be at `worker`, by tier."""

    def known_by(self, worker: WorkerId) -> str:
        """`events` of its own, `predictions` from what it was sent, or `both`."""

    def complaints(self, models: Iterable[str]) -> list[str]:
        """What is wrong with the tokens of these models, in plain words."""


class WorkerView:
    """Describes a worker for people and scripts."""

    def __init__(self, caches: Caches, rates: Rates, admission: Admission) -> None:
        self._caches = caches
        self._rates = rates
        self._queue = admission if isinstance(admission, LateBinding) else None

    def __call__(self, worker: Worker) -> dict[str, Any]:
        """Its state. `rank`: among those of its server, null if there is only one; `index_blocks`: known to be there, by tier, and what that is `known_by`; `speed`: of the fleet's median; `room`: it is sent more at once, null where nobody waits for
        that; `requests_…` and `kv_cache_usage`: by its own metrics, null while they do not tell.
        """
        load, now, rates = worker.load, perf_counter(), self._rates
        return {
            "id": worker.id,
            "rank": worker.rank,
            "url": worker.url,
            "up": worker.up,
            "error": worker.last_error,
            "models": worker.models,
            "kv_cache_tokens": worker.report.kv_tokens,
            "kv_cache_usage": load.kv_usage,
            "requests_running": load.reported_running,
            "requests_waiting": load.reported_waiting,
            "inflight": load.inflight,
            "pending_prefill_tokens": round(load.pending_tokens(now)),
            "pending_seconds": round(load.pending_seconds(now), 3),
            "speed": round(rates.middle / rates.scale(worker.id), 3),
            "room": None if self._queue is None else self._queue.room.at(worker, now),
            "index_blocks": self._caches.blocks(worker.id),
            "known_by": self._caches.known_by(worker.id),
            "mismatches": self._caches.complaints(worker.models),
        }


def admin_app(
    fleet: Fleet, describe: Callable[[Worker], dict[str, Any]], metrics: Metrics, version: str
) -> FastAPI:
    """The application behind the inference paths, on the same port."""
    app = FastAPI(title="prefix-router", version=version, redirect_slashes=False)

    @app.api_route("/health", methods=["GET", "HEAD"])
    async def health() -> Response:
        """Alive: the process answers."""
        return Response(status_code=200)

    @app.api_route("/ping", methods=["GET", "POST"], include_in_schema=False)
    async def ping() -> Response:
        """The same, as SageMaker asks it."""
        return Response(status_code=200)

    @app.api_route("/ready", methods=["GET", "HEAD"])
    async def ready() -> Response:
        """Ready: at least one worker is up and serves a model."""
        up = sum(worker.up for worker in fleet)
        body = {"ready": fleet.ready, "workers_up": up, "workers": len(fleet)}
        return JSONResponse(body, status_code=200 if fleet.ready else 503)

    @app.get("/metrics")
    async def metrics_page() -> Response:
        """Prometheus metrics."""
        return Response(metrics.exposition(), headers={"content-type": _METRICS_TYPE})

    @app.api_route("/v1/models", methods=_READ)
    async def models(request: Request) -> Response:
        """Every model that a worker serves, with the worker's own fields."""
        listing = {"object": "list", "data": list(fleet.model_cards().values())}
        return _for_browsers(request, listing)

    @app.api_route("/v1/models/{model:path}", methods=_READ)
    async def model_card(request: Request, model: str) -> Response:
        """One model; its id may contain slashes."""
        cards = fleet.model_cards()
        if model not in cards and request.method != "OPTIONS":
            raise model_not_found(model, sorted(cards))
        return _for_browsers(request, cards.get(model, {}))

    @app.get("/workers")
    async def workers() -> dict[str, Any]:
        """Every worker with its state."""
        return {"workers": [describe(worker) for worker in fleet]}

    @app.api_route("/", methods=["GET", "HEAD"], include_in_schema=False)
    async def root() -> dict[str, str]:
        """Says what this is."""
        return {"service": "prefix-router", "version": version}

    app.add_exception_handler(RouterError, _router_error)
    app.add_exception_handler(404, _not_found)
    return app


def _for_browsers(request: Request, document: Mapping[str, Any]) -> Response:
    """Web pages may list models, as vLLM lets them; a preflight is answered for what it asks."""
    headers = {"access-control-allow-origin": "*", "vary": "Origin"}
    if request.method == "OPTIONS":
        asked = request.headers.get("access-control-request-headers", "*")
        headers |= {"access-control-allow-methods": "GET", "access-control-allow-headers": asked}
        return Response(status_code=200, headers=headers)
    return JSONResponse(document, headers=headers if "origin" in request.headers else None)


async def _router_error(_request: Request, error: Exception) -> Response:
    assert isinstance(error, RouterError)
    return Response(error_body(error, Family.OPENAI), error.status, media_type="application/json")


async def _not_found(request: Request, _error: Exception) -> Response:
    message = (
        f"No route {request.method} {request.url.path}. The router passes on inference endpoints; "
        "others can be allowed with `allow_paths`."
    )
    return await _router_error(
        request, RouterError(404, "unknown_route", message, source=Source.CLIENT)
    )

"""Every route that is not inference: health, readiness, metrics, models, workers."""

from collections.abc import Mapping
from typing import Any

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from router.edge.envelope import error_body
from router.errors import RouterError, Source, model_not_found
from router.fleet.fleet import Fleet
from router.fleet.worker import Worker
from router.index.predicted import PredictedIndex
from router.prompt.endpoints import Family
from router.telemetry.metrics import Metrics

_READ = ["GET", "HEAD", "OPTIONS"]
_METRICS_TYPE = "text/plain; version=0.0.4; charset=utf-8"


def admin_app(fleet: Fleet, index: PredictedIndex, metrics: Metrics, version: str) -> FastAPI:
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
        return {"workers": [_describe(worker, index) for worker in fleet]}

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


def _describe(worker: Worker, index: PredictedIndex) -> dict[str, Any]:
    return {
        "id": worker.id,
        "url": worker.url,
        "up": worker.up,
        "error": worker.last_error,
        "models": worker.models,
        "kv_cache_tokens": worker.report.kv_tokens,
        "inflight": worker.load.inflight,
        "index_blocks": index.blocks(worker.id),
    }


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

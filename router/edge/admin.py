"""Every route that is not inference: health, readiness, metrics, models, workers."""

from collections.abc import Callable, Iterable, Mapping
from time import perf_counter
from typing import Any, Protocol

from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response

from router.access.tenants import Tenants
from router.edge.envelope import error_body
from router.edge.limits import Drain
from router.edge.openapi import errors
from router.errors import RouterError, Source, model_not_found
from router.fleet.fleet import Fleet
from router.fleet.worker import Worker
from router.ids import WorkerId
from router.prompt.endpoints import PATHS, Family
from router.routing.cost import Rates
from router.routing.policy import Admission
from router.routing.queue import LateBinding
from router.telemetry.metrics import Metrics

_ASKED_BESIDES = ["HEAD", "OPTIONS"]
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

    def __init__(
        self,
        caches: Caches,
        rates: Rates,
        admission: Admission,
        source_of: Callable[[WorkerId], str],
    ) -> None:
        self._caches = caches
        self._rates = rates
        self._source_of = source_of
        self._queue = admission if isinstance(admission, LateBinding) else None

    def __call__(self, worker: Worker) -> dict[str, Any]:
        """What is known of it. `state`: up, down, draining, asleep, paused, ejected or probation; `circuit`: by its
        answers to requests: closed, open (given none for `back_in_s`), probation. `rank`: among those of its
        server, null if there is only one; `index_blocks`: known to be there, by tier, and what that is `known_by`;
        `speed`: of the fleet's median; `room`: it is sent more at once, null where nobody waits for that;
        `requests_…` and `kv_cache_usage`: by its own metrics, null while they do not tell.
        """
        load, now, rates = worker.load, perf_counter(), self._rates
        return {
            "id": worker.id,
            "rank": worker.rank,
            "url": worker.url,
            "name": worker.target.name,
            "source": self._source_of(worker.id),
            "role": worker.target.role if worker.target.service is None else "fallback",
            "up": worker.up,
            "state": worker.state(now),
            "circuit": {
                "state": worker.circuit.state(now),
                "back_in_s": round(worker.circuit.open_for(now), 1),
                "opened": worker.circuit.opened,
            },
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
    fleet: Fleet,
    describe: Callable[[Worker], dict[str, Any]],
    metrics: Metrics,
    version: str,
    drain: Drain,
    tenants: Tenants | None = None,
) -> FastAPI:
    """The application behind the inference paths; `gate.Gate` stands before it."""
    app = FastAPI(title="prefix-router", version=version, redirect_slashes=False)

    @app.head("/health", include_in_schema=False)
    @app.get("/health", response_class=Response)
    async def health() -> Response:
        """Alive: the process answers."""
        return Response(status_code=200)

    @app.api_route("/ping", methods=["GET", "POST"], include_in_schema=False)
    async def ping() -> Response:
        """The same, as SageMaker asks it."""
        return Response(status_code=200)

    @app.head("/ready", include_in_schema=False)
    @app.get("/ready", responses={503: {"description": "Not ready, or being stopped"}})
    async def ready() -> Response:
        """Ready: at least one worker is up and serves a model, and the router is not being stopped."""
        workers = [worker for worker in fleet if worker.target.service is None]
        up, fit = sum(worker.up for worker in workers), fleet.ready and not drain.active
        body = {"ready": fit, "draining": drain.active, "workers_up": up, "workers": len(workers)}
        return JSONResponse(body, status_code=200 if fit else 503)

    @app.get("/metrics", response_class=PlainTextResponse)
    async def metrics_page() -> Response:
        """Prometheus metrics."""
        return Response(metrics.exposition(), headers={"content-type": _METRICS_TYPE})

    @app.api_route("/v1/models", methods=_ASKED_BESIDES, include_in_schema=False)
    @app.get("/v1/models")
    async def models(request: Request) -> Response:
        """Every model that a worker serves, with the worker's own fields."""
        listing = {"object": "list", "data": list(_cards(request, fleet, tenants).values())}
        return _for_browsers(request, listing)

    @app.api_route("/v1/models/{model:path}", methods=_ASKED_BESIDES, include_in_schema=False)
    @app.get("/v1/models/{model:path}", responses=errors({404: "No worker serves the model"}))
    async def model_card(request: Request, model: str) -> Response:
        """One model; its id may contain slashes."""
        cards = _cards(request, fleet, tenants)
        if model not in cards and request.method != "OPTIONS":
            raise model_not_found(model, sorted(cards))
        return _for_browsers(request, cards.get(model, {}))

    @app.get("/workers")
    async def workers() -> dict[str, Any]:
        """Every worker with its state."""
        return {"workers": [describe(worker) for worker in fleet]}

    app.add_exception_handler(RouterError, _router_error)
    app.add_exception_handler(404, _not_found)
    return app


def _cards(request: Request, fleet: Fleet, tenants: Tenants | None) -> Mapping[str, dict[str, Any]]:
    """Models that the client may use; raises `RouterError` when it needs a key and has none."""
    cards = fleet.model_cards()
    if tenants is None or request.method == "OPTIONS":
        return cards
    terms = tenants.identify(dict(request.headers.raw)).terms
    return {name: card for name, card in cards.items() if terms.allows(name)}


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
    answer = Response(error_body(error, Family.OPENAI), error.status, media_type="application/json")
    answer.raw_headers += error.fields
    return answer


async def _not_found(request: Request, _error: Exception) -> Response:
    return await _router_error(request, unknown_route(request.method, request.url.path))


def _behind(path: str) -> str | None:
    """The route at the end of a path that has more before it than it should."""
    found = [each for each in PATHS if path.endswith(each.removeprefix("/v1"))]
    return max(found, key=len, default=None)


def unknown_route(method: str, path: str) -> RouterError:
    """There is nothing at `path` here."""
    if f"/v1{path}" in PATHS:
        hint = f"Did you mean /v1{path}? A client's base_url ends with /v1."
    elif path.startswith("/v1/") and (meant := _behind(path)):
        hint = f"Did you mean {meant}? A client's base_url ends with /v1, and it adds the rest."
    else:
        hint = "The router passes on inference endpoints; others can be allowed with `allow_paths`."
    message = f"No route {method} {path}. {hint}"
    return RouterError(404, "unknown_route", message, source=Source.CLIENT)

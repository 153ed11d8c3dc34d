"""What an operator changes while the router runs: workers are added, removed, taken out of use and back."""

from collections.abc import Callable, Sequence
from enum import Enum
from typing import Any

import msgspec
from fastapi import FastAPI
from starlette.requests import Request
from starlette.responses import JSONResponse, Response

from router.discovery.registry import OPERATOR, Discovery
from router.discovery.replicas import RELAYED, Replicas
from router.edge.openapi import errors
from router.errors import RouterError, Source, no_such_worker
from router.fleet.fleet import Fleet
from router.fleet.target import worker_url
from router.fleet.worker import Worker
from router.fleet.worker import worker_id as id_at
from router.upstream.pool import Address, host_of, is_loopback

_MOST_BYTES = 64 * 1024


class Guard(Enum):
    """What keeps others from the administrator's routes."""

    NONE = 0
    LOOPBACK = 1
    """Only this machine reaches them. A web page whose name was pointed at it does so too, but not under its own names."""
    KEY_OR_PORT = 2


class _Wanted(msgspec.Struct, forbid_unknown_fields=True):
    url: str


_WANTED = msgspec.json.Decoder(_Wanted)
_BODY = {
    "description": "The worker's base URL",
    "required": True,
    "content": {
        "application/json": {
            "schema": {
                "type": "object",
                "properties": {"url": {"type": "string"}},
                "required": ["url"],
            }
        }
    },
}


class Operations:
    """Does what an operator wants, and has `replicas` do the same. `guard`: who may also say where requests, and
    `worker_api_key`, are sent.
    """

    def __init__(
        self,
        fleet: Fleet,
        discovery: Discovery,
        describe: Callable[[Worker], dict[str, Any]],
        replicas: Replicas | None = None,
        *,
        guard: Guard,
    ) -> None:
        self._fleet = fleet
        self._discovery = discovery
        self._describe = describe
        self._replicas = replicas
        self._guard = guard

    async def drain(self, request: Request, worker_id: str, *, drained: bool) -> dict[str, Any]:
        """Take a worker out of use, or put it back."""
        worker = self._named(worker_id)
        self._discovery.drain(worker.process, drained=drained)
        told = await self._told(request, self._fleet.ranks(worker))
        return told | {"drained_by": self._discovery.drained_by(worker.process)}

    async def add(self, request: Request) -> tuple[dict[str, Any], bool]:
        """Have a worker in the fleet; whether it was not there before."""
        self._need_guard(request)
        body = await _body(request)
        url, before = _url(body), len(self._fleet)
        self._check_scheme(url)
        worker = self._named(self._discovery.add(url))
        news = len(self._fleet) > before
        return await self._told(request, self._fleet.ranks(worker), body), news

    async def remove(self, request: Request, worker_id: str) -> dict[str, Any]:
        """Have a worker in the fleet no more."""
        self._need_guard(request)
        if RELAYED in request.headers and self._fleet.get(worker_id) is None:
            return {"id": worker_id}  # as it should be; perhaps by the same request
        worker = self._named(worker_id)
        ranks = self._fleet.ranks(worker)
        self._discovery.remove(worker.process)
        return await self._told(request, ranks)

    def _check_scheme(self, url: str) -> None:
        """Who found a worker first says how it is spoken to."""
        address = Address.parse(url)
        known = self._fleet.get(id_at(address))
        source = "" if known is None else self._discovery.source_of(known.id)
        if known is None or source == OPERATOR or Address.parse(known.url).tls is address.tls:
            return
        message = f"Worker {known.id} is known as {known.url} from: {source}. Requests go there as that says: change it there."
        raise RouterError(409, "worker_known", message, source=Source.CLIENT, param="url")

    def _named(self, worker_id: str) -> Worker:
        worker = self._fleet.get(worker_id)
        if worker is None:
            raise no_such_worker(worker_id)
        return worker

    async def _told(
        self, request: Request, ranks: Sequence[Worker], body: bytes = b""
    ) -> dict[str, Any]:
        """The server's state, once the others know too; `inflight` is that of all its `ranks`."""
        state = self._describe(ranks[0])
        state["inflight"] = sum(rank.load.inflight for rank in ranks)
        state["ranks"] = [rank.id for rank in ranks]
        if self._replicas is None or RELAYED in request.headers:
            return state
        path = request.scope.get("raw_path", b"").decode("ascii")
        untold = await self._replicas.pass_on(request.method, path, body)
        return state | {"untold_replicas": untold}

    def _need_guard(self, request: Request) -> None:
        host = host_of(request.headers.get("host", ""))
        if self._guard is Guard.NONE or (self._guard is Guard.LOOPBACK and not is_loopback(host)):
            message = (
                "Workers are only added and removed where not everybody can do so: set `admin_key`, or `admin_port`; on "
                "loopback without a key, ask for 127.0.0.1 or localhost."
            )
            raise RouterError(403, "admin_key_needed", message, source=Source.CLIENT)


def add_operations(app: FastAPI, operations: Operations) -> None:
    """Add the routes to `app`. Routers that share a Redis tell each other."""
    unknown = errors({404: "There is no such worker"})

    @app.post(
        "/workers",
        status_code=201,
        responses=errors({400: "The body has no URL of a worker"}),
        openapi_extra={"requestBody": _BODY},
    )
    async def add(request: Request) -> Response:
        """Have a worker in the fleet, wherever else workers are found; 200: it is there already."""
        state, news = await operations.add(request)
        return JSONResponse(state, status_code=201 if news else 200)

    @app.post("/workers/{worker:path}/drain", responses=unknown)
    async def drain(request: Request, worker: str) -> dict[str, Any]:
        """Give the worker, all ranks of its server, no more requests; what it has runs to its end. It is idle once
        `inflight`, of all its `ranks`, is 0.
        """
        return await operations.drain(request, worker, drained=True)

    @app.post("/workers/{worker:path}/undrain", responses=unknown)
    async def undrain(request: Request, worker: str) -> dict[str, Any]:
        """Give the worker requests again."""
        return await operations.drain(request, worker, drained=False)

    @app.delete("/workers/{worker:path}", responses=unknown)
    async def remove(request: Request, worker: str) -> dict[str, Any]:
        """Have a worker not in the fleet any more, whoever knows of it; what it has runs to its end."""
        return await operations.remove(request, worker)


async def _body(request: Request) -> bytes:
    body = b""
    async for part in request.stream():
        body += part
        if len(body) > _MOST_BYTES:
            raise _not_a_worker("the body is too long")
    return body


def _url(body: bytes) -> str:
    try:
        return worker_url(_WANTED.decode(body).url)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise _not_a_worker(str(error)) from None


def _not_a_worker(why: str) -> RouterError:
    message = f'The body must be {{"url": "http://host:8000"}}, the base URL of a worker: {why}.'
    return RouterError(400, "invalid_worker", message, source=Source.CLIENT, param="url")

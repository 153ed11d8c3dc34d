"""A Kubernetes API server: lists and watches of pods and EndpointSlices over TLS, for who shows a token.

    async with KubernetesApi(certificate) as api:
        api.create(pod := objects.pod("vllm-0", "127.0.0.1"))
        api.patch(pod, {"metadata": {"labels": {"app": None}}})

`faults` has it fail as API servers do; `stop` and `start` keep the port and what it has.
"""

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import aclosing
from types import TracebackType
from typing import Self
from urllib.parse import parse_qsl

from tests.fakes.certificate import Certificate
from tests.fakes.kubernetes_objects import Object
from tests.fakes.kubernetes_store import ExpiredError, Store, selects
from tests.fakes.wire import Request, Wire

TOKEN = "eyJhbGciOiJSUzI1NiJ9.first"

_RESOURCES = {
    "/api/v1": ("pods", "Pod", "v1"),
    "/apis/discovery.k8s.io/v1": ("endpointslices", "EndpointSlice", "discovery.k8s.io/v1"),
}
_USER = "system:serviceaccount:default:prefix-router"
_EMPTY: dict[str, Object] = {  # what a bookmark's object looks like
    "pods": {"kind": "Pod", "apiVersion": "v1", "spec": {"containers": None}, "status": {}},
    "endpointslices": {
        "kind": "EndpointSlice",
        "apiVersion": "discovery.k8s.io/v1",
        "addressType": "",
        "endpoints": None,
        "ports": None,
    },
}


class KubernetesApi(Store):
    """`tokens`: those that are accepted; `forbidden`: verbs and resources, as `watch pods`; `fault`: the status of every
    answer; `lines`: whether what a watch has forgotten is said in a line of it, or by its status; `deaf`: watches are opened
    and nothing comes, not even their end.
    """

    def __init__(self, certificate: Certificate | None = None) -> None:
        super().__init__()
        self.tokens = {TOKEN}
        self.forbidden: set[str] = set()
        self.fault: int | None = None
        self.retry_after: str | None = None
        self.raw: bytes | None = None
        """Sent instead of an answer, before the connection is closed."""
        self.in_lines = False
        self.deaf = False
        self.slow_s = 0.0
        self.slow_for = ""
        """Only for paths that have this in them."""
        self.on_page: Callable[[], None] = _nothing
        """Called after each page that is not the last."""
        self.requests: list[Request] = []
        self.wires: list[Wire] = []
        self.errors: list[BaseException] = []
        self.watches = 0
        """That are open now."""
        self.port = 0
        self._pages: dict[str, tuple[list[Object], int]] = {}
        self._tls = certificate.server() if certificate else None
        self._server: asyncio.Server | None = None
        self._bookmark = asyncio.Event()

    @property
    def url(self) -> str:
        """As a setting has it."""
        return f"{'https' if self._tls else 'http'}://127.0.0.1:{self.port}"

    def bookmark(self) -> None:
        """Tell every watch how far it is."""
        self.version += 1
        event, self._bookmark = self._bookmark, asyncio.Event()
        event.set()

    async def until_left(self) -> None:
        """Wait until no connection is open."""
        async with asyncio.timeout(10):
            while self.wires:  # noqa: ASYNC110
                await asyncio.sleep(0.005)

    def asked(self, resource: str, *, watch: bool) -> list[dict[str, str]]:
        """What the requests for a resource said, first to last."""
        queries = [dict(parse_qsl(r.target.partition("?")[2])) for r in self._of(resource)]
        return [each for each in queries if ("watch" in each) is watch]

    # -- life ----------------------------------------------------------------------------------

    async def start(self) -> Self:
        """Listen; again on the same port after a `stop`."""
        self._server = await asyncio.get_running_loop().create_server(
            lambda: Wire(self), "127.0.0.1", self.port, ssl=self._tls, reuse_address=True
        )
        self.port = self._server.sockets[0].getsockname()[1]
        return self

    async def stop(self) -> None:
        """Die."""
        if self._server is not None:
            server, self._server = self._server, None
            server.close()
            await self.drop()
            await server.wait_closed()

    async def drop(self) -> None:
        """Drop all connections, and go on listening."""
        for wire in list(self.wires):
            await wire.stop()

    async def __aenter__(self) -> Self:
        return await self.start()

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.stop()
        assert not self.errors, self.errors

    # -- called by connections (`wire.Host`) ---------------------------------------------------

    def opened(self, wire: Wire) -> None:
        self.wires.append(wire)

    def closed(self, wire: Wire) -> None:
        self.wires.remove(wire)

    def head_received(self, method: str, wire: Wire) -> None:
        pass

    def received(self, request: Request) -> None:
        self.requests.append(request)

    def broken(self, error: BaseException) -> None:
        self.errors.append(error)

    async def answer(self, request: Request, wire: Wire) -> None:
        if self.slow_for in request.path:
            await asyncio.sleep(self.slow_s)
        if self.raw is not None:
            await wire.raw(self.raw)
            wire.close()
            return
        query = dict(parse_qsl(request.target.partition("?")[2]))
        found = _found(request.path)
        if found is None:
            await _refuse(wire, 404, "NotFound", "the server could not find the requested resource")
            return
        group, namespace = found
        verb = "watch" if "watch" in query else "list"
        if (refusal := self._refusal(request, f"{verb} {_RESOURCES[group][0]}")) is not None:
            fields = [("Retry-After", self.retry_after)] if self.retry_after else []
            await _refuse(wire, *refusal, fields)
        elif verb == "watch":
            await self._watch(wire, group, namespace, query, _metadata_only(request))
        else:
            await self._list(wire, group, namespace, query, _metadata_only(request))

    def _refusal(self, request: Request, what: str) -> tuple[int, str, str] | None:
        if self.tokens and request.header("authorization") not in {
            f"Bearer {t}" for t in self.tokens
        }:
            return 401, "Unauthorized", "Unauthorized"
        if self.fault is not None:
            return self.fault, "InternalError", "etcdserver: request timed out"
        if what in self.forbidden:
            verb, resource = what.split()
            message = f'{resource} is forbidden: User "{_USER}" cannot {verb} resource "{resource}"'
            return 403, "Forbidden", message
        return None

    # -- lists ---------------------------------------------------------------------------------

    async def _list(
        self, wire: Wire, group: str, namespace: str, query: dict[str, str], metadata: bool
    ) -> None:
        resource, kind, version = _RESOURCES[group]
        if (token := query.get("continue")) is not None:
            if token not in self._pages:
                message = "The provided continue parameter is too old to display a consistent list result."
                await _refuse(wire, 410, "Expired", message)
                return
            items, at = self._pages.pop(token)
        else:
            fits = _fitting(query)
            items, at = self.listed(resource, namespace, fits), self.version
        size = min(int(query.get("limit", len(items))), len(items))
        page, rest = items[:size], items[size:]
        meta: Object = {"resourceVersion": str(at)}
        if rest:
            meta["continue"] = base64.b64encode(f"{at}:{len(self.requests)}".encode()).decode()
            meta["remainingItemCount"] = len(rest)
            self._pages[meta["continue"]] = (rest, at)
        body = {"kind": f"{kind}List", "apiVersion": version, "metadata": meta}
        if metadata:
            body |= {"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1"}
        listed = [_shown(each, metadata) for each in page]
        for each in listed:  # as in real lists, items do not repeat what they are
            del each["kind"], each["apiVersion"]
        await wire.json({**body, "items": listed or (None if resource != "pods" else [])})
        if rest:
            self.on_page()

    def forget_pages(self) -> None:
        """Lists that were begun cannot be gone on with."""
        self._pages.clear()

    # -- watches -------------------------------------------------------------------------------

    async def _watch(
        self, wire: Wire, group: str, namespace: str, query: dict[str, str], metadata: bool
    ) -> None:
        resource = _RESOURCES[group][0]
        at, fits = int(query["resourceVersion"]), _fitting(query)
        if at < self._oldest and not self.in_lines:
            await _refuse(wire, 410, "Expired", f"too old resource version: {at} ({self._oldest})")
            return
        await wire.start(200, [("Content-Type", "application/json")])
        self.watches += 1
        try:
            if self.deaf:
                await wire.hang()
                return
            async with (
                asyncio.timeout(int(query.get("timeoutSeconds", "60"))),
                aclosing(self._events(at, resource, namespace, fits)) as events,
            ):
                async for type_, object_ in events:
                    await _say(wire, type_, _shown(object_, metadata))
                await self._say_gone(wire, at)
        except TimeoutError:
            pass
        finally:
            self.watches -= 1
        await wire.end()

    async def _events(
        self, at: int, resource: str, namespace: str, fits: Callable[[Object], bool]
    ) -> AsyncGenerator[tuple[str, Object], None]:
        """Types and objects, until what comes next is forgotten."""
        marked = False
        while True:
            news, bookmark = self.news, self._bookmark
            try:
                changes = [*self.since(at, resource, namespace, fits)]
            except ExpiredError:
                return
            for version, type_, object_ in changes:
                yield type_, object_
                at = version
            if news is not self.news:
                continue
            at = self.version
            if marked:
                meta = {"resourceVersion": str(at), "creationTimestamp": None}
                yield "BOOKMARK", {**_EMPTY[resource], "metadata": meta}
            await _either(news, bookmark)
            marked = bookmark.is_set()

    async def _say_gone(self, wire: Wire, at: int) -> None:
        message = f"too old resource version: {at} ({self._oldest})"
        await _say(wire, "ERROR", _status(410, "Expired", message))

    def _of(self, resource: str) -> Iterator[Request]:
        return (each for each in self.requests if each.path.endswith(f"/{resource}"))


def _found(path: str) -> tuple[str, str] | None:
    """API group and namespace."""
    for group, (resource, _, _) in _RESOURCES.items():
        parts = path.removeprefix(group).split("/")
        if path.startswith(f"{group}/") and parts[1] == "namespaces" and parts[3:] == [resource]:
            return group, parts[2]
    return None


def _fitting(query: dict[str, str]) -> Callable[[Object], bool]:
    fits = selects(query.get("labelSelector", ""))
    name = query.get("fieldSelector", "").removeprefix("metadata.name=")
    return lambda each: fits(each) and name in ("", each["metadata"]["name"])


def _metadata_only(request: Request) -> bool:
    return "as=PartialObjectMetadata" in (request.header("accept") or "")


def _shown(object_: Object, metadata_only: bool) -> Object:
    if not metadata_only or object_["kind"] == "Status":
        return object_
    return {
        "kind": "PartialObjectMetadata",
        "apiVersion": "meta.k8s.io/v1",
        "metadata": object_["metadata"],
    }


def _status(code: int, reason: str, message: str) -> Object:
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "metadata": {},
        "status": "Failure",
        "message": message,
        "reason": reason,
        "code": code,
    }


async def _refuse(
    wire: Wire, code: int, reason: str, message: str, fields: list[tuple[str, str]] | None = None
) -> None:
    await wire.json(_status(code, reason, message), code, fields or [])


async def _say(wire: Wire, type_: str, object_: Object) -> None:
    """An event; long ones come in pieces."""
    line = json.dumps({"type": type_, "object": object_}).encode() + b"\n"
    half = len(line) // 2
    for piece in (line[:half], line[half:]):
        await wire.chunk(piece)


async def _either(*events: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


def _nothing() -> None:
    pass

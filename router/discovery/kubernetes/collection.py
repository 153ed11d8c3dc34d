"""A list of objects that the API server has, and how it is listed and watched."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar
from urllib.parse import urlencode

import msgspec

from router.discovery.kubernetes.client import ApiError, Client, GoneError, error_of
from router.discovery.kubernetes.objects import (
    Described,
    EndpointSlice,
    Event,
    Page,
    Pod,
    Status,
)

_PAGE = 250
_JSON = "application/json"
_METADATA = f"{_JSON};as=PartialObjectMetadata{{list}};g=meta.k8s.io;v=v1,{_JSON}"
"""Only the metadata are sent, where the server can."""

T = TypeVar("T", bound=Described)
E = TypeVar("E")


@dataclass(frozen=True, slots=True, kw_only=True)
class Collection(Generic[T]):
    """Objects of a kind in a namespace, those that the label selector fits. `kind` Described: only their metadata are sent."""

    group: str
    resource: str
    namespace: str
    labels: str
    kind: type[T]

    def explained(self, error: ApiError, client: Client) -> str:
        """What is wrong, and what to do about it."""
        if error.status == 403:
            return (
                f"the router's service account may not read {self.resource} in namespace {self.namespace}: it needs a Role "
                f'there with apiGroups ["{self.group}"], resources ["{self.resource}"], verbs ["get", "list", "watch"] ({error})'
            )
        if error.status == 401:
            return (
                f"the API server does not accept the token in {client.account.token_file} ({error})"
            )
        return str(error)

    def target(self, **query: str | int) -> str:
        """Path and query of a request for it."""
        folder = f"apis/{self.group}/v1" if self.group else "api/v1"
        if self.labels:
            query["labelSelector"] = self.labels
        return f"/{folder}/namespaces/{self.namespace}/{self.resource}?{urlencode(query)}"

    def accept(self, *, listed: bool) -> str:
        """What form of it is wanted."""
        return _METADATA.format(list="List" if listed else "") if self.kind is Described else _JSON


def pods(namespace: str, selector: str) -> Collection[Pod]:
    """Pods that a label selector fits."""
    return Collection(group="", resource="pods", namespace=namespace, labels=selector, kind=Pod)


def descriptions(namespace: str) -> Collection[Described]:
    """Metadata of all pods."""
    return Collection(group="", resource="pods", namespace=namespace, labels="", kind=Described)


def slices(namespace: str, service: str) -> Collection[EndpointSlice]:
    """EndpointSlices of a Service."""
    return Collection(
        group="discovery.k8s.io",
        resource="endpointslices",
        namespace=namespace,
        labels=f"kubernetes.io/service-name={service}",
        kind=EndpointSlice,
    )


async def listed(client: Client, collection: Collection[T]) -> tuple[list[T], str]:
    """All objects, and the version from which to watch on. Raises `ApiError`."""
    try:
        return await _pages(client, collection, _PAGE)
    except GoneError:  # it took too long to come to the last page
        return await _pages(client, collection, 0)


async def _pages(client: Client, collection: Collection[T], limit: int) -> tuple[list[T], str]:
    found: list[T] = []
    query: dict[str, str | int] = {"limit": limit} if limit else {}
    decoder = msgspec.json.Decoder(Page[collection.kind])  # type: ignore[name-defined]
    while True:
        body = await client.get(collection.target(**query), collection.accept(listed=True))
        page: Page[T] = _decoded(decoder, body)
        found += page.items or []
        if not page.metadata.continue_:
            return found, page.metadata.resource_version
        query["continue"] = page.metadata.continue_


class Watch(Generic[T]):
    """Tells of changes after `version`, which moves on. Each is told as the object and whether it is there."""

    def __init__(
        self,
        client: Client,
        collection: Collection[T],
        version: str,
        told: Callable[[T, bool], None],
    ) -> None:
        self.version = version
        self._client = client
        self._collection = collection
        self._told = told
        self._events = msgspec.json.Decoder(Event)
        self._objects = msgspec.json.Decoder(collection.kind)

    async def run(self, seconds: int, begun: Callable[[], None], grace_s: float) -> None:
        """Watch until the server ends it, which it is asked to after so long, or the connection does. Raises `ApiError`."""
        target = self._collection.target(
            watch=1,
            allowWatchBookmarks="true",
            resourceVersion=self.version,
            timeoutSeconds=seconds,
        )
        accept = self._collection.accept(listed=False)
        await self._client.stream(target, accept, self._line, begun, seconds + grace_s)

    def _line(self, line: bytes) -> None:
        event: Event = _decoded(self._events, line)
        if event.type == "ERROR":
            raise error_of(msgspec.json.decode(event.object, type=Status))
        object_: T = _decoded(self._objects, event.object)
        self.version = object_.metadata.resource_version or self.version
        if event.type in ("ADDED", "MODIFIED"):
            self._told(object_, True)
        elif event.type == "DELETED":
            self._told(object_, False)


def _decoded(decoder: "msgspec.json.Decoder[E]", data: "bytes | msgspec.Raw") -> E:
    try:
        return decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ApiError(f"what the API server says is not understood: {error}") from None

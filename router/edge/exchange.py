"""What the two server adapters share: which requests are the gateway's, their ids, the telling of errors."""

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass

import msgspec

from router.edge.envelope import error_body, error_headers, stream_event
from router.errors import RouterError, body_too_large
from router.gateway import Gateway
from router.ids import Headers
from router.journey import Journey
from router.prompt.endpoints import Endpoint, EndpointTable, canonical_path
from router.prompt.request import Incoming
from router.proxy.downstream import Source

BODILESS = frozenset((204, 304))
_RANDOM_BYTES = 4096
_ID_BYTES = 16


class Route(msgspec.Struct, frozen=True):
    """An inference endpoint with a request's path (canonical) and the target to forward: that and the query."""

    endpoint: Endpoint
    path: bytes
    target: bytes


class Routes:
    """Finds the route of a request target in origin form; None: it is not the gateway's."""

    def __init__(self, table: EndpointTable) -> None:
        self._table = table
        self._known = {path: Route(endpoint, path, path) for path, endpoint in table.exact()}

    def find(self, url: bytes) -> Route | None:
        """The route for `url`, path and query as the client wrote them."""
        known = self._known.get(url)
        if known is not None:
            return known
        raw, mark, query = url.partition(b"?")
        path = canonical_path(raw)
        endpoint = self._table.resolve(path)
        return Route(endpoint, path, path + mark + query) if endpoint is not None else None


class RequestIds:
    """Makes unguessable ids: workers name stored answers after them."""

    def __init__(self) -> None:
        self._random = b""
        self._used = _RANDOM_BYTES

    def new(self) -> bytes:
        """A new id of 32 hexadecimal digits."""
        if self._used >= _RANDOM_BYTES:
            self._random, self._used = os.urandom(_RANDOM_BYTES), 0
        start = self._used
        self._used = start + _ID_BYTES
        return self._random[start : self._used].hex().encode("ascii")


@dataclass(frozen=True, slots=True)
class EdgeServices:
    """What an adapter needs. `body_limit`: bytes of a request's body. `keep_alive_s`: how long a connection
    waits for a client.
    """

    gateway: Gateway
    routes: Routes
    ids: RequestIds
    body_limit: int
    keep_alive_s: float


class Exchange(ABC):
    """One request and its answer (`proxy.downstream.Downstream`); subclasses put the answer on the wire."""

    __slots__ = ("_journey", "_request_id", "_route", "_services", "source", "started")

    def __init__(self, services: EdgeServices, route: Route) -> None:
        self.started = False
        self.source: Source | None = None
        self._services = services
        self._route = route
        self._request_id = b""
        self._journey: Journey | None = None

    def serve(self, method: bytes, headers: Headers, body: bytes) -> None:
        """The request is complete: have it answered."""
        incoming = self._incoming(method, headers, body)
        self._journey = self._services.gateway.begin(incoming, self._request_id, self)

    def refuse(self, method: bytes, headers: Headers) -> None:
        """The request's body is over the limit."""
        incoming, limit = self._incoming(method, headers, b""), self._services.body_limit
        self._services.gateway.refuse(incoming, self._request_id, self, body_too_large(limit))

    def _incoming(self, method: bytes, headers: Headers, body: bytes) -> Incoming:
        route = self._route
        incoming = Incoming(method, route.path, route.target, headers, body, route.endpoint)
        self._request_id = incoming.by_name.get(b"x-request-id") or self._services.ids.new()
        return incoming

    def cancel(self) -> None:
        """The client left."""
        if self._journey is not None:
            self._services.gateway.cancel(self._journey)

    def feed_from(self, source: Source | None) -> None:
        """Name what is slowed down while the client does not keep up."""
        self.source = source

    def fail(self, error: RouterError, *, in_band: bool) -> None:
        """Tell the client, in whatever way is still possible."""
        if not self.started:
            body = error_body(error, self._route.endpoint.family)
            self.start(error.status, error_headers(error, self._request_id), len(body))
            self.write(body)
            self.finish([])
        elif in_band:
            self.write(stream_event(error, self._route.endpoint.family))
            self.finish([])
        else:
            self.abort()

    # -- for subclasses ------------------------------------------------------------------------

    @abstractmethod
    def inform(self, status: int, headers: Headers) -> None:
        """Pass on an interim answer."""

    @abstractmethod
    def start(self, status: int, headers: Headers, length: int | None) -> None:
        """Begin the answer."""

    @abstractmethod
    def write(self, data: bytes) -> None:
        """Add to the body."""

    @abstractmethod
    def flush(self) -> None:
        """Send what has been collected."""

    @abstractmethod
    def finish(self, trailers: Headers) -> None:
        """End the answer."""

    @abstractmethod
    def abort(self) -> None:
        """Cut the answer off."""

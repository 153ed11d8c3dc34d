"""What the two server adapters share: which requests are the gateway's, their ids, the telling of errors."""

import os
from abc import ABC, abstractmethod
from dataclasses import dataclass, replace

import msgspec

from router.access.tenant import Tenant
from router.access.tenants import Tenants
from router.edge.cors import Cors, is_preflight
from router.edge.decoding import decoder, without_coding
from router.edge.envelope import error_body, error_headers, stream_event
from router.edge.http1 import NO_HOST, check_fields
from router.edge.limits import BodyMemory, Drain, Limits, out_of_body_memory
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

    def __init__(self, table: EndpointTable | None) -> None:
        """`table` None: there are none."""
        self._table = table
        exact = table.exact() if table is not None else ()
        self._known = {path: Route(endpoint, path, path) for path, endpoint in exact}

    def find(self, url: bytes) -> Route | None:
        """The route for `url`, path and query as the client wrote them."""
        known = self._known.get(url)
        if known is not None or self._table is None:
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
    """What an adapter needs. `cors` None: browsers are the workers' business. `rejected`: counts by reason. `tenants`
    None: clients need no key.
    """

    gateway: Gateway
    routes: Routes
    ids: RequestIds
    limits: Limits
    bodies: BodyMemory
    drain: Drain
    rejected: dict[str, int]
    cors: Cors | None = None
    tenants: Tenants | None = None


def aside(services: EdgeServices) -> EdgeServices:
    """The same for a listener that takes no inference requests."""
    return replace(services, routes=Routes(None))


class Exchange(ABC):
    """One request and its answer (`proxy.downstream.Downstream`); subclasses put the answer on the wire."""

    __slots__ = (
        "_bodies",
        "_cors_fields",
        "_held",
        "_journey",
        "_request_id",
        "_route",
        "_services",
        "_tenant",
        "source",
        "started",
        "version",
    )

    def __init__(self, services: EdgeServices, route: Route) -> None:
        self.started = False
        self.version = "1.0"  # of HTTP; 1.0 asks for least
        self.source: Source | None = None
        self._services = services
        self._route = route
        self._request_id = b""
        self._journey: Journey | None = None
        self._cors_fields: Headers | None = None
        self._tenant: Tenant | None = None
        self._bodies = services.bodies
        self._held = 0

    def enter(self, method: bytes, headers: Headers) -> None:
        """The request's head is there: find out whose it is. Raises a `RouterError`, 401, when nobody's."""
        tenants = self._services.tenants
        if tenants is not None:
            by_name = dict(headers)
            if not is_preflight(method, by_name):  # browsers send no key with it
                self._tenant = tenants.identify(by_name)

    def serve(self, method: bytes, headers: Headers, body: bytes) -> None:
        """The request is complete: have it answered."""
        incoming = self._incoming(method, headers, body)
        by_name = incoming.by_name
        try:
            if (
                len(by_name) != len(incoming.headers)
                or b"transfer-encoding" in by_name
                or (host := by_name.get(b"host")) is None
                or NO_HOST.search(host)
            ):
                check_fields(headers, self.version)
            if b"content-encoding" in by_name:
                self._decode(incoming)
            if self._services.cors is not None and is_preflight(method, by_name):
                self._allow(self._services.cors.preflight(by_name))
                return
        except RouterError as error:
            self._refuse(incoming, error)
            return
        self._journey = self._services.gateway.begin(incoming, self._request_id, self)

    def refuse(self, method: bytes, headers: Headers, error: RouterError) -> None:
        """Answer a request that is not read to its end."""
        self._refuse(self._incoming(method, headers, b""), error)

    def _refuse(self, incoming: Incoming, error: RouterError) -> None:
        self._services.gateway.refuse(incoming, self._request_id, self, error)

    def _incoming(self, method: bytes, headers: Headers, body: bytes) -> Incoming:
        route, tenants = self._route, self._services.tenants
        incoming = Incoming(method, route.path, route.target, headers, body, route.endpoint)
        if tenants is not None:
            incoming.tenant = self._tenant
            incoming.headers = tenants.onward(headers, incoming.by_name, self._tenant)
        self._request_id = incoming.by_name.get(b"x-request-id") or self._services.ids.new()
        if self._services.cors is not None:
            self._cors_fields = self._services.cors.fields(incoming.by_name.get(b"origin"))
        return incoming

    def _decode(self, incoming: Incoming) -> None:
        """Make the request what it would be had it not been compressed."""
        decoding = decoder(incoming.headers, self._services.limits.body_bytes)
        if decoding is not None:
            pieces = decoding.feed(incoming.body)
            decoding.finish()
            self.hold(sum(map(len, pieces)) - len(incoming.body))
            incoming.body = b"".join(pieces)
        incoming.headers = without_coding(incoming.headers)
        del incoming.by_name[b"content-encoding"]

    def _allow(self, fields: Headers) -> None:
        """Answer a browser that asks first."""
        self._cors_fields = None
        self.start(204, fields, None)
        self.finish([])

    # -- the memory of all bodies --------------------------------------------------------------

    def hold(self, size: int) -> None:
        """This much more of a body is held, until `release`; raises `RouterError`, 503, when that is too much."""
        self._held += size
        bodies = self._bodies
        bodies.held += size
        if bodies.held > bodies.limit:
            raise out_of_body_memory(bodies.limit)

    def release(self) -> None:
        """The exchange is over: its body is held no longer."""
        self._bodies.held -= self._held
        self._held = 0

    def check_length(self, announced: int) -> None:
        """Raise a `RouterError` when a body of `announced` bytes is too much for this router."""
        bodies = self._bodies
        held = bodies.held - self._held
        if announced > self._services.limits.body_bytes or held + announced > bodies.limit:
            raise self.too_much(announced)

    def too_much(self, size: int) -> RouterError:
        """Why a body of `size` bytes is not taken."""
        limit = self._services.limits.body_bytes
        return body_too_large(limit) if size > limit else out_of_body_memory(self._bodies.limit)

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
    def take_back(self) -> bool:
        """Forget an answer of which nothing was sent."""

    @abstractmethod
    def finish(self, trailers: Headers) -> None:
        """End the answer."""

    @abstractmethod
    def abort(self) -> None:
        """Cut the answer off."""

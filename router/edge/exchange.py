"""What the two server adapters share: identity of a request and the telling of errors."""

import logging
import secrets
from dataclasses import dataclass

from router.edge.envelope import error_body, error_headers, stream_event
from router.errors import RouterError, body_too_large
from router.gateway import Gateway
from router.ids import Headers
from router.prompt.endpoints import Endpoint, EndpointTable, canonical_path
from router.prompt.request import Incoming
from router.proxy.downstream import Source
from router.report import Record

logger = logging.getLogger(__name__)

INTERNAL_ERROR = RouterError(500, "internal_error", "The router failed; its log has the details.")
BODILESS = frozenset((204, 304))


@dataclass(frozen=True, slots=True)
class EdgeServices:
    """What an adapter needs. `body_limit`: bytes of a request's body."""

    gateway: Gateway
    endpoints: EndpointTable
    body_limit: int


@dataclass(frozen=True, slots=True)
class Target:
    """A request's path (canonical) and the target to forward, with the query as it came."""

    path: bytes
    full: bytes

    @classmethod
    def parse(cls, url: bytes) -> "Target":
        """Read a request target in origin form."""
        raw, mark, query = url.partition(b"?")
        path = canonical_path(raw)
        return cls(path, url if path is raw else path + mark + query)


class Exchange:
    """One request and its answer (`proxy.downstream.Downstream`); subclasses put the answer on the wire."""

    def __init__(self, services: EdgeServices, endpoint: Endpoint, target: Target) -> None:
        self.started = False
        self.source: Source | None = None
        self._services = services
        self._endpoint = endpoint
        self._target = target
        self._is_event_stream = False
        self._request_id = ""

    def record(self, method: bytes, headers: Headers, body: bytes) -> Record:
        """The request is complete. Its id is the client's, or made here."""
        incoming = Incoming(
            method, self._target.path, self._target.full, headers, body, self._endpoint
        )
        given = incoming.header(b"x-request-id")
        self._request_id = given.decode("latin-1") if given else secrets.token_hex(16)
        return Record(incoming, self._request_id)

    async def serve(self, record: Record) -> None:
        """Have the gateway answer; a defect of ours is an error for the client, not silence."""
        try:
            await self._services.gateway.serve(record, self)
        except Exception:  # the outermost frame of a request
            logger.exception("request %s failed", record.request_id)
            self.fail(INTERNAL_ERROR)

    def refuse(self, record: Record) -> None:
        """The request's body is over the limit."""
        self._services.gateway.refuse(record, self, body_too_large(self._services.body_limit))

    def feed_from(self, source: Source | None) -> None:
        """Name what is slowed down while the client does not keep up."""
        self.source = source

    def fail(self, error: RouterError) -> None:
        """Tell the client, in whatever way is still possible."""
        if not self.started:
            body = error_body(error, self._endpoint.family)
            self.start(error.status, error_headers(error, self._request_id), len(body))
            self.write(body)
            self.finish([])
        elif self._is_event_stream:
            self.write(stream_event(error, self._endpoint.family))
            self.finish([])
        else:
            self.abort()

    def _note_start(self, headers: Headers) -> None:
        self.started = True
        for name, value in headers:
            if name == b"content-type" and value.startswith(b"text/event-stream"):
                self._is_event_stream = True

    # -- for subclasses ------------------------------------------------------------------------

    def inform(self, status: int, headers: Headers) -> None:
        """Pass on an interim answer."""
        raise NotImplementedError

    def start(self, status: int, headers: Headers, length: int | None) -> None:
        """Begin the answer."""
        raise NotImplementedError

    def write(self, data: bytes) -> None:
        """Add to the body."""
        raise NotImplementedError

    def flush(self) -> None:
        """Send what has been collected."""
        raise NotImplementedError

    def finish(self, trailers: Headers) -> None:
        """End the answer."""
        raise NotImplementedError

    def abort(self) -> None:
        """Cut the answer off."""
        raise NotImplementedError

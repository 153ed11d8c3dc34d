"""A client's connection as far as limits go: how many there are, how long a client may take to write and to read."""

from typing import Any

from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol
from uvicorn.server import ServerState

from router.edge.exchange import EdgeServices
from router.edge.http1 import dismiss
from router.edge.limits import request_timeout, too_many_connections
from router.errors import RouterError

_TURNED_AWAY = 256
"""So many connections over the limit are told so, for which they have to be kept a moment."""

_AT_LEAST = 250
_ROUND = 8
"""A `Sweeper` looks at an eighth of all connections at a time: at 20,000 it takes 2 ms."""

_NOTHING = -1.0
_NEWLY = 0.0
"""Of `_receiving_since`: no request is coming in; one is, and `sweep` has not seen it."""


class WatchedProtocol(HttpToolsProtocol):
    """Looked at by `sweep` every so often, instead of timers per request."""

    def __init__(
        self,
        services: EdgeServices,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
    ) -> None:
        super().__init__(config, server_state, app_state)
        self._services = services
        self._stirred = True  # since `sweep` looked last
        self._idle_since = 0.0
        self._receiving_since = _NOTHING
        self._dismissed = False
        self._unread = 0  # bytes that the client had not read when `sweep` looked last, 0: it has read on since
        self._unread_since = 0.0

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        limit = self._services.limits.connections
        over = len(self.connections) - limit
        if over > 0:
            error = too_many_connections(limit)
            self._services.rejected[error.code] += 1
            if over > _TURNED_AWAY:
                transport.abort()
            else:
                self.dismiss(error)

    def sweep(self, now: float) -> None:
        """Close the connection when the client takes too long; `now`: `perf_counter()`.

        It must begin a request within the keep-alive time, never stop sending one for as long, have sent it
        within the time for that, and read something of what it is sent.
        """
        unread = self.transport.get_write_buffer_size()
        if unread or self._unread:
            self._await_reader(unread, now)
        if self._dismissed:
            return
        limits, since = self._services.limits, self._receiving_since
        if self._stirred:
            self._stirred = False
            self._idle_since = now
        elif now - self._idle_since > limits.keep_alive_s and not self.answering():
            if since == _NOTHING:
                self.transport.close()
            else:
                self.give_up(request_timeout(f"stalled for {limits.keep_alive_s:g} s"))
            return
        if since != _NOTHING:
            if since == _NEWLY or self.answering():
                self._receiving_since = now
            elif now - since > limits.receive_s:
                self.give_up(request_timeout(f"did not come in within {limits.receive_s:g} s"))

    def resume_writing(self) -> None:
        super().resume_writing()
        self._unread = 0

    def busy(self) -> bool:
        """A request is coming in, or its answer is not complete or not sent."""
        receiving = self._receiving_since != _NOTHING and not self._dismissed
        return self.answering() or receiving or self.transport.get_write_buffer_size() > 0

    def _await_reader(self, unread: int, now: float) -> None:
        if unread < self._unread or not self._unread:
            self._unread_since = now
        elif now - self._unread_since > self._services.limits.client_stall_s:
            self.transport.abort()
        self._unread = unread

    def dismiss(self, error: RouterError) -> None:
        """Give the last answer on the connection and close it."""
        self._dismissed = True
        dismiss(self.transport, error, self.connection_lost)

    # -- for subclasses ------------------------------------------------------------------------

    def answering(self) -> bool:
        """A request is complete and its answer is not."""
        raise NotImplementedError

    def give_up(self, error: RouterError) -> None:
        """Answer the request that is coming in with an error, and close the connection."""
        raise NotImplementedError


class Sweeper:
    """Has all connections of a server swept in turn, few at a time."""

    def __init__(self, server_state: ServerState) -> None:
        self._connections = server_state.connections
        self._left: list[Any] = []

    def sweep(self, now: float) -> None:
        """Sweep the next ones; `now`: `perf_counter()`."""
        left = self._left = self._left or list(self._connections)
        count = max(_AT_LEAST, len(self._connections) // _ROUND + 1)
        for connection in left[-count:]:
            if isinstance(connection, WatchedProtocol) and connection in self._connections:
                connection.sweep(now)
        del left[-count:]

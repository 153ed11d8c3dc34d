"""One connection to a worker: requests out, answers parsed and handed on as they arrive.

States: idle (no handler) → busy (one handler) → idle again, or closed. The parser's callbacks run inside
`data_received`; a handler hears of a read's end once, so that it can pass on all of a read in one write.
"""

import asyncio
import socket
from math import inf
from time import perf_counter
from typing import Protocol, cast

import httptools

from router import errors
from router.ids import Headers
from router.upstream.framing import HEAD_BYTES, BadAnswerError, check_size, framing
from router.upstream.limits import NO_LIMITS, TimeLimits, overdue

_STALE_S = 0.5
"""A kept-alive connection that is lost without a byte this soon was being closed as the request went out; later, the
worker may have worked on it."""

_KEEPALIVE = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}


class ResponseHandler(Protocol):
    """Receives one answer. Exactly one of `on_complete` and `on_lost` ends it."""

    def on_informational(self, status: int, headers: Headers) -> None:
        """An interim (1xx) answer; the final one follows."""

    def on_response(self, status: int, headers: Headers, length: int | None) -> None:
        """The head is complete. `length`: body bytes to come, or None when only the end will tell."""

    def on_body(self, data: bytes) -> None:
        """A part of the body, without transfer coding."""

    def on_read(self) -> None:
        """Everything that one read from the socket held has been handed over."""

    def on_complete(self, trailers: Headers) -> None:
        """The answer ended as its framing says."""

    def on_lost(self, error: errors.RouterError) -> None:
        """The answer will not be completed."""


class ConnectionOwner(Protocol):
    """The pool: told when a connection can serve again and when it is gone."""

    name: str

    def connection_idle(self, connection: "Connection") -> None:
        """An answer is complete and the connection stays open."""

    def connection_closed(self, connection: "Connection") -> None:
        """The connection is closed."""


class Connection(asyncio.Protocol):
    """An HTTP/1.1 client connection; not pipelined."""

    def __init__(self, owner: ConnectionOwner) -> None:
        self.idle_since = 0.0
        self._owner = owner
        self._transport: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._handler: ResponseHandler | None = None
        self._served = 0
        self._head_request = False
        self._sent_at = 0.0
        self._paused = False
        self._limits = NO_LIMITS
        self._ends_at = inf
        self._heard_at = 0.0  # when `look` last found that something had come
        self._looked = 0
        self.reads = 0
        self._reset()

    def _reset(self) -> None:
        self._headers: Headers = []
        self._trailers: Headers = []
        self._unfinished = self._fields_bytes = 0  # bytes of an incomplete head; of all fields
        self._in_body = False
        self._begun = False
        self._interim = False
        self._complete = False
        self._reusable = False
        self._until_close = False

    def __repr__(self) -> str:
        state = "closed" if self.closing else "busy" if self._handler else "idle"
        return f"<Connection to {self._owner.name}, {state}, {self._served} served>"

    @property
    def closing(self) -> bool:
        """True once the connection cannot be used any more."""
        return self._transport is None or self._transport.is_closing()

    def keep_alive(self) -> None:
        """Have the kernel notice a worker's host that is gone without a word, within a minute."""
        sock = self._transport.get_extra_info("socket") if self._transport else None
        if sock is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
            for option, value in _KEEPALIVE.items():
                if hasattr(socket, option):
                    sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)

    # -- requests ------------------------------------------------------------------------------

    def send(self, head: bytes, body: bytes, handler: ResponseHandler, *, is_head: bool) -> None:
        """Write one request; its answer goes to `handler`. The connection must be idle."""
        assert self._handler is None, "one request at a time"
        assert self._transport is not None
        self._handler = handler
        self._head_request = is_head
        self._sent_at = perf_counter()
        if len(body) < 16384:
            self._transport.write(head + body)
        else:
            self._transport.writelines((head, body))

    def limit(self, limits: TimeLimits, arrived_at: float) -> None:
        """Bound the answer to the request that is sent next, which arrived then."""
        self._limits = limits
        self._ends_at = arrived_at + limits.total_s

    def look(self, now: float, *, up: bool) -> None:
        """End an answer that is overdue. Called every so often, instead of a timer per request. `up`: the worker passes
        its health checks.
        """
        if self._handler is None:
            return
        # a client that reads slower is not the worker's fault
        if self._looked != self.reads or self._paused:
            self._looked, self._heard_at = self.reads, now
        silent_s = now - max(self._heard_at, self._sent_at)
        late = overdue(self._limits, silent_s, begun=self._begun, up=up)
        if now >= self._ends_at:
            self.fail(errors.out_of_time(self._limits.total_s))
        elif late:
            self.fail(errors.worker_timeout(self._owner.name, late))

    def abort(self) -> None:
        """Close at once, telling nobody: the worker stops generating when it sees this."""
        self._handler = None
        if self._transport is not None:
            self._transport.abort()

    def close(self) -> None:
        """Close an idle connection."""
        if self._transport is not None:
            self._transport.close()

    def pause_reading(self) -> None:
        """Stop reading from the worker, because the client reads slower."""
        if not self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = True
            self._transport.pause_reading()

    def resume_reading(self) -> None:
        """Read on."""
        if self._paused and self._transport is not None and not self._transport.is_closing():
            self._paused = False
            self._transport.resume_reading()

    # -- asyncio.Protocol ----------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is not a subclass

    def data_received(self, data: bytes) -> None:
        handler = self._handler
        if handler is None:  # an answer to nothing, or bytes behind an answer
            self.close()
            return
        self.reads += 1
        try:
            self._parser.feed_data(data)
            if not self._in_body:
                self._unfinished += len(data)
                check_size(self._unfinished)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade, BadAnswerError) as error:
            if not self._complete:
                self.fail(errors.bad_response(self._owner.name, _reason(error)))
                return
            self._reusable = False
        if self._complete:
            self._finish(handler)
        elif self._handler is not None:
            handler.on_read()

    def eof_received(self) -> bool:
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        handler = self._handler
        self._transport = None
        if handler is not None:
            if self._in_body and exc is None and self._until_close:
                self._finish(handler)
            else:
                self.fail(self._lost_error())
        self._owner.connection_closed(self)

    def _lost_error(self) -> errors.RouterError:
        if self._in_body:
            return errors.worker_lost(self._owner.name, "before its answer was complete")
        silent = not self._unfinished and perf_counter() - self._sent_at < _STALE_S
        if self._served and silent:
            return errors.stale_connection(self._owner.name)
        return errors.worker_lost(self._owner.name, "before answering")

    def _finish(self, handler: ResponseHandler) -> None:
        self._handler = None
        self._served += 1
        trailers, reusable = self._trailers, self._reusable and self._all_sent()
        self._limits, self._ends_at = NO_LIMITS, inf
        self._reset()
        handler.on_complete(trailers)
        if reusable:
            self.resume_reading()  # or its end would go unnoticed in the pool
            self._owner.connection_idle(self)
        else:
            self.close()

    def _all_sent(self) -> bool:
        """A worker that answers before it has read the request may never read the rest of it."""
        transport = self._transport
        return (
            transport is not None
            and not transport.is_closing()
            and not transport.get_write_buffer_size()
        )

    def fail(self, error: errors.RouterError) -> None:
        """Close at once; an answer under way ends with `error`."""
        handler = self._handler
        self.abort()
        if handler is not None:
            handler.on_lost(error)

    # -- httptools callbacks -------------------------------------------------------------------

    def on_message_begin(self) -> None:
        if self._complete:
            self._reusable = False

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._complete:  # of an answer that nobody asked for
            return
        self._fields_bytes += len(name) + len(value)
        if self._fields_bytes > HEAD_BYTES:
            check_size(self._fields_bytes)
        if self._in_body:
            self._trailers.append((name.lower(), value))
        else:
            self._headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        handler = self._handler
        if handler is None or self._complete:
            return
        status = self._parser.get_status_code()
        if status < 200:
            if status < 100:
                raise BadAnswerError(f"its status is {status:03}")
            self._interim = True
            return
        length, chunked = framing(self._headers)
        bodiless = self._head_request or status in (204, 304)
        self._until_close = length is None and not chunked and not bodiless
        self._in_body = True
        handler.on_response(status, self._headers, length)
        if self._head_request:  # the parser cannot know; the rest of the connection is of no use
            self._complete = True

    def on_body(self, body: bytes) -> None:
        if self._handler is not None and not self._complete:
            self._begun = True
            self._handler.on_body(body)

    def on_message_complete(self) -> None:
        if self._complete or self._handler is None:
            return
        if self._interim:
            status = self._parser.get_status_code()
            if status != 101:  # never asked for; the parser objects to what follows
                self._handler.on_informational(status, self._headers)
            self._headers, self._interim = [], False
            return
        self._complete = True
        self._reusable = self._parser.should_keep_alive()


def _reason(error: Exception) -> str:
    """What is wrong with an answer; the parser wraps what its callbacks raise."""
    inner = error.__context__
    return str(inner if isinstance(inner, BadAnswerError) else error) or "unexpected upgrade"

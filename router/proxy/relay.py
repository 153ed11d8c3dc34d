"""Passes one worker's answer to the client, unchanged, and notes when things happened.

No task and no await per chunk: the worker's connection calls in, bytes go out. What is kept of the answer
is bounded: the first piece and the last ones, for the id and the usage.
"""

import asyncio
from collections.abc import Callable
from time import perf_counter

from router.errors import RouterError
from router.ids import Headers
from router.proxy.downstream import Downstream
from router.proxy.sse import opens_without_content, token_events
from router.telemetry.metrics import Histogram
from router.upstream.headers import response_headers

_TAIL_BYTES = 65_536
_EVENT_STREAM = b"text/event-stream"


class Relay:
    """Handles one attempt's answer (`upstream.connection.ResponseHandler`).

    `refusals` are statuses that the gateway would rather retry elsewhere: with one of these nothing is passed
    on and `refused` says so. Times are `perf_counter` seconds; 0.0: has not happened.
    """

    def __init__(
        self,
        downstream: Downstream,
        added: Headers,
        refusals: frozenset[int],
        itl: Histogram,
        on_first_token: Callable[[float], None],
    ) -> None:
        self.done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self.status = 0
        self.headers: Headers = []
        self.refused = False
        self.error: RouterError | None = None
        self.is_stream = False
        self.first_token_at = 0.0
        self.last_token_at = 0.0
        self.tokens = 0
        self.head = b""
        self._downstream = downstream
        self._added = added
        self._refusals = refusals
        self._itl = itl
        self._on_first_token = on_first_token
        self._tail: list[bytes] = []
        self._tail_bytes = 0
        self._events = 0

    @property
    def ended(self) -> bool:
        """The answer is whole or lost; nothing more will come."""
        return self.done.done() and not self.done.cancelled()

    @property
    def tail(self) -> bytes:
        """The answer's last bytes, `_TAIL_BYTES` or somewhat more."""
        return b"".join(self._tail)

    # -- called by the worker's connection -----------------------------------------------------

    def on_informational(self, status: int, headers: Headers) -> None:
        """Interim answers are for the client."""
        self._downstream.inform(status, response_headers(headers))

    def on_response(self, status: int, headers: Headers, length: int | None) -> None:
        """Start the client's answer, unless it is refused here."""
        self.status = status
        self.headers = headers
        if status in self._refusals:
            self.refused = True
            return
        for name, value in headers:
            if name == b"content-type":
                self.is_stream = value.startswith(_EVENT_STREAM)
        kept = response_headers(headers)
        self._downstream.start(status, _merged(kept, self._added), length)

    def on_body(self, data: bytes) -> None:
        """Pass a piece on."""
        if self.refused:
            return
        self._downstream.write(data)
        if not self.head:
            self.head = data
        if self.is_stream:
            self._events += token_events(data)
            if not self.first_token_at and opens_without_content(data):
                self._events -= 1
        self._remember(data)

    def on_read(self) -> None:
        """One write per read; token times are the times of reads."""
        if self._events:
            self._note_tokens(perf_counter())
        self._downstream.flush()

    def on_complete(self, trailers: Headers) -> None:
        """The answer is whole."""
        if self._events:
            self._note_tokens(perf_counter())
        if not self.refused:
            self._downstream.finish(trailers)
        self._settle()

    def on_lost(self, error: RouterError) -> None:
        """The answer ends early; the gateway decides what the client is told."""
        self.error = error
        self._settle()

    # ------------------------------------------------------------------------------------------

    def _settle(self) -> None:
        if not self.done.done():
            self.done.set_result(None)

    def _note_tokens(self, now: float) -> None:
        events, self._events = self._events, 0
        if self.first_token_at:
            self._itl.observe((now - self.last_token_at) / events, events)
        else:
            self.first_token_at = now
            self._on_first_token(now)
        self.last_token_at = now
        self.tokens += events

    def _remember(self, data: bytes) -> None:
        self._tail.append(data)
        self._tail_bytes += len(data)
        while self._tail_bytes - len(self._tail[0]) >= _TAIL_BYTES:
            self._tail_bytes -= len(self._tail.pop(0))


def _merged(headers: Headers, added: Headers) -> Headers:
    """`headers` with the router's own fields; a field that the worker set itself is replaced."""
    names = {name for name, _ in added}
    return [h for h in headers if h[0] not in names] + added

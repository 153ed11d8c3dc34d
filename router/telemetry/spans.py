"""A span as plain data, and the queue through which spans leave the event loop."""

import logging
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from queue import Empty, SimpleQueue
from threading import Lock, Thread
from time import monotonic
from typing import Protocol, TypeAlias

import msgspec

logger = logging.getLogger(__name__)

Value: TypeAlias = str | int | float | bool | tuple[str, ...]


class Kind(Enum):
    """Whose side of what a span shows."""

    INTERNAL = "internal"
    SERVER = "server"
    CLIENT = "client"


class Span(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """A span that has ended. Times are nanoseconds since the epoch; `parent_id` 0: none, `remote`: it is another process's;
    `error`: why it failed, empty when it did not.
    """

    name: str
    kind: Kind
    trace_id: int
    span_id: int
    parent_id: int
    remote: bool = False
    flags: int
    state: str = ""
    start_ns: int
    end_ns: int
    attributes: Mapping[str, Value]
    events: tuple[tuple[str, int], ...] = ()
    error: str = ""


class Export(Protocol):
    """Brings spans to a collector; called by one thread."""

    def send(self, spans: Sequence[Span]) -> str:
        """Deliver them, which may take its time; why it could not, empty when it could."""

    def stop(self) -> None:
        """Give up what is under way. Called by another thread, once."""


class SpanQueue:
    """Hands spans to a thread that exports them in batches; `write` never waits.

    Spans that would make more than `limit` wait are dropped, and so are those of a batch that cannot be delivered.
    `on_drop` is told how many, in the thread that calls `write`, `tell` or `close`. All methods are for one thread.
    """

    def __init__(
        self, export: Export, *, limit: int = 8192, batch: int = 64, delay_s: float = 0.5
    ) -> None:
        self.on_drop: Callable[[int], None] = _ignore
        self._export = export
        self._limit = limit
        self._batch = batch
        self._delay_s = delay_s
        self._queue: SimpleQueue[Sequence[Span] | None] = SimpleQueue()
        # A daemon: a collector that never answers must not keep the process from ending.
        self._thread = Thread(target=self._run, name="spans", daemon=True)
        # Each counter is written by one side only; the lock is for who counts a batch that is under way at the end.
        self._taken = self._refused = self._told = 0
        self._done = self._lost = 0
        self._counting, self._over = Lock(), False
        self._closed = self._stopped = self._failing = False

    def write(self, spans: Sequence[Span]) -> None:
        """Take the spans of a request; all of them are dropped when they do not fit."""
        if self._closed or self._taken - self._done + len(spans) > self._limit:
            self._refused += len(spans)
            return
        if self._thread.ident is None:
            self._thread.start()
        self._taken += len(spans)
        self._queue.put(spans)

    def tell(self) -> None:
        """Say how many were dropped since."""
        if news := self._refused + self._lost - self._told:
            self._told += news
            self.on_drop(news)

    def close(self, timeout_s: float) -> None:
        """Have all that wait exported, for `timeout_s` at most; later ones are dropped. Blocks the thread."""
        if self._closed:
            return
        self._closed = True
        if self._failing:  # it would be tried again until the end
            self._stop()
        if self._thread.ident is not None:
            self._queue.put(None)
            self._thread.join(timeout_s)
        if not self._stopped:
            self._stop()
        with self._counting:
            self._over = True
            left = self._taken - self._done
        if left:
            logger.warning("%d spans were not exported in time", left)
            self._refused += left
        self.tell()

    def _stop(self) -> None:
        self._stopped = True
        self._export.stop()

    # -- the thread ----------------------------------------------------------------------------

    def _run(self) -> None:
        while (spans := self._queue.get()) is not None:
            batch = list(spans)
            ended = self._gather(batch)
            lost = self._send(batch)
            with self._counting:
                if not self._over:
                    self._lost += len(batch) if lost else 0
                    self._done += len(batch)
            if ended:
                return

    def _gather(self, batch: list[Span]) -> bool:
        """Add what comes within the delay; True: it was the last."""
        until = monotonic() + self._delay_s
        while len(batch) < self._batch:
            try:
                more = self._queue.get(timeout=max(0.0, until - monotonic()))
            except Empty:
                return False
            if more is None:
                return True
            batch += more
        return False

    def _send(self, batch: list[Span]) -> bool:
        """Whether they are lost."""
        try:
            problem = self._export.send(batch)
        except Exception as error:  # noqa: BLE001 - whatever it is, requests go on without their spans
            problem = repr(error)
        if problem:
            if not (self._failing or self._stopped):
                logger.warning("spans cannot be exported, and are dropped: %s", problem)
        elif self._failing:
            logger.info("spans are exported again")
        self._failing = bool(problem)
        return self._failing


def _ignore(spans: int) -> None:
    del spans

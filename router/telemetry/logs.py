"""One line per request, and the process's own log in the same form.

Request lines are encoded at once and written in batches, off the request's path: a write per line would
cost as much as relaying a small answer. A thread writes them: whoever reads them may be slow, or gone.
"""

import json
import logging
import os
import select
import sys
import threading
from collections.abc import Callable
from datetime import UTC, datetime
from queue import SimpleQueue
from typing import Any, Protocol

import msgspec

logger = logging.getLogger(__name__)


class RequestLine(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is known of a request when it has ended. Durations are milliseconds; None: not known."""

    ts: str
    event: str = "request"
    request_id: str
    tenant: str | None = None
    model: str | None
    endpoint: str
    worker: str | None
    policy: str
    reason: str
    status: int
    outcome: str
    error: str | None = None
    prompt_tokens: int | None
    completion_tokens: int | None
    predicted_cached_tokens: int | None
    cached_tokens: int | None
    queue_ms: float
    ttft_ms: float | None
    duration_ms: float
    attempts: int
    resumed: int = 0
    trace_id: str | None = None


def timestamp(epoch_s: float) -> str:
    """ISO 8601 with milliseconds, UTC."""
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="milliseconds")


def as_text(line: RequestLine) -> bytes:
    """The line for a person's terminal, which nothing that a client chose moves or breaks."""
    cached = "-" if line.cached_tokens is None else line.cached_tokens
    ttft = "-" if line.ttft_ms is None else f"{line.ttft_ms:.0f} ms"
    queued = f" queued={line.queue_ms:.0f} ms" if line.queue_ms else ""
    tenant = f" tenant={line.tenant}" if line.tenant else ""
    text = (
        f"{_local(line.ts)} {line.status} {line.outcome:<9} {line.endpoint}{tenant} model={line.model or '-'} "
        f"worker={line.worker or '-'} ({line.reason}) prompt={line.prompt_tokens or '-'} "
        f"cached={line.predicted_cached_tokens or 0}/{cached}{queued} ttft={ttft} took={line.duration_ms:.0f} ms"
        f"{f' error={line.error}' if line.error else ''} id={line.request_id}"
    )
    return f"{_printable(text)}\n".encode()


def _local(stamp: str) -> str:
    """The time of day as the terminal's other lines have it."""
    return datetime.fromisoformat(stamp).astimezone().strftime("%H:%M:%S.%f")[:-3]


def _printable(text: str) -> str:
    """The text, with escapes for what moves the cursor, ends the line or cannot be encoded."""
    if text.isprintable():
        return text
    return "".join(
        each if each.isprintable() else each.encode("unicode_escape").decode() for each in text
    )


class Timestamps:
    """The same, faster for a series of times: the part down to the second is kept."""

    def __init__(self) -> None:
        self._second = -1
        self._text = ""

    def __call__(self, epoch_s: float) -> str:
        """ISO 8601 with milliseconds, UTC."""
        second = int(epoch_s)
        if second != self._second:
            self._second = second
            self._text = datetime.fromtimestamp(second, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        return f"{self._text}.{int((epoch_s - second) * 1000):03d}+00:00"


class BinarySink(Protocol):
    """Where lines go: standard output's buffer, a file."""

    def write(self, data: Any, /) -> Any:
        """Take the lines."""

    def flush(self) -> Any:
        """Let them be seen."""


class RequestLog:
    """Collects request lines; `flush` writes what has come together (the owner calls it every so often)."""

    def __init__(self, stream: BinarySink, *, json: bool, limit: int = 2000) -> None:
        self._stream = stream
        self._encode: Callable[[RequestLine], bytes] = _json_line if json else as_text
        self._lines: list[bytes] = []
        self._limit = limit

    def write(self, line: RequestLine) -> None:
        """Add a line; written out when `limit` lines wait, else at the next flush."""
        self._lines.append(self._encode(line))
        if len(self._lines) >= self._limit:
            self.flush()

    def flush(self) -> None:
        """Write out all waiting lines."""
        if self._lines:
            data = b"".join(self._lines)
            self._lines.clear()
            self._stream.write(data)
            self._stream.flush()


class ThreadedSink:
    """Writes to a file descriptor in a thread of its own, in order; `write` never waits.

    Lines that would make more than `limit_bytes` wait are dropped, and so are those that cannot be written
    because the reader is gone or the disk full. `on_drop` is told how many, in the thread that calls `write`
    or `close`. All methods are for one thread.
    """

    def __init__(self, fd: int, *, limit_bytes: int = 8 * 1024 * 1024) -> None:
        self.on_drop: Callable[[int], None] = _ignore
        self._fd = fd
        self._limit = limit_bytes
        self._queue: SimpleQueue[bytes | None] = SimpleQueue()
        # A daemon: a reader that never reads must not keep the process from ending.
        self._thread = threading.Thread(target=self._run, name="request-log", daemon=True)
        # Each counter is written by one side only, so that none needs a lock.
        self._taken = self._refused = self._told = 0
        self._done = self._unwritten = 0
        self._closed = False

    @property
    def dropped_lines(self) -> int:
        """Lines dropped so far."""
        return self._refused + self._unwritten

    def write(self, data: bytes, /) -> None:
        """Take whole lines; all of them are dropped when they do not fit."""
        if self._closed or self._taken - self._done + len(data) > self._limit:
            self._refused += data.count(b"\n")
        else:
            if self._thread.ident is None:
                self._thread.start()
            self._taken += len(data)
            self._queue.put(data)
        self._tell()

    def flush(self) -> None:
        """Nothing to do: the thread writes at once."""

    def close(self, timeout_s: float) -> None:
        """Wait until all is written, `timeout_s` at most; later lines are dropped. Blocks the thread."""
        self._closed = True
        if self._thread.ident is not None:
            self._queue.put(None)
            self._thread.join(timeout_s)
        if left := self._taken - self._done:
            logger.warning("%d bytes of the request log were not written: nobody reads it", left)
        self._tell()

    def _tell(self) -> None:
        if news := self.dropped_lines - self._told:
            self._told += news
            self.on_drop(news)

    def _run(self) -> None:
        failing = False
        while (data := self._queue.get()) is not None:
            rest = memoryview(data)
            try:
                while rest:
                    rest = rest[self._write_some(rest) :]
                failing = False
            except OSError as error:
                self._unwritten += bytes(rest).count(b"\n")
                if not failing:
                    logger.warning("the request log cannot be written: %s", error)
                failing = True
            self._done += len(data)

    def _write_some(self, data: memoryview) -> int:
        """Write at least a byte, also where another process made the shared pipe non-blocking."""
        while True:
            try:
                return os.write(self._fd, data)
            except BlockingIOError:
                select.select([], [self._fd], [])


def _ignore(lines: int) -> None:
    del lines


_ENCODER = msgspec.json.Encoder()


def _json_line(line: RequestLine) -> bytes:
    return _ENCODER.encode(line) + b"\n"


class JsonFormatter(logging.Formatter):
    """The process's own records as JSON objects."""

    def format(self, record: logging.LogRecord) -> str:
        """One line of ASCII per record, whatever it is made of; a traceback goes into `exception`."""
        entry = {
            "ts": timestamp(record.created),
            "event": "log",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": _message(record),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            entry["stack"] = record.stack_info
        return json.dumps(entry, separators=(",", ":"))  # spelt as request lines are


def _message(record: logging.LogRecord) -> str:
    """What the record says, also where its arguments do not fit: else `logging` would print that, and not as JSON."""
    try:
        return record.getMessage()
    except Exception as error:  # noqa: BLE001 - it comes from anybody's `__str__`
        return (
            f"{record.msg!r} cannot be formatted with {len(record.args or ())} arguments: {error!r}"
        )


def configure_logging(*, json: bool, level: str) -> None:
    """Send the process's records to standard error, and as records what Python would print there itself: warnings and, where
    lines are JSON, exceptions that nobody caught.
    """
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter()
        if json
        else logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    logging.captureWarnings(capture=True)
    if json:
        sys.excepthook = lambda _kind, error, _trace: _uncaught(error)
        sys.unraisablehook = lambda it: _uncaught(it.exc_value)
        threading.excepthook = lambda it: _uncaught(it.exc_value)


def _uncaught(error: BaseException | None) -> None:
    logger.critical("an exception was not caught: %r", error, exc_info=error)

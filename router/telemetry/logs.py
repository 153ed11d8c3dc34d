"""One line per request, and the process's own log in the same form.

Request lines are encoded at once and written in batches, off the request's path: a write per line would
cost as much as relaying a small answer.
"""

import logging
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any, Protocol

import msgspec


class RequestLine(msgspec.Struct, frozen=True, kw_only=True, gc=False):
    """What is known of a request when it has ended. Durations are milliseconds; None: not known."""

    ts: str
    event: str = "request"
    request_id: str
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
    ttft_ms: float | None
    duration_ms: float
    attempts: int


def timestamp(epoch_s: float) -> str:
    """ISO 8601 with milliseconds, UTC."""
    return datetime.fromtimestamp(epoch_s, UTC).isoformat(timespec="milliseconds")


def as_text(line: RequestLine) -> bytes:
    """The line for a person's terminal."""
    cached = "-" if line.cached_tokens is None else line.cached_tokens
    ttft = "-" if line.ttft_ms is None else f"{line.ttft_ms:.0f} ms"
    return (
        f"{line.ts[11:23]} {line.status} {line.outcome:<9} {line.endpoint} model={line.model or '-'} "
        f"worker={line.worker or '-'} ({line.reason}) prompt={line.prompt_tokens or '-'} "
        f"cached={line.predicted_cached_tokens or 0}/{cached} ttft={ttft} took={line.duration_ms:.0f} ms"
        f"{f' error={line.error}' if line.error else ''} id={line.request_id}\n"
    ).encode()


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


_ENCODER = msgspec.json.Encoder()


def _json_line(line: RequestLine) -> bytes:
    return _ENCODER.encode(line) + b"\n"


class JsonFormatter(logging.Formatter):
    """The process's own records as JSON objects."""

    def format(self, record: logging.LogRecord) -> str:
        """One line per record; a traceback goes into `exception`."""
        entry = {
            "ts": timestamp(record.created),
            "event": "log",
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return _ENCODER.encode(entry).decode()


def configure_logging(*, json: bool, level: str) -> None:
    """Send the process's records to standard error."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter()
        if json
        else logging.Formatter("%(asctime)s %(levelname)s %(name)s: %(message)s")
    )
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())

"""The requests that ended last, as rows for people. Nothing of a prompt is in them."""

from collections import deque
from collections.abc import Sequence

from router.telemetry.logs import RequestLine

COLUMNS = (
    *("ts", "request_id", "tenant", "model", "endpoint", "worker", "policy", "reason"),
    *("prompt_tokens", "completion_tokens", "predicted_cached_tokens", "cached_tokens"),
    *("queue_ms", "ttft_ms", "duration_ms", "status", "outcome", "error", "attempts", "resumed"),
    "trace_id",
)
Row = list[str | int | float | None]

_LONGEST = 300
"""Characters of a text that clients or workers chose."""


class Feed:
    """Keeps the last `limit` requests."""

    def __init__(self, limit: int = 200) -> None:
        self._last: deque[RequestLine] = deque(maxlen=limit)

    def add(self, lines: Sequence[RequestLine]) -> None:
        """These ended."""
        self._last.extend(lines)

    def rows(self) -> list[Row]:
        """All that are kept, oldest first."""
        return [row(line) for line in self._last]


def row(line: RequestLine) -> Row:
    """The line as `COLUMNS`."""
    return [_short(getattr(line, name)) for name in COLUMNS]


def _short(value: str | int | float | None) -> str | int | float | None:
    if isinstance(value, str) and len(value) > _LONGEST:
        return value[: _LONGEST - 1] + "…"
    return value

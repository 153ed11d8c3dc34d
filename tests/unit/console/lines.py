"""Lines of requests that ended."""

from typing import Any

from router.telemetry.logs import RequestLine


def line(**known: Any) -> RequestLine:
    """A streamed answer of worker `a`, or what is said."""
    fields: dict[str, Any] = {
        "ts": "2026-01-02T03:04:05.678+00:00",
        "request_id": "r",
        "model": "m",
        "endpoint": "chat_completions",
        "worker": "a",
        "policy": "prefix",
        "reason": "cached",
        "status": 200,
        "outcome": "ok",
        "prompt_tokens": 100,
        "completion_tokens": 5,
        "predicted_cached_tokens": 60,
        "cached_tokens": 50,
        "queue_ms": 0.0,
        "ttft_ms": 20.0,
        "duration_ms": 80.0,
        "attempts": 1,
    }
    return RequestLine(**{**fields, **known})

"""What spans say of a request, in the words of OpenTelemetry's semantic conventions for HTTP and for generative AI; what
these have no name for is called `router.` and as in the request log (pure).
"""

import re
from collections.abc import Mapping
from typing import TypeAlias

from router.prompt.endpoints import PATHS, stored_response_id
from router.prompt.request import Incoming
from router.telemetry.logs import RequestLine
from router.telemetry.spans import Value
from router.telemetry.tracing import Attempt

Attributes: TypeAlias = dict[str, Value]

_OPERATIONS = {
    "chat_completions": "chat",
    "chat_completions_batch": "chat",
    "responses": "chat",
    "messages": "chat",
    "completions": "text_completion",
    "generate": "text_completion",
    "embeddings": "embeddings",
}
ENGINE = "vllm"
"""Who runs the models of a router's own workers."""

_SERVICES: Mapping[str, str] = {
    r"(?:[a-z0-9-]+\.)?bedrock[a-z0-9.-]*\.(?:amazonaws\.com(?:\.cn)?|api\.aws)": "aws.bedrock",
    r"(?:[a-z0-9-]+\.)?api\.openai\.com": "openai",
    r"[a-z0-9-]+\.openai\.azure\.(?:com|us|cn)": "azure.ai.openai",
}
_METHODS = {
    name.encode(): name
    for name in ("GET", "HEAD", "POST", "PUT", "DELETE", "CONNECT", "OPTIONS", "TRACE", "PATCH")
}
_PATHS = {path.encode(): path for path in PATHS}

_LONGEST = 256
"""Characters of what clients may make as long as they like."""

_AS_LOGGED = tuple(
    (f"router.{field}", field)
    for field in (
        "request_id", "tenant", "worker", "policy", "reason", "outcome", "predicted_cached_tokens", "cached_tokens",
        "queue_ms", "attempts", "resumed",
    )
)  # fmt: skip
_USAGE = (
    ("gen_ai.usage.input_tokens", "prompt_tokens"),
    ("gen_ai.usage.output_tokens", "completion_tokens"),
    ("gen_ai.usage.cache_read.input_tokens", "cached_tokens"),
)

_TEXT = rb'"\s*:\s*"([^"\\]{1,200})"'
_ID, _MODEL = re.compile(rb'"id' + _TEXT), re.compile(rb'"model' + _TEXT)
_FINISH = re.compile(rb'"(?:finish|stop)_reason"\s*:\s*"([a-z_]{1,40})"')
_LOOK_AT = 4096
"""Bytes of an answer's beginning, which has its id and model, and of its end, which says why it ended."""


def answer(head: bytes, tail: bytes) -> Attributes:
    """What an answer's first and last pieces say of it. (In a model's own text these quotes would be escaped.)"""
    found: Attributes = {}
    for name, pattern in (("gen_ai.response.id", _ID), ("gen_ai.response.model", _MODEL)):
        if match := pattern.search(head, 0, _LOOK_AT):
            found[name] = match[1].decode("utf-8", "replace")
    if reasons := _FINISH.findall(tail[-_LOOK_AT:]):
        found["gen_ai.response.finish_reasons"] = tuple(each.decode() for each in reasons)
    return found


def span_name(incoming: Incoming) -> str:
    """Method and route, of which there are few."""
    method = _METHODS.get(incoming.method, "HTTP")
    return f"{method} {route}" if (route := _route(incoming.path)) else method


def http(incoming: Incoming) -> Attributes:
    """The request as HTTP has it, the same for the client's and the worker's side."""
    return {
        "http.request.method": _METHODS.get(incoming.method, "_OTHER"),
        "url.path": incoming.path[:_LONGEST].decode("latin-1"),
    }


def received(incoming: Incoming, line: RequestLine, scheme: str) -> Attributes:
    """What only the client's side has."""
    found: Attributes = {
        "url.scheme": scheme,
        "http.response.status_code": line.status,
        **_server(incoming.by_name.get(b"host", b"").decode("latin-1")),
    }
    if route := _route(incoming.path):
        found["http.route"] = route
    if agent := incoming.by_name.get(b"user-agent"):
        found["user_agent.original"] = agent[:_LONGEST].decode("latin-1")
    for name, field in _AS_LOGGED:
        if (value := getattr(line, field)) not in (None, ""):
            found[name] = value
    return found


def provider(host: str) -> str:
    """What the conventions call a managed service at `host`; empty where they have no name for it."""
    for pattern, name in _SERVICES.items():
        if re.fullmatch(pattern, host.lower()):
            return name
    return ""


def gen_ai(line: RequestLine, *, streams: bool, by: str = ENGINE) -> Attributes:
    """What was asked of a model, and what it took; nothing where none runs. `by`: who runs it, empty: it has no name."""
    operation = _OPERATIONS.get(line.endpoint)
    if operation is None:
        return {}
    found: Attributes = {"gen_ai.operation.name": operation}
    if by:
        found["gen_ai.provider.name"] = by
    if line.model:
        found["gen_ai.request.model"] = line.model[:_LONGEST]
    for name, field in _USAGE:
        if (tokens := getattr(line, field)) is not None:
            found[name] = tokens
    if streams:
        found["gen_ai.request.stream"] = True
        if line.ttft_ms is not None:
            found["gen_ai.response.time_to_first_chunk"] = line.ttft_ms / 1e3
    return found


def attempted(attempt: Attempt, number: int) -> Attributes:
    """Whom a request was sent to, the `number`th time (from 0), why, and what came of it."""
    found: Attributes = {
        "server.address": attempt.host,
        "server.port": attempt.port,
        "router.worker": attempt.worker,
        "router.reason": attempt.reason,
        "router.predicted_cached_tokens": attempt.cached_tokens,
    }
    if number:
        found["http.request.resend_count"] = number
        found["router.retry_reason"] = attempt.cause
    if attempt.status:
        found["http.response.status_code"] = attempt.status
    if attempt.error:
        found["error.type"] = attempt.error
    return found


def _route(path: bytes) -> str:
    """The path, or its pattern where it has an id; empty for those that are only allowed."""
    known = _PATHS.get(path)
    if known is None and stored_response_id(path) is not None:
        return f"/v1/responses/{{id}}{'/cancel' if path.endswith(b'/cancel') else ''}"
    return known or ""


def _server(host: str) -> Attributes:
    """Whom the client means to talk to."""
    name, colon, port = host.rpartition(":")
    if colon and port.isascii() and port.isdigit() and len(port) < 6:
        return {"server.address": name.strip("[]")[:_LONGEST], "server.port": int(port)}
    return {"server.address": host.strip("[]")[:_LONGEST]} if host else {}

"""Fields of a request's JSON body, checked as vLLM checks them."""

import uuid
from collections.abc import Sequence as Items
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from router.simworker.config import WorkerConfig
from router.simworker.http import NOT_AN_OBJECT, ApiError, Request, bad_request, invalid


@dataclass(frozen=True, slots=True)
class Sampling:
    """How much to generate and how to send it."""

    max_tokens: int | None = None
    n: int = 1
    stop: tuple[str, ...] = ()
    cache_salt: str | None = None
    planned: str | None = None


def unix_now() -> int:
    """Seconds since 1970, for `created` fields."""
    return int(datetime.now(UTC).timestamp())


def new_id() -> str:
    """A random id as vLLM makes them."""
    return uuid.uuid4().hex[:16]


def response_id(request: Request, prefix: str) -> str:
    """Id of the answer: the client's request id if it sent one."""
    return prefix + (request.header(b"x-request-id") or new_id())


def pick_model(config: WorkerConfig, body: dict[str, Any]) -> str:
    """The model asked for, the base model if none is; raises ApiError if it is not served."""
    model = body.get("model") or config.models[0]
    if model not in config.models:
        message = f"The model `{model}` does not exist. Valid aliases: {', '.join(config.models)}."
        raise ApiError(404, "NotFoundError", message, "model")
    return str(model)


def adapter_path(model: str) -> str:
    """Where an adapter claims to be loaded from."""
    return f"/models/{model}"


def integer(body: dict[str, Any], name: str) -> int | None:
    """An optional whole number."""
    value = body.get(name)
    if value is None or (isinstance(value, int) and not isinstance(value, bool)):
        return value
    raise invalid(
        "int_parsing",
        f"body.{name}",
        "Input should be a valid integer, unable to parse string as an integer",
        str(value),
    )


def number(body: dict[str, Any], name: str) -> float | None:
    """An optional number."""
    value = body.get(name)
    if value is None or (isinstance(value, int | float) and not isinstance(value, bool)):
        return value
    raise invalid(
        "float_parsing",
        f"body.{name}",
        "Input should be a valid number, unable to parse string as a number",
        str(value),
    )


def require(body: dict[str, Any], name: str) -> Any:
    """A mandatory field; raises ApiError if it is absent."""
    if name not in body:
        raise invalid("missing", f"body.{name}", "Field required", f"<dict of {len(body)} items>")
    return body[name]


def sampling(body: dict[str, Any], limit_names: Items[str], planned: str | None = None) -> Sampling:
    """Sampling fields; the first of `limit_names` that is present is the limit."""
    limits = [value for name in limit_names if (value := integer(body, name)) is not None]
    limit = limits[0] if limits else None
    if limit is not None and limit < 1:
        raise bad_request(
            f"max_tokens must be at least 1, got {limit}. (parameter=max_tokens, value={limit})",
            "max_tokens",
        )
    temperature = number(body, "temperature")
    if temperature is not None and temperature < 0:
        message = f"temperature must be non-negative, got {float(temperature)}."
        raise bad_request(
            f"{message} (parameter=temperature, value={float(temperature)})", "temperature"
        )
    n = integer(body, "n") or 1
    if n > 1 and temperature == 0:
        raise bad_request(f"n must be 1 when using greedy sampling, got {n}.")
    salt = body.get("cache_salt")
    salt = salt if isinstance(salt, str) else None
    return Sampling(limit, n, _stops(body.get("stop")), salt, planned)


def _stops(value: Any) -> tuple[str, ...]:
    if value is None:
        return ()
    stops = [value] if isinstance(value, str) else value
    if isinstance(stops, list) and all(isinstance(stop, str) for stop in stops):
        return tuple(stops)
    raise invalid("string_type", "body.stop.str", "Input should be a valid string", str(value))


def stream_options(body: dict[str, Any]) -> dict[str, Any]:
    """Options of a stream, which only a stream may have."""
    options = body.get("stream_options")
    if options is None:
        return {}
    if not isinstance(options, dict):
        raise invalid("model_attributes_type", "body.stream_options", NOT_AN_OBJECT, str(options))
    if not body.get("stream"):
        message = (
            "Stream options can only be defined when `stream=True`. (parameter=stream_options)"
        )
        raise bad_request(message, "stream_options")
    return options

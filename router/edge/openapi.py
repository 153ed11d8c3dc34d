"""What the OpenAPI document says of errors (pure)."""

from collections.abc import Mapping
from typing import Any

_TEXT = {"type": "string"}
_TEXT_OR_NULL = {"type": ["string", "null"]}
_ERROR = {
    "type": "object",
    "required": ["error"],
    "properties": {
        "error": {
            "type": "object",
            "required": ["message", "type", "param", "code"],
            "properties": {
                "message": _TEXT,
                "type": _TEXT,
                "param": _TEXT_OR_NULL,
                "code": _TEXT_OR_NULL,
            },
        }
    },
}


def errors(reasons: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """A route's `responses` for FastAPI: what these statuses mean. All errors have OpenAI's form."""
    described: dict[int | str, str] = {"default": "Any other error"}
    described.update(reasons.items())
    return {status: _error(reason) for status, reason in described.items()}


def _error(reason: str) -> dict[str, Any]:
    return {"description": reason, "content": {"application/json": {"schema": _ERROR}}}

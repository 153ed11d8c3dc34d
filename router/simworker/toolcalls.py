"""Tool calls: which tool a request forces, and arguments that fit its schema (pure)."""

from typing import Any

import msgspec

_EXAMPLES: dict[str, Any] = {
    "string": "value",
    "number": 1.5,
    "integer": 1,
    "boolean": True,
    "null": None,
}


def forced_call(tools: Any, choice: Any) -> tuple[str, str] | None:
    """Name and JSON arguments of the call that the client demands; None if it leaves the choice open.

    Takes the tools and the choice in the form of any of the three APIs.
    """
    if not isinstance(tools, list) or not tools:
        return None
    wanted = None
    if isinstance(choice, dict):
        kind = choice.get("type")
        if kind in ("auto", "none"):
            return None
        wanted = choice.get("name") or (choice.get("function") or {}).get("name")
    elif choice not in ("required", "any"):
        return None
    specs = [_spec(tool) for tool in tools if isinstance(tool, dict)]
    for name, schema in specs:
        if wanted in (None, name):
            return name, msgspec.json.encode(example(schema)).decode()
    return None


def _spec(tool: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    inner = tool.get("function") or tool
    return str(inner.get("name", "")), inner.get("parameters") or inner.get("input_schema") or {}


def example(schema: dict[str, Any]) -> Any:
    """A value that satisfies the usual parts of a JSON schema."""
    if "enum" in schema:
        return schema["enum"][0]
    kind = schema.get("type", "object")
    if isinstance(kind, list):
        kind = kind[0]
    if kind == "object":
        return {name: example(part) for name, part in (schema.get("properties") or {}).items()}
    if kind == "array":
        return [example(schema.get("items") or {"type": "string"})]
    return _EXAMPLES.get(kind, "value")

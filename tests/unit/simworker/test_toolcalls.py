"""Which call is forced, and arguments that fit its schema."""

import json
from typing import Any

import pytest

from router.simworker.toolcalls import example, forced_call

TOOLS = [{"name": "a", "input_schema": {}}, {"type": "function", "function": {"name": "b"}}]


@pytest.mark.parametrize(
    ("choice", "name"),
    [
        (None, None),
        ("auto", None),
        ("none", None),
        ("required", "a"),
        ("any", "a"),
        ({"type": "auto"}, None),
        ({"type": "any"}, "a"),
        ({"type": "tool", "name": "b"}, "b"),
        ({"type": "function", "name": "b"}, "b"),
        ({"type": "function", "function": {"name": "b"}}, "b"),
        ({"type": "function", "function": {"name": "zzz"}}, None),
    ],
)
def test_choice(choice: Any, name: str | None) -> None:
    call = forced_call(TOOLS, choice)
    assert (call and call[0]) == name
    assert forced_call([], choice) is None
    assert forced_call(None, choice) is None


def test_arguments_follow_the_schema() -> None:
    schema = {
        "type": "object",
        "properties": {
            "s": {"type": "string"},
            "n": {"type": ["integer", "null"]},
            "e": {"enum": ["x", "y"]},
            "a": {"type": "array", "items": {"type": "boolean"}},
            "o": {"properties": {"f": {"type": "number"}}},
        },
    }
    wanted = {"s": "value", "n": 1, "e": "x", "a": [True], "o": {"f": 1.5}}
    assert example(schema) == wanted
    call = forced_call([{"name": "t", "parameters": schema}], "required")
    assert call is not None
    assert json.loads(call[1]) == wanted

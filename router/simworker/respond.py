"""Objects of the Responses API (pure): the conversation behind an input, items, the response itself."""

from dataclasses import dataclass
from typing import Any

from router.simworker.fields import new_id, unix_now
from router.simworker.generate import Generation
from router.simworker.http import invalid
from router.simworker.tokens import decode


def input_messages(value: Any) -> list[dict[str, Any]]:
    """The `input` field as chat messages; raises ApiError if it is neither text nor items."""
    if isinstance(value, str):
        return [{"role": "user", "content": value}]
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        return [_item_message(item) for item in value]
    raise invalid("string_type", "body.input", "Input should be a valid string", str(type(value)))


def _item_message(item: dict[str, Any]) -> dict[str, Any]:
    if item.get("type") == "function_call_output":
        return {"role": "tool", "content": item.get("output")}
    if item.get("type") == "function_call":
        return {"role": "assistant", "tool_calls": [item]}
    return item


@dataclass(frozen=True, slots=True)
class Draft:
    """A response in the making: what the request fixes of it."""

    body: dict[str, Any]
    model: str
    id: str
    item_id: str
    call: tuple[str, str] | None
    created_at: int

    @classmethod
    def of(cls, body: dict[str, Any], model: str, call: tuple[str, str] | None) -> "Draft":
        """A new one."""
        item_id = ("fc_" if call else "msg_") + new_id()
        return cls(body, model, f"resp_{new_id()}", item_id, call, unix_now())

    def item(self, text: str, status: str) -> dict[str, Any]:
        """The one output item with its content so far."""
        if self.call:
            return {
                "arguments": text,
                "call_id": f"call_{self.id.removeprefix('resp_')}",
                "name": self.call[0],
                "type": "function_call",
                "id": self.item_id,
                "status": status,
            }
        content = [] if status == "in_progress" else [part(text)]
        base = {"id": self.item_id, "content": content, "role": "assistant", "status": status}
        return {**base, "type": "message", "phase": None}

    def response(self, status: str) -> dict[str, Any]:
        """The response before it has output."""
        given = self.body.get
        return {
            "id": self.id,
            "created_at": self.created_at,
            "incomplete_details": None,
            "instructions": given("instructions"),
            "metadata": given("metadata"),
            "model": self.model,
            "object": "response",
            "output": [],
            "parallel_tool_calls": True,
            "temperature": given("temperature", 1.0),
            "tool_choice": given("tool_choice", "auto"),
            "tools": given("tools") or [],
            "top_p": given("top_p", 1.0),
            "background": bool(given("background")),
            "max_output_tokens": given("max_output_tokens"),
            "max_tool_calls": None,
            "previous_response_id": given("previous_response_id"),
            "prompt": None,
            "reasoning": given("reasoning"),
            "service_tier": "auto",
            "status": status,
            "text": given("text"),
            "top_logprobs": None,
            "truncation": "disabled",
            "usage": None,
            "user": given("user"),
            "presence_penalty": 0.0,
            "frequency_penalty": 0.0,
            "kv_transfer_params": None,
            "ec_transfer_params": None,
            "input_messages": None,
            "output_messages": None,
        }

    def finished(self, tokens: list[int], reason: str, generation: Generation) -> dict[str, Any]:
        """The response with its output."""
        cut = reason == "length"
        return self.response("incomplete" if cut else "completed") | {
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "output": [self.item(decode(tokens), "completed")],
            "usage": usage(generation),
        }


def part(text: str, logprobs: list[Any] | None = None) -> dict[str, Any]:
    """A text part of a message item."""
    return {"annotations": [], "text": text, "type": "output_text", "logprobs": logprobs}


def usage(generation: Generation) -> dict[str, Any]:
    """Usage in this API's names."""
    prompt, completion = generation.prompt_tokens, generation.completion_tokens
    return {
        "input_tokens": prompt,
        "input_tokens_details": {
            "cached_tokens": generation.cached_tokens,
            "cache_write_tokens": 0,
            "input_tokens_per_turn": [],
            "cached_tokens_per_turn": [],
        },
        "output_tokens": completion,
        "output_tokens_details": {
            "reasoning_tokens": 0,
            "tool_output_tokens": 0,
            "output_tokens_per_turn": [],
            "tool_output_tokens_per_turn": [],
        },
        "total_tokens": prompt + completion,
    }

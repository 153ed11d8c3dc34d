"""A chat's messages as vLLM 0.32 hands them to a chat template (`vllm/renderers/chat_utils.py`; pure).

Order of members counts: templates write tool calls out as JSON.
"""

import json
from collections.abc import Iterable, Iterator
from typing import Any

from router.tokens.prompt import Inexact, Reason

Message = dict[str, Any]

_TEXT_MEMBER = {
    "text": "text",
    "input_text": "text",
    "output_text": "text",
    "refusal": "refusal",
    "thinking": "thinking",
}
"""Kinds of content parts that are text, and the member it stands in."""
_MAY_BE_NULL = ("text", "refusal")
_PART_MEMBERS = frozenset(
    {
        "audio_embeds",
        "audio_url",
        "closed",
        "data",
        "file",
        "image_embeds",
        "image_pil",
        "image_url",
        "input_audio",
        "name",
        "prompt_cache_breakpoint",
        "refusal",
        "text",
        "thinking",
        "type",
        "uuid",
        "video_embeds",
        "video_url",
    }
)
"""What vLLM reads of a content part itself; the rest a template may see."""
_BILLING = "x-anthropic-billing-header"
"""How the line begins that vLLM takes out of system messages."""


def conversation(messages: Iterable[Message], *, parts: bool) -> list[Message]:
    """New messages for the template; `parts`: it wants contents as lists of parts, not as one text.

    Raises `Inexact` for media, and for what vLLM would refuse.
    """
    return [_message(message, parts) for message in messages]


def _message(message: Message, parts: bool) -> Message:
    role, content = message.get("role"), message.get("content")
    if not isinstance(role, str):
        raise Inexact(Reason.UNREADABLE, "a message has no role")
    pieces = _pieces(content)
    if role == "system":
        pieces = _without_billing(pieces)
    flat = list(_flat(pieces, parts))
    turn: Message = {"role": role, "content": flat if parts else "\n".join(flat)}
    if role == "assistant":
        _add_answer(turn, message)
    elif role == "tool":
        _add_result(turn, message)
    for name in ("name", "task"):
        if isinstance(message.get(name), str):
            turn[name] = message[name]
    if role == "developer":
        if message.get("tools") is not None:
            raise Inexact(Reason.OPTION, "tools in a developer message")
        turn["tools"] = None
    return turn


def _pieces(content: Any) -> list[Any]:
    if content is None:
        return []
    if isinstance(content, str):
        return [{"type": "text", "text": content}]
    if isinstance(content, list):
        return content
    raise Inexact(Reason.UNREADABLE, "a message's content is neither text nor a list")


def _without_billing(pieces: list[Any]) -> list[Any]:
    kept = []
    for piece in pieces:
        is_text = isinstance(piece, dict) and piece.get("type") == "text"
        text = piece.get("text") if is_text else piece
        if not (isinstance(text, str) and text.startswith(_BILLING)):
            kept.append(piece)
        elif rest := text.partition("\n")[2]:
            kept.append({**piece, "text": rest} if is_text else rest)
    return kept


def _flat(pieces: list[Any], parts: bool) -> Iterator[Any]:
    for piece in pieces:
        if isinstance(piece, str):
            yield {"type": "text", "text": piece} if parts else piece
            continue
        kind = _kind(piece)
        if kind == "tool_reference":
            yield {"type": kind, "name": piece["name"]} if parts else piece["name"]
            continue
        text = piece.get(_TEXT_MEMBER[kind])
        if text is None and kind in _MAY_BE_NULL:
            continue
        if not isinstance(text, str):
            raise Inexact(Reason.UNREADABLE, f"a content part of type {kind!r} has no text")
        more = {name: value for name, value in piece.items() if name not in _PART_MEMBERS}
        yield {"type": "text", "text": text, **more} if parts else text


def _kind(piece: Any) -> str:
    if not isinstance(piece, dict):
        raise Inexact(Reason.UNREADABLE, "a content part is neither text nor an object")
    kind = piece.get("type")
    if kind == "tool_reference" and isinstance(piece.get("name"), str):
        return str(kind)
    if kind not in _TEXT_MEMBER or piece.get("uuid") is not None:
        raise Inexact(Reason.MEDIA, f"a content part of type {kind!r}")
    return str(kind)


def _add_answer(turn: Message, message: Message) -> None:
    calls = message.get("tool_calls")
    if calls is not None:
        if not isinstance(calls, list):
            raise Inexact(Reason.UNREADABLE, "tool_calls is not a list")
        if calls:
            turn["tool_calls"] = [_call(call) for call in calls]
    reasoning = message.get("reasoning")
    if reasoning is None:
        reasoning = message.get("reasoning_content")
    if reasoning is not None:
        turn["reasoning"] = turn["reasoning_content"] = reasoning


def _call(call: Any) -> Message:
    """In vLLM's order of members, its arguments as an object: templates are written for that."""
    try:
        function = call["function"]
        arguments, name = function["arguments"], function["name"]
        known = {"id": call["id"], "function": None, "type": call["type"]}
    except (KeyError, TypeError):
        raise Inexact(Reason.UNREADABLE, "a tool call lacks its id, type or function") from None
    texts = (arguments, name, known["id"])
    if known["type"] != "function" or not all(isinstance(text, str) for text in texts):
        raise Inexact(Reason.UNREADABLE, "a tool call is not one of a function")
    known["function"] = {**_first(function, "arguments", "name"), "arguments": _parsed(arguments)}
    return {**known, **{key: value for key, value in call.items() if key not in known}}


def _first(members: Message, *names: str) -> Message:
    return {name: members[name] for name in names} | members


def _parsed(arguments: str) -> dict[str, Any]:
    """What is no object is none: vLLM goes on with an empty one."""
    try:
        value = json.loads(arguments) if arguments else {}
    except json.JSONDecodeError:
        return {}
    except RecursionError as error:
        raise Inexact(Reason.UNREADABLE, "a tool call's arguments are nested too deep") from error
    return value if isinstance(value, dict) else {}


def _add_result(turn: Message, message: Message) -> None:
    if "tool_call_id" in message:
        turn["tool_call_id"] = message["tool_call_id"]
    content = turn["content"]
    if isinstance(content, list) and all(part["type"] == "text" for part in content):
        turn["content"] = "\n".join(part["text"] for part in content)


def without_developer(messages: list[Message]) -> list[Message]:
    """For a template that does not know the role: `developer` is `system`, and all of those are one, the first."""
    if not any(message["role"] == "developer" for message in messages):
        return messages
    turns = [_as_system(message) for message in messages]
    places = [at for at, turn in enumerate(turns) if turn["role"] == "system"]
    if places == [0]:
        return turns
    texts = [_text(turns[at]["content"]) for at in places]
    first: Message = {"role": "system", "content": "\n\n".join(text for text in texts if text)}
    return [first, *(turn for turn in turns if turn["role"] != "system")]


def _as_system(message: Message) -> Message:
    if message["role"] != "developer":
        return message
    return {name: value for name, value in message.items() if name != "tools"} | {"role": "system"}


def _text(content: Any) -> str:
    if isinstance(content, str):
        return content
    return "\n".join(part["text"] for part in content if "text" in part)

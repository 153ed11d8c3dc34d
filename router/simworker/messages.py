"""POST /v1/messages and its count_tokens: Anthropic's API as vLLM serves it."""

from dataclasses import dataclass
from typing import Any

import msgspec

from router.simworker.chat import checked_messages
from router.simworker.fields import new_id, pick_model, require, response_id, sampling
from router.simworker.generate import Generation
from router.simworker.http import ApiError, Reply, Request
from router.simworker.tokens import decode, encode, part_text, render_chat
from router.simworker.toolcalls import forced_call
from router.simworker.worker import Worker

_STOP_REASONS = {"stop": "end_turn", "length": "max_tokens", "abort": "end_turn"}


@dataclass(slots=True)
class _Message:
    """What the parts of one answer have in common."""

    id: str
    model: str
    call: tuple[str, str] | None

    def stop_reason(self, reason: str) -> str:
        return "tool_use" if self.call and reason == "stop" else _STOP_REASONS[reason]

    def block(self, text: str) -> dict[str, Any]:
        """The whole content."""
        if not self.call:
            return {"type": "text", "text": text}
        try:
            arguments = msgspec.json.decode(text)
        except msgspec.DecodeError:  # cut by the token limit
            arguments = {}
        return {**self.empty_block(), "input": arguments}

    def empty_block(self) -> dict[str, Any]:
        """The content before its first piece."""
        if not self.call:
            return {"type": "text", "text": ""}
        return {"type": "tool_use", "id": f"toolu_{new_id()}", "name": self.call[0], "input": {}}

    def delta(self, text: str) -> dict[str, Any]:
        """A piece of the content."""
        if self.call:
            return {"type": "input_json_delta", "partial_json": text}
        return {"type": "text_delta", "text": text}


def _usage(generation: Generation) -> dict[str, int]:
    cached, created = generation.cached_tokens, generation.created_tokens
    return {
        "input_tokens": max(0, generation.prompt_tokens - cached - created),
        "output_tokens": generation.completion_tokens,
        "cache_creation_input_tokens": created,
        "cache_read_input_tokens": cached,
    }


def _prompt(body: dict[str, Any], model: str) -> list[int]:
    messages = checked_messages(require(body, "messages"), model)
    system = body.get("system")
    if system:
        text = system if isinstance(system, str) else "".join(map(part_text, system))
        messages = [{"role": "system", "content": text}, *messages]
    return encode(render_chat(messages, body.get("tools") or []))


def _pick_model(worker: Worker, body: dict[str, Any]) -> str:
    return pick_model(worker.config, body)


async def _guarded(reply: Reply, error: ApiError) -> None:
    """Errors of this API have their own shape, except those in a request's form."""
    if error.kind == "Bad Request":
        raise error
    body = {"type": "error", "error": {"type": error.kind, "message": error.message}}
    if reply.started:
        await reply.event(body, "error")
        await reply.end()
    else:
        await reply.json(body, error.status)


async def create(worker: Worker, request: Request, reply: Reply) -> None:
    """Answer a conversation."""
    try:
        await _create(worker, request, reply)
    except ApiError as error:
        await _guarded(reply, error)


async def _create(worker: Worker, request: Request, reply: Reply) -> None:
    body = request.json()
    for name in ("model", "messages", "max_tokens"):
        require(body, name)
    model = _pick_model(worker, body)
    call = forced_call(body.get("tools"), body.get("tool_choice"))
    stops = {"stop": body.get("stop_sequences")}
    how = sampling({**body, **stops}, ("max_tokens",), call[1] if call else None)
    message = _Message(response_id(request, "chatcmpl-"), model, call)
    async with worker.generator(request).start([_prompt(body, model)], model, how) as generation:
        if body.get("stream"):
            await _stream(message, generation, reply)
            return
        [(tokens, reason)] = await generation.finish()
        answer = {
            "id": message.id,
            "type": "message",
            "role": "assistant",
            "content": [message.block(decode(tokens))],
            "model": model,
            "stop_reason": message.stop_reason(reason),
            "stop_sequence": None,
            "usage": _usage(generation),
        }
        await reply.json(answer)


async def _stream(message: _Message, generation: Generation, reply: Reply) -> None:
    async def event(kind: str, **fields: Any) -> None:
        await reply.event({"type": kind, **fields}, kind)

    reason = ""
    async for delta in generation.deltas():
        if not reply.started:
            await reply.start_events()
            await event("message_start", message=_start(message, generation))
            await event("content_block_start", content_block=message.empty_block(), index=0)
        if delta.tokens:
            await event("content_block_delta", delta=message.delta(decode(delta.tokens)), index=0)
        reason = delta.finish_reason or reason
    await event("content_block_stop", index=0)
    end = {"stop_reason": message.stop_reason(reason), "stop_sequence": None}
    await event("message_delta", delta=end, usage=_usage(generation))
    await event("message_stop")
    await reply.end()


def _start(message: _Message, generation: Generation) -> dict[str, Any]:
    return {
        "id": message.id,
        "type": "message",
        "role": "assistant",
        "content": [],
        "model": message.model,
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": generation.prompt_tokens, "output_tokens": 0},
    }


async def count_tokens(worker: Worker, request: Request, reply: Reply) -> None:
    """How long a conversation's prompt is."""
    try:
        body = request.json()
        count = len(_prompt(body, _pick_model(worker, body)))
    except ApiError as error:
        await _guarded(reply, error)
        return
    await reply.json(
        {"input_tokens": count, "context_management": {"original_input_tokens": count}}
    )

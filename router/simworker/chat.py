"""POST /v1/chat/completions."""

from dataclasses import dataclass, field
from typing import Any

from router.simworker.config import FINGERPRINT
from router.simworker.fields import (
    integer,
    new_id,
    pick_model,
    require,
    response_id,
    sampling,
    stream_options,
    unix_now,
)
from router.simworker.generate import Generation
from router.simworker.http import Reply, Request, bad_request, invalid
from router.simworker.sequence import Delta
from router.simworker.tokens import decode, encode, render_chat
from router.simworker.toolcalls import forced_call
from router.simworker.usage import chat_logprobs, chunk_usage, final_usage, running_usage
from router.simworker.worker import Worker

_NOT_TEXT = frozenset(
    ("image_url", "input_audio", "video_url", "image", "audio_url", "input_image")
)

_BOTH = "Cannot set both `continue_final_message` and `add_generation_prompt` to True."
_NOT_COMPATIBLE = (
    "continue_final_message and add_generation_prompt are not compatible. Use continue_final_message when you want "
    "the model to continue the final message, and add_generation_prompt when you want to add a header that will "
    "prompt it to start a new assistant message instead."
)


def checked_messages(messages: Any, model: str) -> list[dict[str, Any]]:
    """Messages that the template can render; raises ApiError for others."""
    if not isinstance(messages, list) or not all(isinstance(message, dict) for message in messages):
        raise invalid("list_type", "body.messages", "Input should be a valid list", str(messages))
    if not messages:
        raise bad_request(
            "Cannot apply chat template to an empty conversation. Provide at least one message."
        )
    for message in messages:
        parts = message.get("content")
        for part in parts if isinstance(parts, list) else ():
            kind = part.get("type", "text") if isinstance(part, dict) else "text"
            if kind in _NOT_TEXT:
                raise bad_request(f"{model} is not a multimodal model")
    return messages


def rendered(body: dict[str, Any], messages: list[dict[str, Any]], tools: list[Any]) -> str:
    """The prompt, as `continue_final_message` and `add_generation_prompt` say; raises ApiError if both are on."""
    answer, go_on = body.get("add_generation_prompt", True), body.get("continue_final_message")
    if go_on and body.get("add_generation_prompt"):
        raise bad_request(_BOTH)
    if go_on and answer:
        raise bad_request(_NOT_COMPATIBLE)
    return render_chat(messages, tools, answer=bool(answer), go_on=bool(go_on))


@dataclass(slots=True)
class _Chat:
    """What the parts of one chat answer have in common."""

    head: dict[str, Any]
    body: dict[str, Any]
    prompt: list[int]
    call: tuple[str, str] | None
    top_logprobs: int | None
    token_ids: bool
    begun: set[int] = field(default_factory=set)
    call_ids: dict[int, str] = field(default_factory=dict)

    def logprobs(self, tokens: list[int]) -> dict[str, Any] | None:
        return None if self.top_logprobs is None else chat_logprobs(tokens, self.top_logprobs)

    def reason(self, reason: str | None) -> str | None:
        """As vLLM gives it: a call by name ends with `stop` like text does."""
        required = self.body.get("tool_choice") == "required"
        return "tool_calls" if reason == "stop" and self.call and required else reason

    def message(self, text: str) -> dict[str, Any]:
        """The whole answer of one choice."""
        message: dict[str, Any] = {
            "role": "assistant",
            "content": text,
            "refusal": None,
            "annotations": None,
            "audio": None,
            "function_call": None,
            "reasoning": None,
        }
        if self.call:
            function = {"name": self.call[0], "arguments": text}
            call = {"id": f"chatcmpl-tool-{new_id()}", "type": "function", "function": function}
            message |= {"content": None, "tool_calls": [call]}
        return message

    def delta(self, index: int, text: str) -> dict[str, Any]:
        """A piece of the answer of one choice."""
        if not self.call:
            return {"content": text}
        call: dict[str, Any] = {"index": 0, "function": {"arguments": text}}
        if index not in self.call_ids:
            self.call_ids[index] = f"chatcmpl-tool-{new_id()}"
            call = {
                "id": self.call_ids[index],
                "type": "function",
                "index": 0,
                "function": {"name": self.call[0], "arguments": text},
            }
        return {"tool_calls": [call]}


async def chat_completions(worker: Worker, request: Request, reply: Reply) -> None:
    """Answer a conversation."""
    body = request.json()
    messages = require(body, "messages")
    model = pick_model(worker.config, body)
    tools = _tools(body)
    prompt = _given(body) or encode(rendered(body, checked_messages(messages, model), tools))
    call = forced_call(tools, body.get("tool_choice"))
    how = sampling(body, ("max_completion_tokens", "max_tokens"), call[1] if call else None)
    streaming = bool(body.get("stream"))
    head = {
        "id": response_id(request, "chatcmpl-"),
        "object": "chat.completion.chunk" if streaming else "chat.completion",
        "created": unix_now(),
        "model": model,
    }
    chat = _Chat(head, body, prompt, call, _top_logprobs(body), bool(body.get("return_token_ids")))
    options = stream_options(body)
    async with worker.generator(request).start([prompt], model, how) as generation:
        if streaming:
            await _stream(chat, generation, reply, options)
        else:
            await reply.json(await _whole(chat, generation))


def _given(body: dict[str, Any]) -> list[int]:
    """The prompt's tokens, where the request has them: vLLM takes them from `kv_transfer_params`."""
    params = body.get("kv_transfer_params")
    ids = params.get("prompt_token_ids") if isinstance(params, dict) else None
    return ids if isinstance(ids, list) and all(isinstance(each, int) for each in ids) else []


def _tools(body: dict[str, Any]) -> list[Any]:
    tools = body.get("tools") or []
    if not tools and body.get("tool_choice") not in (None, "none"):
        message = "When using `tool_choice`, `tools` must be set. (parameter=tool_choice)"
        raise bad_request(message, "tool_choice")
    return tools if isinstance(tools, list) else [tools]


def _top_logprobs(body: dict[str, Any]) -> int | None:
    """Alternatives to show for each token, None for no log probabilities."""
    top = integer(body, "top_logprobs")
    if body.get("logprobs"):
        return top or 0
    if top:
        message = (
            "when using `top_logprobs`, `logprobs` must be set to true. (parameter=top_logprobs)"
        )
        raise bad_request(message, "top_logprobs")
    return None


async def _whole(chat: _Chat, generation: Generation) -> dict[str, Any]:
    choices = [
        {
            "index": index,
            "message": chat.message(decode(tokens)),
            "logprobs": chat.logprobs(tokens),
            "finish_reason": chat.reason(reason),
            "stop_reason": None,
            "token_ids": tokens if chat.token_ids else None,
            "routed_experts": None,
        }
        for index, (tokens, reason) in enumerate(await generation.finish())
    ]
    return {
        **chat.head,
        "choices": choices,
        "service_tier": None,
        "system_fingerprint": FINGERPRINT,
        "usage": final_usage(generation, created=True),
        "prompt_logprobs": None,
        "prompt_token_ids": chat.prompt if chat.token_ids else None,
        "prompt_text": None,
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


async def _stream(
    chat: _Chat, generation: Generation, reply: Reply, options: dict[str, Any]
) -> None:
    continuous = bool(options.get("continuous_usage_stats"))
    async for delta in generation.deltas():
        if not reply.started:
            await reply.start_events()
        for chunk in _chunks(chat, delta):
            usage = {"usage": running_usage(generation)} if continuous else {}
            await reply.event({**chat.head, **chunk, **usage})
    if options.get("include_usage") or continuous:
        usage = chunk_usage(generation, created=True)
        last = {"choices": [], "usage": usage, "system_fingerprint": FINGERPRINT}
        await reply.event({**chat.head, **last})
    await reply.end(b"data: [DONE]\n\n")


def _chunks(chat: _Chat, delta: Delta) -> list[dict[str, Any]]:
    """The role chunk when a choice begins, then one with its new text."""
    chunks: list[dict[str, Any]] = []
    if delta.index not in chat.begun:
        chat.begun.add(delta.index)
        role = {"role": "assistant", "content": ""}
        choice = {"index": delta.index, "delta": role, "logprobs": None, "finish_reason": None}
        prompt = chat.prompt if chat.token_ids else None
        chunks.append({"choices": [choice], "prompt_token_ids": prompt, "prompt_text": None})
    choice = {
        "index": delta.index,
        "delta": chat.delta(delta.index, decode(delta.tokens)) if delta.tokens else {"content": ""},
        "logprobs": chat.logprobs(delta.tokens),
        "finish_reason": chat.reason(delta.finish_reason),
    }
    if delta.finish_reason:
        choice["stop_reason"] = None
    choice["token_ids"] = delta.tokens if chat.token_ids else None
    chunks.append({"choices": [choice]})
    return chunks

"""Which streams another worker can go on with, and what it is asked then (pure).

The answer is exact where the engine's own state is the tokens alone. Facts measured on vLLM 0.32: a chat goes on from
`kv_transfer_params.prompt_token_ids`, a completion from a prompt of ids; text instead of ids would be tokenized anew,
which is not always what was sampled. What counts generated tokens (penalties), looks back at text (`stop`) or follows a
grammar would begin anew, so such requests are not resumed.
"""

from typing import Any

import msgspec

from router.proxy.transcript import Transcript

CHAT, COMPLETIONS = "chat_completions", "completions"

_OFF: tuple[Any, ...] = (None, False, 0, 0.0, [], {}, "", "none")
_STATEFUL = (
    "stop", "logprobs", "top_logprobs", "prompt_logprobs", "echo", "presence_penalty", "frequency_penalty",
    "response_format", "structured_outputs", "guided_json", "guided_regex", "guided_choice", "guided_grammar",
    "use_beam_search", "best_of", "suffix", "truncate_prompt_tokens", "kv_transfer_params", "continue_final_message",
    "thinking_token_budget", "vllm_xargs",
)  # fmt: skip
"""Members of a request that make its answer more than a function of its tokens so far."""

_PLAIN: dict[str, tuple[Any, ...]] = {"response_format": ({"type": "text"},), "best_of": (1,)}


_SEEDS = 1 << 63
_COMPLETION_TOKENS = 16
"""How many a completion has if it does not say."""


class Asked(msgspec.Struct, frozen=True):
    """A resumable request. `body`: as it is sent to the first worker; `fields`: as the client wrote it."""

    body: bytes
    fields: dict[str, Any]
    endpoint: str


def resumable(endpoint: str, body: bytes) -> Asked | str:
    """The request, prepared so that its stream can be resumed; or why that is not possible."""
    if endpoint not in (CHAT, COMPLETIONS):
        return "only chat completions and completions can be resumed"
    try:
        fields = msgspec.json.decode(body)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "the request cannot be read"
    if not isinstance(fields, dict):
        return "the request cannot be read"
    why = _why_not(endpoint, fields)
    return why or Asked(_with_ids(body, fields), fields, endpoint)


def _with_ids(body: bytes, fields: dict[str, Any]) -> bytes:
    """`body`, asking for token ids."""
    if fields.get("return_token_ids") is True:
        return body
    if "return_token_ids" in fields:
        return msgspec.json.encode({**fields, "return_token_ids": True})
    start = body.index(b"{") + 1
    return body[:start] + b'"return_token_ids":true,' + body[start:]


def _why_not(endpoint: str, fields: dict[str, Any]) -> str:
    if fields.get("n") not in (None, 1):
        return "it asks for several answers (`n`)"
    for name in _STATEFUL:
        if not _is_off(name, fields.get(name)):
            return f"it uses `{name}`"
    if endpoint == COMPLETIONS:
        prompt = fields.get("prompt")
        several = isinstance(prompt, list) and not all(isinstance(each, int) for each in prompt)
        return "it has several prompts" if several else ""
    messages = fields.get("messages")
    if not isinstance(messages, list) or not all(map(_is_text, messages)):
        return "its messages are more than text"
    return ""


def _is_off(name: str, value: Any) -> bool:
    if name.endswith("logprobs"):  # 0 asks for those of the tokens themselves
        return value is None or value is False
    return value in _OFF or value in _PLAIN.get(name, ())


def _is_text(message: Any) -> bool:
    content = message.get("content") if isinstance(message, dict) else None
    if not isinstance(content, list):
        return isinstance(message, dict)
    return all(isinstance(part, dict) and part.get("type") == "text" for part in content)


def wants_usage(asked: Asked) -> bool:
    """The client asked for the stream's usage."""
    options = asked.fields.get("stream_options")
    return isinstance(options, dict) and options.get("include_usage") is True


def shows_ids(asked: Asked) -> bool:
    """The client asked for token ids itself."""
    return asked.fields.get("return_token_ids") is True


def continuation(asked: Asked, transcript: Transcript) -> bytes | None:
    """The body that has another worker go on; None: all tokens are there that were asked for."""
    made = transcript.safe
    fields = {**asked.fields, "return_token_ids": True}
    if asked.endpoint == COMPLETIONS and fields.get("max_tokens") is None:
        fields["max_tokens"] = _COMPLETION_TOKENS
    for name in ("max_tokens", "max_completion_tokens"):
        if isinstance(fields.get(name), int):
            fields[name] -= made
            if fields[name] <= 0:
                return None
    if isinstance(fields.get("min_tokens"), int):
        fields["min_tokens"] = max(0, fields["min_tokens"] - made)
    if isinstance(fields.get("seed"), int):
        fields["seed"] = (
            fields["seed"] + made
        ) % _SEEDS  # the same one would draw the same lots again
    if transcript.prompt_ids:
        if asked.endpoint == COMPLETIONS:
            fields["prompt"] = transcript.so_far
        else:
            fields["kv_transfer_params"] = {"prompt_token_ids": transcript.so_far}
    return msgspec.json.encode(fields)

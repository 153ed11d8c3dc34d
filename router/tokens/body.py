"""Reads a request's body as vLLM 0.32 does, as far as it matters for the prompt's tokens (pure)."""

from array import array
from typing import Any, Literal

import msgspec
from msgspec import Raw

from router.prompt.request import UNREADABLE, Request
from router.tokens.prompt import (
    ChatPrompt,
    IdsPrompt,
    Inexact,
    Prompt,
    Reason,
    Side,
    TextPrompt,
    TokenIds,
    Truncation,
)

ENDPOINTS = frozenset({"chat_completions", "completions", "generate"})
"""Those whose prompts are read here."""

_RESERVED = frozenset(
    {
        "chat_template",
        "compiled_template",
        "conversation",
        "conversations",
        "max_length",
        "messages",
        "padding",
        "return_assistant_tokens_mask",
        "return_dict",
        "return_tensors",
        "self",
        "tokenize",
        "tokenizer_kwargs",
        "tools",
        "truncation",
    }
)
"""Template arguments that mean something to the call itself; vLLM refuses them or does what is not done here."""


class _Function(msgspec.Struct):
    name: str
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    defer_loading: bool | None = None


class _Tool(msgspec.Struct):
    function: _Function
    type: Literal["function"] = "function"
    defer_loading: bool | None = None

    def plain(self) -> dict[str, Any]:
        """As vLLM hands it to the template: these members in this order, a missing description is null."""
        given = self.function
        function: dict[str, Any] = {
            "name": given.name,
            "description": given.description,
            "parameters": given.parameters,
        }
        if given.strict is not None:
            function["strict"] = given.strict
        defer = self.defer_loading if given.defer_loading is None else given.defer_loading
        if defer is not None:
            function["defer_loading"] = defer
        tool: dict[str, Any] = {"type": self.type, "function": function}
        if self.defer_loading is not None:
            tool["defer_loading"] = self.defer_loading
        return tool


class _Common(msgspec.Struct):
    """What every generating endpoint knows."""

    model: str | None = None
    truncate_prompt_tokens: int | None = None
    truncation_side: Side | None = None
    kv_transfer_params: Raw = Raw(b"null")
    prompt_embeds: Raw = Raw(b"null")

    def truncation(self) -> Truncation | None:
        """How the prompt is shortened. The engine's own limit (-1) is not known here."""
        limit = self.truncate_prompt_tokens
        if limit is not None and limit < 1:
            raise Inexact(Reason.OPTION, f"truncate_prompt_tokens is {limit}")
        return None if limit is None else Truncation(limit, self.truncation_side)


class _Chat(_Common, kw_only=True):
    messages: list[dict[str, Any]]
    tools: list[_Tool] | None = None
    documents: list[dict[str, str]] | None = None
    reasoning_effort: str | None = None
    add_generation_prompt: bool = True
    continue_final_message: bool = False
    add_special_tokens: bool = False
    chat_template: str | None = None
    chat_template_kwargs: dict[str, Any] | None = None


class _Completion(_Common, kw_only=True):
    prompt: str | list[int | str | list[int]] | None = None
    suffix: str | None = None
    add_special_tokens: bool = True


class _Generate(_Common, kw_only=True):
    token_ids: list[int]
    features: Raw = Raw(b"null")
    content_parts: Raw = Raw(b"null")


_CHAT = msgspec.json.Decoder(_Chat)
_COMPLETION = msgspec.json.Decoder(_Completion)
_GENERATE = msgspec.json.Decoder(_Generate)


def read(request: Request) -> Prompt:
    """The prompt in `request`. Raises `Inexact` when its tokens could only be guessed."""
    body = request.incoming.body
    try:
        match request.endpoint.name:
            case "chat_completions":
                return _chat(_CHAT.decode(body))
            case "completions":
                return _completion(_COMPLETION.decode(body))
            case "generate":
                return _generate(_GENERATE.decode(body))
            case other:
                raise Inexact(Reason.ENDPOINT, other)
    except UNREADABLE as error:
        raise Inexact(Reason.UNREADABLE, str(error)) from error


def _chat(body: _Chat) -> ChatPrompt:
    if body.chat_template is not None:
        raise Inexact(Reason.OPTION, "the request brings its own chat template")
    if b'"prompt_token_ids"' in bytes(body.kv_transfer_params):
        raise Inexact(Reason.OPTION, "the prompt's tokens are in kv_transfer_params")
    if not body.messages or body.tools == []:
        raise Inexact(Reason.UNREADABLE, "no messages, or an empty list of tools")
    tools = None if body.tools is None else [tool.plain() for tool in body.tools]
    return ChatPrompt(
        body.model,
        body.messages,
        tools,
        _arguments(body),
        body.add_special_tokens,
        body.truncation(),
    )


def _arguments(body: _Chat) -> dict[str, Any]:
    """The request's template arguments, as vLLM merges them: null and "auto" set nothing."""
    given = body.chat_template_kwargs or {}
    if taken := _RESERVED & given.keys():
        raise Inexact(Reason.OPTION, f"chat_template_kwargs has {', '.join(sorted(taken))}")
    own = {
        "add_generation_prompt": body.add_generation_prompt,
        "continue_final_message": body.continue_final_message,
        "documents": body.documents,
        "reasoning_effort": body.reasoning_effort,
    }
    if body.reasoning_effort is not None and "enable_thinking" not in given:
        own["enable_thinking"] = body.reasoning_effort != "none"
    return merged(given, own)


def merged(defaults: dict[str, Any], over: dict[str, Any]) -> dict[str, Any]:
    """`defaults` with what `over` really sets (vLLM's `merge_kwargs`)."""
    return defaults | {
        name: value for name, value in over.items() if value is not None and value != "auto"
    }


def _completion(body: _Completion) -> Prompt:
    if bytes(body.prompt_embeds) != b"null":
        raise Inexact(Reason.MEDIA, "prompt_embeds")
    if body.suffix is not None:
        raise Inexact(Reason.OPTION, "suffix")
    prompt, truncation = _only(body.prompt), body.truncation()
    if isinstance(prompt, str):
        return TextPrompt(body.model, prompt, body.add_special_tokens, truncation)
    return _ids(prompt, truncation)


def _only(prompt: str | list[Any] | None) -> str | list[int]:
    """The one prompt of a completion; a list of one is that one."""
    if not prompt:
        raise Inexact(Reason.UNREADABLE, "no prompt")
    if isinstance(prompt, str) or isinstance(prompt[0], int):
        return prompt
    if len(prompt) > 1:
        raise Inexact(Reason.SEVERAL, f"{len(prompt)} prompts")
    only: str | list[int] = prompt[0]
    return only


def _generate(body: _Generate) -> IdsPrompt:
    if bytes(body.features) != b"null" or bytes(body.content_parts) != b"null":
        raise Inexact(Reason.MEDIA, "features")
    return _ids(body.token_ids, None)


def _ids(ids: list[int], truncation: Truncation | None) -> IdsPrompt:
    try:
        known: TokenIds = array("I", ids)
    except (OverflowError, TypeError) as error:
        raise Inexact(Reason.UNREADABLE, str(error)) from error
    return IdsPrompt(known if truncation is None else truncation.cut(known))

"""Writes a chat as the text that the model reads: the model's chat template, run as vLLM 0.32 runs it.

vLLM calls `apply_chat_template` of transformers 5; what that gives a template to work with is given here too.
"""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import jinja2
from jinja2 import meta, nodes
from jinja2.ext import Extension, loopcontrols
from jinja2.parser import Parser
from jinja2.runtime import Macro
from jinja2.sandbox import ImmutableSandboxedEnvironment

from router.tokens.body import merged
from router.tokens.content_format import takes_parts
from router.tokens.conversation import Message, conversation, without_developer
from router.tokens.prompt import ChatPrompt, Inexact, Reason

_CONTINUE = "CONTINUE_FINAL_MESSAGE_TAG "
"""Put behind the final message to find where the text of that ends; transformers uses this very word, and
templates that trim contents show by its last space that they do."""


class ChatTemplate:
    """A model's chat template.

    `special_tokens` (`bos_token` and the like) and `defaults` (the worker's `--default-chat-template-kwargs`) are
    what it finds beside the request's arguments. `parts` (the worker's `--chat-template-content-format`): contents
    are given as lists of parts; None: found out from the template. Raises ValueError when `source` is no template.
    """

    def __init__(
        self,
        source: str,
        special_tokens: Mapping[str, str] | None = None,
        *,
        defaults: Mapping[str, Any] | None = None,
        parts: bool | None = None,
    ) -> None:
        environment = _environment()
        try:
            tree = environment.parse(source)
            self._template = environment.from_string(source)
        except jinja2.TemplateError as error:
            raise ValueError(f"the chat template cannot be read: {error}") from error
        self._variables = meta.find_undeclared_variables(tree) | {"add_generation_prompt"}
        self.parts = takes_parts(tree) if parts is None else parts
        self._special_tokens = dict(special_tokens or {})
        self._defaults = dict(defaults or {})
        self._knows_developer = '"developer"' in source or "'developer'" in source
        self._continues = "content" in source

    def render(self, prompt: ChatPrompt) -> str:
        """The whole prompt as text. Raises `Inexact` when the template refuses, or what it would write is not
        certain.
        """
        messages = conversation(prompt.messages, parts=self.parts)
        if not self._knows_developer:
            messages = without_developer(messages)
        arguments = merged(self._defaults, prompt.arguments)
        if not arguments.pop("continue_final_message", False):
            return self._write(messages, prompt.tools, arguments)
        if arguments.get("add_generation_prompt"):
            raise Inexact(Reason.UNREADABLE, "continue_final_message with add_generation_prompt")
        if not self._continues:
            raise Inexact(Reason.RENDER, "the template writes no content to continue")
        final = _mark(messages[-1])
        return _up_to_mark(self._write(messages, prompt.tools, arguments), final)

    def _write(
        self, messages: list[Message], tools: list[Message] | None, arguments: dict[str, Any]
    ) -> str:
        heard = {name: value for name, value in arguments.items() if name in self._variables}
        values = self._special_tokens | {"documents": None} | heard
        try:
            return self._template.render({**values, "messages": messages, "tools": tools})
        except Exception as error:
            raise Inexact(Reason.RENDER, f"the chat template refuses: {error}") from error


def _mark(message: Message) -> str:
    """Marks the end of `message`'s text, and returns that text."""
    content = message["content"]
    if isinstance(content, str):
        message["content"] = content + _CONTINUE
        return content
    for part in reversed(content):
        if "text" in part:
            text = str(part["text"])
            part["text"] = text + _CONTINUE
            return text
    raise Inexact(Reason.UNREADABLE, "the final message has no text to continue")


def _up_to_mark(text: str, final: str) -> str:
    mark = _CONTINUE.strip()
    if final.strip() not in text or mark not in text:
        raise Inexact(Reason.RENDER, "the template leaves out the final message")
    end = text.rindex(mark)
    if text.startswith(_CONTINUE, end):
        return text[:end]
    return text[:end].rstrip()


def _environment() -> ImmutableSandboxedEnvironment:
    environment = ImmutableSandboxedEnvironment(
        trim_blocks=True, lstrip_blocks=True, extensions=[_Generation, loopcontrols]
    )
    environment.filters["tojson"] = _to_json
    environment.globals["raise_exception"] = _raise
    environment.globals["strftime_now"] = _now
    return environment


class _Generation(Extension):
    """`{% generation %}`: marks what the model itself wrote, for training; here it is just text."""

    tags = {"generation"}  # noqa: RUF012 - as the base class has it

    def parse(self, parser: Parser) -> nodes.Node:
        line = next(parser.stream).lineno
        body = parser.parse_statements(("name:endgeneration",), drop_needle=True)
        return nodes.CallBlock(self.call_method("_as_is"), [], [], body).set_lineno(line)

    def _as_is(self, caller: Macro | Callable[[], str]) -> str:
        return caller()


def _to_json(
    value: Any,
    ensure_ascii: bool = False,
    indent: int | None = None,
    separators: tuple[str, str] | None = None,
    sort_keys: bool = False,
) -> str:
    """Unlike Jinja's own, it escapes nothing for HTML."""
    return json.dumps(
        value, ensure_ascii=ensure_ascii, indent=indent, separators=separators, sort_keys=sort_keys
    )


def _raise(message: str) -> None:
    raise jinja2.TemplateError(message)


def _now(form: str) -> str:
    """The local time, as the worker takes its own."""
    return datetime.now().strftime(form)  # noqa: DTZ005

"""Token ids from a model's own files."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from router.tokens.encode import Encoder
from router.tokens.files import load
from router.tokens.prompt import ChatPrompt, Inexact, Reason, TextPrompt, TokenIds
from router.tokens.render import ChatTemplate
from router.tokens.segments import SegmentCache
from router.tokens.service import Run


class LocalTokenizer:
    """A model's tokenizer and chat templates (`service.Source`)."""

    def __init__(
        self, encoder: Encoder, template: ChatTemplate | None, tool_template: ChatTemplate | None
    ) -> None:
        self._encoder = encoder
        self._template = template
        self._tool_template = tool_template

    @classmethod
    def load(
        cls,
        directory: Path,
        cache: SegmentCache,
        *,
        template: str | None = None,
        defaults: Mapping[str, Any] | None = None,
    ) -> "LocalTokenizer":
        """From the files in `directory`; `template` and `defaults` are what the workers are started with
        (`--chat-template`, `--default-chat-template-kwargs`), if anything. Raises ValueError. Takes a second or two
        for a large vocabulary.
        """
        files = load(directory)
        plain, tools = (template or source for source in (files.template, files.tool_template))
        made = {
            source: ChatTemplate(source, files.special_tokens, defaults=defaults)
            for source in {plain, tools}
            if source is not None
        }
        return cls(Encoder(files.tokenizer, cache), made.get(plain or ""), made.get(tools or ""))

    async def ids(self, prompt: ChatPrompt | TextPrompt, run: Run) -> TokenIds:
        """The prompt's ids; raises `Inexact`."""
        return await run(lambda: self.ids_now(prompt))

    def ids_now(self, prompt: ChatPrompt | TextPrompt) -> TokenIds:
        """The same, blocking."""
        text = prompt.text if isinstance(prompt, TextPrompt) else self._render(prompt)
        return self._encoder.encode(text, special=prompt.special, truncation=prompt.truncation)

    def _render(self, prompt: ChatPrompt) -> str:
        template = self._template if prompt.tools is None else self._tool_template
        if template is None:
            raise Inexact(Reason.RENDER, "the model's files have no chat template")
        return template.render(prompt)

"""A prompt as the engine would take it, before it is tokens (data)."""

from array import array
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    TokenIds: TypeAlias = array[int]
else:
    TokenIds = array  # takes no parameters before Python 3.12
"""Token ids, four bytes each (typecode `I`)."""

Side: TypeAlias = Literal["left", "right"]


class Reason(StrEnum):
    """Why a prompt has no token keys; labels a metric."""

    UNREADABLE = "tokens_unreadable"
    """The worker will refuse the body, or it has a form not known here."""
    ENDPOINT = "tokens_endpoint"
    """The endpoint's prompts are not rendered here."""
    SEVERAL = "tokens_several_prompts"
    MEDIA = "tokens_media"
    """Images, sounds, embeddings: the engine keys by hashes of them that only it can compute."""
    OPTION = "tokens_option"
    """A field of the request changes the prompt in a way not followed here."""
    RENDER = "tokens_render"
    """The chat template refuses the conversation, or there is none."""
    NO_TOKENIZER = "tokens_no_tokenizer"
    """Nothing is set for the model."""
    TOO_LONG = "tokens_too_long"
    """It would take other prompts their time."""
    BUSY = "tokens_busy"
    DEADLINE = "tokens_deadline"
    FAILED = "tokens_failed"
    """The tokenizer or the worker that was asked failed."""


class Inexact(Exception):  # noqa: N818 - no error: text keys do
    """A prompt's tokens cannot be told exactly, so they are not told at all. `detail` is for a person."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else str(reason))
        self.reason = reason
        self.detail = detail


@dataclass(frozen=True, slots=True)
class Truncation:
    """Only so many tokens of the prompt are kept; `side` None: the tokenizer's own way, the last ones."""

    limit: int
    side: Side | None = None

    def cut(self, ids: TokenIds) -> TokenIds:
        """`ids` without what is too many."""
        return ids[: self.limit] if self.side == "right" else ids[-self.limit :]


@dataclass(frozen=True, slots=True)
class ChatPrompt:
    """A conversation as received. `arguments` are what the chat template is called with, beside messages and
    tools; `special`: the tokenizer's own special tokens are added around what the template wrote.
    """

    model: str | None
    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]] | None = None
    arguments: dict[str, Any] = field(default_factory=dict)
    special: bool = False
    truncation: Truncation | None = None


@dataclass(frozen=True, slots=True)
class TextPrompt:
    """Text to complete."""

    model: str | None
    text: str
    special: bool = True
    truncation: Truncation | None = None


@dataclass(frozen=True, slots=True)
class IdsPrompt:
    """A prompt that came as token ids."""

    ids: TokenIds


Prompt: TypeAlias = ChatPrompt | TextPrompt | IdsPrompt

"""What beside its tokens an engine's cache keys a prompt by (pure)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from router.prompt.request import Request, text_of
from router.tokens.prompt import Inexact, Reason


@dataclass(frozen=True, slots=True)
class Adapter:
    """A LoRA adapter: its `name` is the model that requests ask for, `base` the model it is put on."""

    name: str
    base: str

    @classmethod
    def of(cls, card: Mapping[str, Any] | None) -> "Adapter | None":
        """The adapter that a model's entry in `/v1/models` describes; None when it is no adapter."""
        if not card or not card.get("parent"):
            return None
        return cls(str(card["id"]), str(card["parent"]))


@dataclass(frozen=True, slots=True)
class Extras:
    """`adapter` enters every block's key, `salt` that of the first.

    vLLM also hashes the adapter's path. Its events do not tell it, so it is left out here: where a name is given
    to another adapter, what is left of the old one's blocks is taken for the new one's.
    """

    adapter: str | None = None
    salt: str | None = None


def extras_of(request: Request, adapter: Adapter | None) -> Extras:
    """The extras of `request`. Raises `Inexact` for a salt that the worker will refuse."""
    raw = bytes(request.fields.cache_salt)
    salt = text_of(request.fields.cache_salt)
    if salt is None and raw not in (b"", b"null"):
        raise Inexact(Reason.UNREADABLE, "cache_salt is not a text, or empty")
    return Extras(adapter.name if adapter else None, salt)

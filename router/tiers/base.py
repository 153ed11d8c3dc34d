"""What every source of knowledge about tiers is (protocol, error)."""

from typing import Protocol

from router.prompt.stored import Stored
from router.tiers.chunks import Chunks


class TierError(Exception):
    """A source could not say; the message is why."""


class TierSource(Protocol):
    """Knows what LMCache holds somewhere."""

    @property
    def name(self) -> str:
        """What logs call it."""

    async def stored(self, chunks: Chunks) -> list[Stored]:
        """Where the first of `chunks` are. May raise what it likes, and may be cancelled at any time."""

    async def close(self) -> None:
        """Let go of connections."""

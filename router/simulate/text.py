"""A text that grows, as a count of tokens and the ids of its full blocks (pure)."""

from collections.abc import Iterator
from itertools import count, islice
from typing import Self

from router.simulate.workload import Call


class Text:
    """What generated prompts are made of: start with an empty one, `fork` it where prompts part.

    Forks share the full blocks that they have in common and nothing else; the block in which they part is each
    one's own.
    """

    __slots__ = ("_fresh", "block_tokens", "ids", "tokens")

    def __init__(self, block_tokens: int) -> None:
        self.block_tokens = block_tokens
        self.tokens = 0
        self.ids: list[int] = []
        self._fresh: Iterator[int] = count()

    def fork(self) -> "Text":
        """Another text that begins like this one; its ids never meet those of this one's other forks."""
        twin = Text(self.block_tokens)
        twin.tokens = self.tokens
        twin.ids = self.ids.copy()
        twin._fresh = self._fresh
        return twin

    def grow(self, tokens: int) -> Self:
        """Append `tokens` that occur nowhere else."""
        self.tokens += tokens
        self.ids.extend(islice(self._fresh, self.tokens // self.block_tokens - len(self.ids)))
        return self

    def ask(self, output_tokens: int) -> Call:
        """The call with this text as its prompt. The text grows by the answer."""
        prompt_tokens, blocks = self.tokens, self.ids.copy()
        self.grow(output_tokens)
        return Call(prompt_tokens, output_tokens, blocks, self.ids[len(blocks) :])

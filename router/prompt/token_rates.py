"""How many tokens a byte of prompt text is: learned from answers, by model and by how a prompt begins (pure)."""

from collections import OrderedDict
from collections.abc import Sequence

from router.ids import BlockKey

TOKENS_PER_BYTE = 0.25
"""Before a model's first answer tells better: four characters of English a token."""

_BEGINNINGS = (7, 0)
"""Blocks by whose keys beginnings are told apart, the longer one first: code and prose differ by half, and what
begins alike mostly goes on alike."""

_LIMIT = 50_000
_WEIGHT = 0.2
_FULL_WEIGHT_BYTES = 4_000


class TokenRates:
    """Tokens per byte of text; the newest beginnings are kept, `_LIMIT` of them."""

    def __init__(self) -> None:
        self._models: dict[str, float] = {}
        self._beginnings: OrderedDict[BlockKey, float] = OrderedDict()

    def knows(self, model: str) -> bool:
        """Some answer of `model` was learned from."""
        return model in self._models

    def rate(self, model: str, keys: Sequence[BlockKey]) -> float:
        """Tokens per byte to expect of the prompt with these keys."""
        for place in _BEGINNINGS:
            if len(keys) > place:
                rate = self._beginnings.get(keys[place])
                if rate is not None:
                    return rate
        return self._models.get(model, TOKENS_PER_BYTE)

    def learn(self, model: str, keys: Sequence[BlockKey], size: int, tokens: int) -> None:
        """A prompt of `size` bytes had `tokens` tokens."""
        seen = tokens / size
        weight = _WEIGHT * min(1.0, size / _FULL_WEIGHT_BYTES)
        known = self._models.get(model)
        self._models[model] = seen if known is None else known + weight * (seen - known)
        for place in _BEGINNINGS:
            if len(keys) > place:
                self._learn_beginning(keys[place], seen)

    def _learn_beginning(self, key: BlockKey, seen: float) -> None:
        known = self._beginnings.get(key)
        self._beginnings[key] = seen if known is None else known + _WEIGHT * (seen - known)
        self._beginnings.move_to_end(key)
        if len(self._beginnings) > _LIMIT:
            self._beginnings.popitem(last=False)

"""Turns text into token ids, as vLLM does with the same tokenizer. Blocking: not for the event loop."""

from array import array

from tokenizers import Tokenizer

from router.tokens.prompt import Inexact, Reason, TokenIds, Truncation
from router.tokens.segments import Cutter, SegmentCache, text_key


class Encoder:
    """A tokenizer that remembers what it has seen, in `cache`. Any number of threads may use it."""

    def __init__(self, tokenizer: Tokenizer, cache: SegmentCache) -> None:
        tokenizer.no_truncation()
        tokenizer.no_padding()
        self._tokenizer = tokenizer
        self._cache = cache
        whole = tokenizer.encode_special_tokens  # they are text like any other
        added = [] if whole else list(tokenizer.get_added_tokens_decoder().values())
        self._cutter = Cutter(added)
        self._before, self._after = _surroundings(tokenizer)

    def encode(self, text: str, *, special: bool, truncation: Truncation | None = None) -> TokenIds:
        """The ids of `text`; `special`: with what the tokenizer puts around a text (BOS and EOS, mostly).

        Raises `Inexact` for a truncation that leaves nothing of the text.
        """
        ids = self._text_ids(text)
        around = len(self._before) + len(self._after) if special else 0
        if truncation is not None and truncation.side is None:  # the tokenizer itself truncates
            if truncation.limit <= around:
                raise Inexact(Reason.OPTION, "truncate_prompt_tokens leaves no text")
            ids = ids[-(truncation.limit - around) :]
        if around:
            ids = self._before + ids + self._after
        return ids if truncation is None else truncation.cut(ids)

    def _text_ids(self, text: str) -> TokenIds:
        parts: list[TokenIds | None] = []
        missing: list[tuple[int, bytes, str]] = []
        for place, segment in enumerate(self._cutter.segments(text)):
            key = text_key(segment.encode())
            known = self._cache.get(key)
            parts.append(known)
            if known is None:
                missing.append((place, key, segment))
        for place, key, ids in self._new(missing):
            parts[place] = self._cache.put(key, ids)
        whole: TokenIds = array("I")
        for part in parts:
            assert part is not None
            whole += part
        return whole

    def _new(self, missing: list[tuple[int, bytes, str]]) -> list[tuple[int, bytes, list[int]]]:
        if not missing:
            return []
        texts = [text for _, _, text in missing]
        # The batch call gives up the interpreter lock while it works; `encode` does not (tokenizers 0.23).
        encodings = self._tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [
            (place, key, encoding.ids)
            for (place, key, _), encoding in zip(missing, encodings, strict=True)
        ]


def _surroundings(tokenizer: Tokenizer) -> tuple[TokenIds, TokenIds]:
    """What the tokenizer puts before and after a text when it adds special tokens."""
    encoding = tokenizer.encode("a", add_special_tokens=True)
    added, ids = encoding.special_tokens_mask, array("I", encoding.ids)
    if 0 not in added:
        return ids, array("I")
    end = len(ids) - added[::-1].index(0)
    return ids[: added.index(0)], ids[end:]

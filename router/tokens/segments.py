"""Remembers token ids of pieces of text, so that a conversation's next turn costs only what is new in it.

A tokenizer first splits text at its added tokens (`<|im_start|>` and the like); what lies between two of them is
tokenized by itself. So text may be cut before such a token, and its parts tokenized one by one: the same ids come
out. Cuts depend on the text before them alone, so that text which goes on is cut the same way.
"""

import re
import threading
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Iterator, Sequence

import xxhash
from tokenizers import AddedToken

from router.tokens.prompt import TokenIds

_SEGMENT_CHARS = 512
"""Shorter pieces are taken together: looking one up costs more than they do."""
_ENTRY_BYTES = 300
"""What an entry takes beside its ids: key, array and places in the dictionary."""


class Cutter:
    """Cuts text where `added`, a tokenizer's added tokens, make it safe."""

    def __init__(self, added: Sequence[AddedToken]) -> None:
        first = [token for token in added if not token.normalized and token.content]
        self._safe = frozenset(token.content for token in first if _is_safe(token))
        # The longest of those that begin leftmost, as tokenizers search. Those not safe are looked for too: where
        # one covers the beginning of a safe one, that is none.
        self._any = re.compile(any_of(token.content for token in first)) if self._safe else None

    def segments(self, text: str) -> Iterator[str]:
        """`text` in pieces, one after the other."""
        start = 0
        for match in self._any.finditer(text) if self._any else ():
            at = match.start()
            if at - start >= _SEGMENT_CHARS and match[0] in self._safe:
                yield text[start:at]
                start = at
        yield text[start:]


_Node = dict[str, "_Node"]
"""What may follow, by character; the empty one: a word ends here."""


def any_of(words: Iterable[str]) -> str:
    """A pattern for the longest of `words`, as a tree: at no place of a text is more than one of them tried."""
    root: _Node = {}
    for word in words:
        node = root
        for character in word:
            node = node.setdefault(character, {})
        node[""] = {}
    return _pattern(root)


def _pattern(node: _Node) -> str:
    straight = ""
    while len(node) == 1 and "" not in node:
        ((character, node),) = node.items()
        straight += re.escape(character)
    branches = [re.escape(each) + _pattern(below) for each, below in node.items() if each]
    if not branches:
        return straight
    return f"{straight}(?:{'|'.join(branches)}){'?' if '' in node else ''}"


def _is_safe(token: AddedToken) -> bool:
    """Nothing before it changes how it is found, and it changes nothing before it."""
    return not (token.lstrip or token.single_word or token.content[0].isspace())


class SegmentCache:
    """Token ids by text; the least recently used go when there are more than `limit_bytes`. Threads share it."""

    def __init__(self, limit_bytes: int) -> None:
        self.limit_bytes = limit_bytes
        self.bytes = 0
        self.hits = 0
        self.misses = 0
        self._ids: OrderedDict[bytes, TokenIds] = OrderedDict()
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._ids)

    def get(self, key: bytes) -> TokenIds | None:
        """The ids of the text with this key."""
        with self._lock:
            ids = self._ids.get(key)
            if ids is None:
                self.misses += 1
                return None
            self.hits += 1
            self._ids.move_to_end(key)
            return ids

    def put(self, key: bytes, ids: Sequence[int]) -> TokenIds:
        """Remember `ids`, which must not be changed any more."""
        kept = array("I", ids)
        with self._lock:
            old = self._ids.pop(key, None)
            self.bytes += _size(kept) - (0 if old is None else _size(old))
            self._ids[key] = kept
            while self.bytes > self.limit_bytes:
                self.bytes -= _size(self._ids.popitem(last=False)[1])
        return kept


def text_key(text: bytes) -> bytes:
    """128 bits: two texts never share a key."""
    return xxhash.xxh3_128_digest(text)


def _size(ids: TokenIds) -> int:
    return _ENTRY_BYTES + len(ids) * ids.itemsize

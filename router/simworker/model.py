"""The model (pure): the next token follows from the text so far, however it came to be there.

So an answer that another worker continues from where it was cut is the answer that would have been.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import xxhash

from router.simworker.tokens import SPECIAL, encode

_OPENINGS = ("This", "That", "Here", "Some", "Each", "When", "Most", "Such")
_WORDS = tuple(
    f" {word}"
    for word in [
        "the",
        "and",
        "for",
        "can",
        "one",
        "two",
        "set",
        "new",
        "run",
        "key",
        "map",
        "log",
        "old",
        "red",
        "big",
        "sun",
        "day",
        "way",
        "car",
        "sea",
        "sky",
        "air",
        "ice",
        "oak",
        "elm",
        "fox",
        "cat",
        "dog",
        "owl",
        "bee",
        "ant",
        "hen",
        "cow",
        "pig",
        "ram",
        "bay",
        "box",
        "cup",
        "jar",
        "pen",
    ]
)
_TURN = SPECIAL["<|im_start|>"]
_NEWLINE = encode("\n")[0]
_ANSWER_HEAD = [_TURN, *encode("assistant\n")]
_SHORTEST = 64
_SPREAD = 128


def _ids(pieces: Sequence[str]) -> tuple[int, ...]:
    return tuple(encode(piece)[0] for piece in pieces)


_OPENING_IDS, _WORD_IDS = _ids(_OPENINGS), _ids(_WORDS)


def _text_bytes(tokens: Sequence[int]) -> bytes:
    """The same for the same text, wherever it is cut into tokens: ASCII ids are their bytes."""
    return struct.pack(f">{len(tokens)}I", *tokens).replace(b"\0", b"")


@dataclass(slots=True)
class Model:
    """What the model has read: the prompt, and what it wrote itself."""

    state: xxhash.xxh64
    at_line_start: bool

    @classmethod
    def reading(cls, prompt: Sequence[int], name: str, copy: int = 0) -> "Model":
        """One that has read a prompt; answers of another model and other copies (`n`) are different."""
        state = xxhash.xxh64(f"{name}\0{copy}\0".encode())
        state.update(_text_bytes(prompt))
        return cls(state, not prompt or prompt[-1] == _NEWLINE)

    def copy(self) -> "Model":
        """One that goes on from here by itself."""
        return Model(self.state.copy(), self.at_line_start)

    def next_token(self) -> int:
        """A four-letter piece, which the model has read then."""
        pieces = _OPENING_IDS if self.at_line_start else _WORD_IDS
        token = pieces[self.state.intdigest() % len(pieces)]
        self.state.update(_text_bytes((token,)))
        self.at_line_start = False
        return token


def natural_length(prompt: Sequence[int], name: str, copy: int = 0) -> int:
    """Tokens after which an answer ends by itself; what the prompt holds of it already counts."""
    written = _written(prompt)
    start = len(prompt) - written
    whole = _SHORTEST + Model.reading(prompt[:start], name, copy).state.intdigest() % _SPREAD
    return max(0, whole - written)


def _written(prompt: Sequence[int]) -> int:
    """Tokens of an answer that the prompt ends with, which is to be continued."""
    for start in range(len(prompt) - 1, -1, -1):
        if prompt[start] == _TURN:
            body = start + len(_ANSWER_HEAD)
            return len(prompt) - body if list(prompt[start:body]) == _ANSWER_HEAD else 0
    return 0

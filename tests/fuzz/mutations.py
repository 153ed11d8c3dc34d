"""Bytes that were right once, and bytes in pieces."""

from collections.abc import Sequence
from itertools import pairwise

from hypothesis import strategies as st


@st.composite
def mutated(draw: st.DrawFn, seeds: Sequence[bytes], words: Sequence[bytes]) -> bytes:
    """One of `seeds` with up to six changes; `words` are what means something to a parser."""
    data = draw(st.sampled_from(seeds))
    for _ in range(draw(st.integers(0, 6))):
        data = draw(st.sampled_from(_CHANGES))(draw, data, words)
    return data


def pieces(data: bytes, cuts: Sequence[int]) -> list[bytes]:
    """`data` cut at these places, as far as it has them."""
    edges = sorted({0, len(data), *(cut for cut in cuts if cut < len(data))})
    return [data[start:end] for start, end in pairwise(edges)]


CUTS = st.lists(st.integers(1, 400), max_size=6)
"""Places to cut."""


def _insert_word(draw: st.DrawFn, data: bytes, words: Sequence[bytes]) -> bytes:
    at = draw(st.integers(0, len(data)))
    return data[:at] + draw(st.sampled_from(words)) + data[at:]


def _insert_noise(draw: st.DrawFn, data: bytes, words: Sequence[bytes]) -> bytes:
    at = draw(st.integers(0, len(data)))
    return data[:at] + draw(st.binary(min_size=1, max_size=4)) + data[at:]


def _delete(draw: st.DrawFn, data: bytes, words: Sequence[bytes]) -> bytes:
    at = draw(st.integers(0, len(data)))
    return data[:at] + data[at + draw(st.integers(1, 12)) :]


def _overwrite(draw: st.DrawFn, data: bytes, words: Sequence[bytes]) -> bytes:
    at = draw(st.integers(0, len(data)))
    word = draw(st.sampled_from(words) | st.binary(min_size=1, max_size=4))
    return data[:at] + word + data[at + len(word) :]


def _repeat(draw: st.DrawFn, data: bytes, words: Sequence[bytes]) -> bytes:
    at = draw(st.integers(0, len(data)))
    part = data[at : at + draw(st.integers(1, 60))]
    return data[:at] + part * draw(st.integers(2, 4)) + data[at + len(part) :]


def _move_line(draw: st.DrawFn, data: bytes, words: Sequence[bytes]) -> bytes:
    lines = data.split(b"\r\n")
    line = lines.pop(draw(st.integers(0, len(lines) - 1)))
    lines.insert(draw(st.integers(0, len(lines))), line)
    return b"\r\n".join(lines)


_CHANGES = [_insert_word, _insert_noise, _delete, _overwrite, _repeat, _move_line]

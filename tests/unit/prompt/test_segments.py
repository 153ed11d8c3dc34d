"""Which segment of a chain a key is in."""

from itertools import groupby

from hypothesis import given
from hypothesis import strategies as st

from router.ids import BlockKey
from router.prompt.blocks import text_keys
from router.prompt.segments import HASH, SEGMENT, by_place
from router.prompt.token_blocks import token_keys, token_seed


def _lengths(keys: list[BlockKey]) -> list[int]:
    return [len(list(part)) for _, part in groupby(keys, key=lambda key: key & SEGMENT)]


def _chain(number: int, blocks: int = 4096) -> list[BlockKey]:
    return token_keys(range(number, number + blocks * 4), 4)


def test_segments_of_tokens_grow_and_are_few() -> None:
    chains = [_lengths(_chain(number)) for number in range(0, 400_000, 10_000)]
    assert all(len(lengths) < 16 for lengths in chains)
    firsts = sorted(lengths[0] for lengths in chains)
    assert 8 <= firsts[len(firsts) // 2] <= 64
    later = [lengths[3] for lengths in chains if len(lengths) > 4]
    assert sum(later) / len(later) > 3 * sum(firsts) / len(firsts)


def test_chains_that_part_are_in_other_segments_in_the_end() -> None:
    ends = {_chain(number)[-1] & SEGMENT for number in range(0, 400_000, 10_000)}
    assert len(ends) > 30


def test_every_name_begins_beyond_ascii() -> None:
    keys = [token_seed(16), *_chain(1), *by_place(text_keys(b"x" * 100_000, 3))]
    assert all((key & SEGMENT).to_bytes(8, "big")[2] >= 0x80 for key in keys)


@given(st.lists(st.integers(0, 2**64 - 1), max_size=200), st.integers(0, 200))
def test_by_place_a_beginning_has_the_keys_of_the_whole(keys: list[int], cut: int) -> None:
    whole = by_place(keys)
    assert by_place(keys[:cut]) == whole[:cut]
    assert [key & HASH for key in whole] == [key & HASH for key in keys]


def test_by_place_segments_double() -> None:
    keys = text_keys(b"".join(bytes([n % 251]) * 1024 for n in range(600)), 1)
    lengths = _lengths(by_place(keys))
    assert lengths[:5] == [8, 16, 32, 64, 128]
    assert sum(lengths) == len(keys)

"""Keys over token ids: chained, told apart by what the engine tells apart, the same from every side."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.prompt.token_blocks import (
    Media,
    block_contents,
    next_key,
    pack,
    prompt_extras,
    token_keys,
    token_seed,
)

TEXT = list(range(100, 132))


def test_only_full_blocks_have_keys() -> None:
    assert len(token_keys(TEXT, 16)) == 2
    assert len(token_keys(TEXT[:31], 16)) == 1
    assert token_keys(TEXT[:15], 16) == []
    assert token_keys([], 16) == []


@given(
    st.lists(st.integers(0, 2**32 - 1), max_size=60),
    st.lists(st.integers(0, 2**32 - 1), max_size=60),
    st.integers(1, 8),
)
def test_keys_are_equal_as_far_as_the_prompts_are(
    one: list[int], two: list[int], size: int
) -> None:
    pairs = zip(token_keys(one, size), token_keys(two, size), strict=False)
    for place, (left, right) in enumerate(pairs, 1):
        assert (left == right) is (one[: place * size] == two[: place * size])


@given(st.lists(st.integers(0, 200_000), min_size=8, max_size=64), st.integers(0, 7))
def test_a_chain_can_be_taken_up_anywhere(prompt: list[int], start: int) -> None:
    keys = token_keys(prompt, 4)
    start = min(start, len(keys) - 1)
    key = keys[start - 1] if start else token_seed(4)
    rest = []
    for content in block_contents(pack(prompt[start * 4 :]), 4, ()):
        key = next_key(key, content)
        rest.append(key)
    assert rest == keys[start:]


def test_block_size_and_extras_tell_chains_apart() -> None:
    chains = [
        token_keys(TEXT, 16),
        token_keys(TEXT, 8)[1::2],
        token_keys(TEXT, 16, prompt_extras(2, 16, adapter="alpha")),
        token_keys(TEXT, 16, prompt_extras(2, 16, salt="tenant")),
        token_keys(TEXT, 16, prompt_extras(2, 16, adapter="alpha", salt="tenant")),
        token_keys(TEXT, 16, prompt_extras(2, 16, media=[Media("m", 3, 4)])),
        token_keys(TEXT, 16, prompt_extras(2, 16, media=[Media("m", 4, 4)])),
    ]
    assert len({key for chain in chains for key in chain}) == 2 * len(chains)


def test_no_extras_are_as_good_as_empty_ones() -> None:
    assert token_keys(TEXT, 16, [None, []]) == token_keys(TEXT, 16)
    assert prompt_extras(2, 16) == []


def test_extras_are_put_together_as_in_the_engine() -> None:
    media = [Media("one", 10, 10), Media("two", 20, 2), Media("three", 40, 8)]
    assert prompt_extras(4, 16, adapter="alpha", salt="s", media=media) == [
        ["alpha", ("one", 10), "s"],
        ["alpha", ("one", -6), ("two", 4)],
        ["alpha", ("three", 8)],
        ["alpha"],
    ]
    assert prompt_extras(3, 16, salt="s") == [["s"], None, None]


def test_lists_and_tuples_of_extras_give_the_same_key() -> None:
    assert token_keys(TEXT, 32, [[("m", 1)]]) == token_keys(TEXT, 32, [(["m", 1],)])


@pytest.mark.parametrize("bad", [[-1], [2**32], [1.5]])
def test_what_is_no_token_id_is_refused(bad: list[int]) -> None:
    with pytest.raises((OverflowError, TypeError)):
        pack(bad)

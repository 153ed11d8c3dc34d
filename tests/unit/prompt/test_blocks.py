"""Block keys: equal leading keys exactly where prompts are equal."""

from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from router.prompt.blocks import chain_seed, covered_bytes, text_keys

sizes = st.integers(0, 60_000)
short = st.binary(max_size=3000)


def blocks_within(size: int) -> int:
    """How many full blocks `size` bytes hold, counted."""
    blocks = 0
    while covered_bytes(blocks + 1) <= size:
        blocks += 1
    return blocks


def shared(first: bytes, second: bytes) -> int:
    """Length of the common prefix, bytes."""
    for place, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return place
    return min(len(first), len(second))


def leading(first: list[int], second: list[int]) -> int:
    """Length of the common prefix, keys."""
    for place, (a, b) in enumerate(zip(first, second, strict=False)):
        if a != b:
            return place
    return min(len(first), len(second))


@given(st.binary(max_size=2000), st.binary(max_size=2000), st.binary(max_size=2000))
def test_keys_are_equal_exactly_as_far_as_the_prompts_are(
    start: bytes, one: bytes, other: bytes
) -> None:
    first, second = start + one, start + other
    same = leading(text_keys(first, 7), text_keys(second, 7))
    assert same == blocks_within(shared(first, second))


@given(sizes, st.integers(0, 60_000))
def test_one_changed_byte_changes_every_key_from_its_block_on(size: int, place: int) -> None:
    prompt = bytes(size)
    if place >= size:
        return
    changed = prompt[:place] + b"\x01" + prompt[place + 1 :]
    before, after = text_keys(prompt, 0), text_keys(changed, 0)
    untouched = blocks_within(place)
    assert before[:untouched] == after[:untouched]
    assert not set(before[untouched:]) & set(after[untouched:])


@given(st.binary(min_size=1, max_size=20_000), st.integers(0, 20_000))
def test_the_keys_of_a_prefix_are_a_prefix_of_the_keys(prompt: bytes, cut: int) -> None:
    part = text_keys(prompt[:cut], 3)
    assert text_keys(prompt, 3)[: len(part)] == part


@given(sizes)
def test_there_is_a_key_for_every_full_block(size: int) -> None:
    assert len(text_keys(bytes(size), 0)) == blocks_within(size)


@given(sizes)
def test_covered_bytes_and_blocks_within_agree(size: int) -> None:
    blocks = blocks_within(size)
    assert covered_bytes(blocks) <= size < covered_bytes(blocks + 1)
    assert blocks_within(covered_bytes(blocks)) == blocks


def test_blocks_grow_with_the_position_and_leave_no_gap() -> None:
    edges = [covered_bytes(blocks) for blocks in range(120)]
    widths = [after - before for before, after in pairwise(edges)]
    assert edges[0] == 0
    assert covered_bytes(-1) == 0
    assert widths == sorted(widths)
    assert widths[0] == 128
    assert widths[-1] == 1024
    assert all(width <= max(128, edge / 16) for edge, width in zip(edges, widths, strict=False))


@given(short.filter(lambda prompt: len(prompt) >= 128), st.integers(0, 2**64 - 1))
def test_another_seed_makes_other_keys(prompt: bytes, seed: int) -> None:
    other = seed ^ 1
    assert not set(text_keys(prompt, seed)) & set(text_keys(prompt, other))


@given(st.lists(st.binary(max_size=20), max_size=4), st.lists(st.binary(max_size=20), max_size=4))
def test_seeds_differ_when_their_parts_do(first: list[bytes], second: list[bytes]) -> None:
    assert (chain_seed(*first) == chain_seed(*second)) == (first == second)


def test_a_seed_can_be_continued() -> None:
    assert chain_seed(b"b", start=chain_seed(b"a")) == chain_seed(b"a", b"b")


def test_keys_are_unsigned_64_bit_numbers() -> None:
    assert all(0 <= key < 2**64 for key in text_keys(bytes(30_000), chain_seed(b"m")))

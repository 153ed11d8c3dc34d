"""Where text may be cut, and what is remembered of its pieces. (That nothing changes by it: test_encode.)"""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken

from router.tokens.segments import Cutter, SegmentCache, any_of, text_key

MARK = AddedToken("<|m|>", special=True)
LONG = "x" * 600


def pieces(text: str, *added: AddedToken) -> list[str]:
    return list(Cutter(added).segments(text))


def test_text_is_cut_before_an_added_token() -> None:
    assert pieces(f"{LONG}<|m|>{LONG}<|m|>y", MARK) == [LONG, f"<|m|>{LONG}", "<|m|>y"]


def test_short_pieces_are_taken_together() -> None:
    assert pieces(f"<|m|>a<|m|>b<|m|>{LONG}<|m|>c", MARK) == [f"<|m|>a<|m|>b<|m|>{LONG}", "<|m|>c"]


def test_without_added_tokens_text_is_one_piece() -> None:
    assert pieces(LONG * 9) == [LONG * 9]
    assert pieces("") == [""]


@pytest.mark.parametrize(
    "token",
    [
        AddedToken("<|m|>", lstrip=True),
        AddedToken("<|m|>", single_word=True),
        AddedToken("<|m|>", normalized=True, special=False),
    ],
)
def test_tokens_that_depend_on_what_is_before_them_are_no_place_to_cut(token: AddedToken) -> None:
    assert pieces(f"{LONG}<|m|>{LONG}", token) == [f"{LONG}<|m|>{LONG}"]


def test_runs_of_spaces_are_no_place_to_cut() -> None:
    spaces = AddedToken("    ", normalized=False)
    assert pieces(f"{LONG}    {LONG}", spaces, MARK) == [f"{LONG}    {LONG}"]


def test_a_token_inside_another_is_none() -> None:
    around = AddedToken("x<|m|>y", normalized=False)
    assert pieces(f"{LONG}<|m|>y", MARK, around) == [LONG[:-1], "x<|m|>y"]
    unsafe = AddedToken("x<|m|>y", normalized=False, lstrip=True)
    assert pieces(f"{LONG}<|m|>y", MARK, unsafe) == [f"{LONG}<|m|>y"]
    longer = AddedToken("<|m|>y", normalized=False, single_word=True)
    assert pieces(f"{LONG}<|m|>y", MARK, longer) == [f"{LONG}<|m|>y"]


@given(st.lists(st.sampled_from(["a" * 300, "b" * 700, "<|m|>", "c"])), st.text(max_size=20))
def test_pieces_make_up_the_text_and_stay_when_it_goes_on(parts: list[str], more: str) -> None:
    text = "".join(parts)
    cut = pieces(text, MARK)
    assert "".join(cut) == text
    assert pieces(f"{text}<|m|>{more}", MARK)[: len(cut) - 1] == cut[:-1]


def test_what_was_put_is_found() -> None:
    cache = SegmentCache(10_000)
    assert cache.get(text_key(b"a")) is None
    cache.put(text_key(b"a"), [1, 2])
    found = cache.get(text_key(b"a"))
    assert found is not None
    assert list(found) == [1, 2]
    assert (cache.hits, cache.misses) == (1, 1)


def test_the_least_recently_used_goes_first() -> None:
    cache = SegmentCache(1_300)
    for key in (b"a", b"b", b"c"):
        cache.put(key, [1] * 20)
    assert cache.get(b"a") is not None
    cache.put(b"d", [1] * 20)
    assert cache.get(b"b") is None
    assert cache.get(b"a") is not None


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.integers(0, 200))))
def test_memory_is_bounded_and_counted(puts: list[tuple[str, int]]) -> None:
    cache = SegmentCache(2_000)
    last: dict[bytes, int] = {}
    for name, size in puts:
        assert len(cache.put(name.encode(), range(size))) == size
        last[name.encode()] = size
        assert cache.bytes <= cache.limit_bytes
    left = [key for key in last if cache.get(key) is not None]
    assert len(left) == len(cache)
    assert cache.bytes == sum(300 + 4 * last[key] for key in left)


WORDS = st.lists(st.text("ab<|.", min_size=1, max_size=5), min_size=1, max_size=12)


@given(WORDS, st.text("ab<|.", max_size=60))
def test_a_tree_finds_what_trying_the_longest_first_finds(words: list[str], text: str) -> None:
    flat = "|".join(map(re.escape, sorted(words, key=len, reverse=True)))
    found = [match.span() for match in re.finditer(any_of(words), text)]
    assert found == [match.span() for match in re.finditer(flat, text)]


def test_a_tree_may_be_deep_and_wide() -> None:
    words = [f"<unused{number}>" for number in range(7000)] + [
        "\n" * count for count in range(1, 400)
    ]
    pattern = re.compile(any_of([*words, "x" * 3000]))
    assert [match[0] for match in pattern.finditer(f"<unused<unused6999>{LONG}\n\n\ny")] == [
        "<unused6999>",
        "\n\n\n",
    ]

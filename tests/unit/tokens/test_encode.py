"""Text to token ids: piece by piece, and exactly as in one go."""

from array import array
from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tokenizers import AddedToken, Tokenizer, processors

from router.tokens.encode import Encoder
from router.tokens.prompt import Inexact, Side, Truncation
from router.tokens.segments import SegmentCache
from tests.unit.tokens.models import KINDS, MARKS, encoder_of, tokenizer_of

ADDED = (
    AddedToken("<L>", lstrip=True),
    AddedToken("<R>", rstrip=True),
    AddedToken("<tool>", normalized=False),
    AddedToken("word", single_word=True),
    AddedToken("  ", normalized=False),
    AddedToken("É", normalized=True),
    AddedToken("n<|im_", normalized=False),
)
PIECES = [*MARKS, *(token.content for token in ADDED), "e\u0301", " ", "\n", "a", "Zwölf 😀 "]
TEXTS = st.lists(
    st.sampled_from([*PIECES, "fox " * 200, "é " * 300]) | st.text(max_size=8), max_size=25
).map("".join)


def whole(tokenizer: Tokenizer, text: str, *, special: bool) -> list[int]:
    return tokenizer.encode(text, add_special_tokens=special).ids


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXTS, more=TEXTS, special=st.booleans())
def test_piece_by_piece_is_as_in_one_go(kind: str, text: str, more: str, special: bool) -> None:
    tokenizer = tokenizer_of(kind, *ADDED)
    encoder = encoder_of(tokenizer)
    for asked in (text, text + more, text):
        assert list(encoder.encode(asked, special=special)) == whole(
            tokenizer, asked, special=special
        )


@pytest.mark.parametrize("kind", KINDS)
@given(text=TEXTS)
def test_special_tokens_may_be_text_like_any_other(kind: str, text: str) -> None:
    tokenizer = tokenizer_of(kind, *ADDED)
    tokenizer.encode_special_tokens = True
    encoder = encoder_of(tokenizer)
    assert list(encoder.encode(text, special=False)) == whole(tokenizer, text, special=False)


def test_a_next_turn_costs_only_what_is_new() -> None:
    cache = SegmentCache(1_000_000)
    encoder = Encoder(tokenizer_of(), cache)
    turns = "".join(f"<|im_start|>{n} {'fox ' * 200}<|im_end|>" for n in range(20))
    encoder.encode(turns, special=False)
    assert cache.misses >= 20
    before = cache.misses
    encoder.encode(f"{turns}<|im_start|>something new<|im_end|>", special=False)
    assert cache.misses - before <= 2


def test_pieces_that_no_longer_fit_are_made_anew() -> None:
    tokenizer = tokenizer_of()
    encoder = encoder_of(tokenizer, limit_bytes=500)
    text = "".join(f"<|im_start|>{n} {'fox ' * 200}" for n in range(9))
    for _ in range(2):
        assert list(encoder.encode(text, special=False)) == whole(tokenizer, text, special=False)


def test_threads_may_share_it() -> None:
    tokenizer = tokenizer_of()
    encoder = encoder_of(tokenizer, limit_bytes=20_000)
    texts = ["".join(f"<|im_start|>{n % 7} {'fox ' * 150}" for n in range(k)) for k in range(20)]
    expected = [whole(tokenizer, text, special=True) for text in texts]
    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(lambda text: list(encoder.encode(text, special=True)), texts * 3))
    assert found == expected * 3


def test_what_the_tokenizer_puts_around_a_text_is_found() -> None:
    tokenizer = tokenizer_of()
    start, end = (tokenizer.token_to_id(name) for name in ("<s>", "</s>"))
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<s> $A </s> </s>", special_tokens=[("<s>", start), ("</s>", end)]
    )
    encoder = encoder_of(tokenizer)
    for text in ("", "fox", "<s>"):
        assert list(encoder.encode(text, special=True)) == whole(tokenizer, text, special=True)
    assert list(encoder.encode("", special=True)) == [start, end, end]


def test_truncation_set_in_the_file_is_not_the_requests() -> None:
    tokenizer = tokenizer_of()
    tokenizer.enable_truncation(2)
    tokenizer.enable_padding(length=50)
    assert len(encoder_of(tokenizer).encode("fox " * 9, special=False)) > 2


@pytest.mark.parametrize("special", [True, False])
@pytest.mark.parametrize("limit", [2, 5, 100])
@pytest.mark.parametrize("side", [None, "left", "right"])
def test_truncation_is_the_tokenizers_own_or_cuts_what_came_out(
    limit: int, side: Side | None, special: bool
) -> None:
    text, tokenizer = "the quick brown fox jumps", tokenizer_of()
    ids = encoder_of(tokenizer).encode(text, special=special, truncation=Truncation(limit, side))
    every = whole(tokenizer, text, special=special)
    if side is None:
        tokenizer.enable_truncation(limit, direction="left")
        assert list(ids) == whole(tokenizer, text, special=special)
    else:
        assert list(ids) == (every[:limit] if side == "right" else every[-limit:])
    assert len(ids) <= limit


def test_a_truncation_that_leaves_no_text_is_refused() -> None:
    with pytest.raises(Inexact):
        encoder_of(tokenizer_of()).encode("fox", special=True, truncation=Truncation(1))


def test_ids_are_four_bytes_each() -> None:
    ids = encoder_of(tokenizer_of()).encode("fox", special=True)
    assert isinstance(ids, array)
    assert ids.itemsize == 4

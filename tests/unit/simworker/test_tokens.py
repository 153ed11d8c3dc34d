"""The toy tokenizer keeps prefixes, round-trips, and re-encodes what it generates."""

from hypothesis import given
from hypothesis import strategies as st

from router.simworker.tokens import (
    SPECIAL,
    VOCAB_SIZE,
    decode,
    encode,
    render_chat,
)

texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=200)


@given(texts)
def test_decode_undoes_encode(text: str) -> None:
    assert decode(encode(text)) == text


@given(texts, texts)
def test_a_prefix_of_a_text_has_a_prefix_of_its_tokens(text: str, more: str) -> None:
    whole = encode(text + more)
    # A marker may begin in `text` and end in `more`: then its pieces before the cut are its own.
    safe = encode(text.split("<", maxsplit=1)[0])[:-1]
    assert whole[: len(safe)] == safe


@given(st.lists(st.integers(0, VOCAB_SIZE - 1), max_size=50))
def test_any_id_decodes_to_encodable_text(tokens: list[int]) -> None:
    decode(tokens).encode()


def test_four_ascii_characters_a_token() -> None:
    assert len(encode("x" * 4000)) == 1000


def test_markers_are_one_token() -> None:
    assert encode("<|im_start|>a<|im_end|>") == [
        SPECIAL["<|im_start|>"],
        ord("a"),
        SPECIAL["<|im_end|>"],
    ]


def test_tools_and_tool_calls_are_part_of_the_prompt() -> None:
    message = {"role": "assistant", "content": None, "tool_calls": [{"id": "c1"}]}
    text = render_chat([message], [{"name": "lookup"}])
    assert text.startswith("<|im_start|>tools\n")
    assert '"lookup"' in text
    assert '"c1"' in text


def test_content_parts_are_joined() -> None:
    parts = [{"type": "text", "text": "one "}, {"type": "text", "text": "two"}]
    assert "user\none two<|im_end|>" in render_chat([{"role": "user", "content": parts}])


def test_a_conversation_may_end_in_an_open_message() -> None:
    talk = [{"role": "user", "content": "Hi"}, {"role": "assistant", "content": "Well, "}]
    whole = render_chat(talk)
    assert render_chat(talk, answer=False) + "<|im_start|>assistant\n" == whole
    assert render_chat(talk[:1]) + "Well, " == render_chat(talk, go_on=True)

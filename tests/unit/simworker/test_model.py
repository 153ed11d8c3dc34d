"""What the model says follows from the text so far, wherever that is cut."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.simworker.model import Model, natural_length
from router.simworker.tokens import VOCAB_SIZE, decode, encode, render_chat

QUESTION = [{"role": "user", "content": "What is a cache?"}]
PROMPT = encode(render_chat(QUESTION))


def said(prompt: list[int], count: int, name: str = "m", copy: int = 0) -> list[int]:
    model = Model.reading(prompt, name, copy)
    return [model.next_token() for _ in range(count)]


@given(st.text(min_size=1, max_size=60), st.integers(0, 20))
def test_an_answer_goes_on_from_any_cut(text: str, cut: int) -> None:
    prompt = encode(text)
    whole = said(prompt, 20)
    assert said(prompt + whole[:cut], 20 - cut) == whole[cut:]
    as_text = encode(text + decode(whole[:cut]))
    assert decode(said(as_text, 20 - cut)) == decode(whole[cut:])


@given(st.lists(st.integers(0, VOCAB_SIZE - 1), max_size=30))
def test_any_tokens_can_be_read(prompt: list[int]) -> None:
    assert said(prompt, 3) == said(prompt, 3)


def test_what_it_said_encodes_to_the_same_tokens() -> None:
    assert encode(decode(said(PROMPT, 100))) == said(PROMPT, 100)


def test_the_next_turn_extends_the_tokens_of_the_last() -> None:
    answer = said(PROMPT, 20)
    talk = [
        *QUESTION,
        {"role": "assistant", "content": decode(answer)},
        {"role": "user", "content": "And?"},
    ]
    assert encode(render_chat(talk))[: len(PROMPT) + 20] == PROMPT + answer


def test_answers_depend_on_prompt_model_and_copy() -> None:
    prompts = [encode("1 2"), encode("1 3")]
    answers = [said(prompts[0], 9), said(prompts[1], 9), said(prompts[0], 9, "b")]
    answers.append(said(prompts[0], 9, copy=1))
    assert len({tuple(answer) for answer in answers}) == 4


def test_a_copy_goes_on_by_itself() -> None:
    model = Model.reading(PROMPT, "m")
    other = model.copy()
    assert [other.next_token() for _ in range(5)] == said(PROMPT, 5)
    assert [model.next_token() for _ in range(5)] == said(PROMPT, 5)


@pytest.mark.parametrize("cut", [0, 1, 63, 64])
def test_an_answer_that_goes_on_ends_where_it_would_have(cut: int) -> None:
    whole = natural_length(PROMPT, "m")
    assert 64 <= whole < 192
    assert natural_length(PROMPT + said(PROMPT, cut), "m") == whole - cut
    assert natural_length(PROMPT + said(PROMPT, whole + 3), "m") == 0


def test_a_prompt_without_turns_has_a_length_too() -> None:
    lengths = {natural_length(encode(f"{number}"), "m") for number in range(20)}
    assert len(lengths) > 5

"""Growing texts: blocks are shared where texts are equal and nowhere else."""

from hypothesis import given
from hypothesis import strategies as st

from router.simulate.text import Text


def test_only_full_blocks_have_ids() -> None:
    text = Text(10).grow(9)
    assert text.ids == []
    assert len(text.grow(1).ids) == 1
    assert len(text.grow(29).ids) == 3
    assert text.tokens == 39


def test_forks_share_what_was_there_and_nothing_after() -> None:
    text = Text(10).grow(25)
    one, two = text.fork().grow(100), text.fork().grow(100)
    text.grow(100)
    assert one.ids[:2] == two.ids[:2] == text.ids[:2]
    rest = one.ids[2:] + two.ids[2:] + text.ids[2:]
    assert len(set(rest)) == len(rest) == 30


def test_a_fork_of_a_fork_has_ids_of_its_own() -> None:
    fork = Text(10).grow(20).fork()
    assert set(fork.fork().grow(10).ids[2:]).isdisjoint(fork.grow(10).ids[2:])


def test_an_answer_begins_in_the_block_in_which_the_prompt_ends() -> None:
    text = Text(10).grow(25)
    call = text.ask(16)
    assert (call.prompt_tokens, call.output_tokens) == (25, 16)
    assert len(call.blocks) == 2
    assert len(call.answer_blocks) == 2
    assert text.ids == call.blocks + call.answer_blocks
    assert text.tokens == 41


def test_a_call_keeps_its_blocks_when_the_text_grows() -> None:
    text = Text(10).grow(25)
    call = text.ask(3)
    text.grow(100)
    assert len(call.blocks) == 2
    assert call.answer_blocks == []


@given(st.integers(1, 70), st.lists(st.tuples(st.integers(0, 200), st.integers(1, 200))))
def test_every_turn_begins_with_all_that_was_said(
    block_tokens: int, turns: list[tuple[int, int]]
) -> None:
    text = Text(block_tokens)
    said: list[int] = []
    for question, answer in turns:
        call = text.grow(question).ask(answer)
        assert call.blocks[: len(said)] == said
        said = call.blocks + call.answer_blocks
        assert len(said) == text.tokens // block_tokens
    assert len(set(said)) == len(said)

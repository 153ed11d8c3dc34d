"""Workloads and what a perfect cache would make of them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.simulate.workload import Call, Session, Step, Workload, upper_bound_hit

BLOCK = 10


def workload(*calls: Call) -> Workload:
    sessions = [
        Session("", "", float(place), (Step((call,), 0.0),)) for place, call in enumerate(calls)
    ]
    return Workload("some", BLOCK, 1, sessions)


def call(blocks: list[int], answer_blocks: list[int] | None = None, more: int = 5) -> Call:
    """A call whose prompt ends `more` tokens after its last full block."""
    return Call(len(blocks) * BLOCK + more, 30, blocks, answer_blocks or [])


def test_calls_come_session_after_session_and_step_after_step() -> None:
    first, second, third, fourth = (call([number]) for number in range(4))
    steps = (Step((first, second), 0.0), Step((third,), 1.0))
    sessions = [Session("a", "", 0.0, steps), Session("b", "", 1.0, (Step((fourth,), 0.0),))]
    assert list(Workload("some", BLOCK, 1, sessions).calls()) == [first, second, third, fourth]


def test_nothing_is_found_the_first_time() -> None:
    assert upper_bound_hit(workload(call([1, 2, 3]), call([4, 5]))) == 0


def test_a_prefix_seen_before_is_found() -> None:
    assert upper_bound_hit(workload(call([1, 2, 3]), call([1, 2, 4]))) == 20 / 70


def test_an_answer_is_found_by_the_next_turn() -> None:
    assert upper_bound_hit(workload(call([1], [2, 3]), call([1, 2, 3, 4]))) == 30 / 60


def test_the_block_of_the_last_token_is_always_computed() -> None:
    assert upper_bound_hit(workload(call([1, 2], more=0), call([1, 2], more=0))) == 10 / 40


def test_a_workload_without_prompts_has_no_hits() -> None:
    assert upper_bound_hit(workload()) == 0


@given(st.lists(st.integers(0, 6), min_size=1, max_size=20))
def test_prefixes_of_one_text_miss_each_block_once(lengths: list[int]) -> None:
    calls = [call(list(range(length))) for length in lengths]
    prompt_tokens = sum(call.prompt_tokens for call in calls)
    found = BLOCK * (sum(lengths) - max(lengths))
    assert upper_bound_hit(workload(*calls)) == pytest.approx(found / prompt_tokens)

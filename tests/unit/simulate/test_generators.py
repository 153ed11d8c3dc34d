"""The generated workloads have the shape that they promise."""

from collections import Counter
from functools import cache
from statistics import mean

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.simulate.generators import BLOCK_TOKENS, GENERATORS, MAX_PROMPT_TOKENS
from router.simulate.workload import Workload, upper_bound_hit
from tests.unit.simulate import invariants

names = pytest.mark.parametrize("name", GENERATORS)
CLOSED_LOOP = {"chat": (24_000, 32.0), "agent": (8000, 1.0)}
"""Requests, and how many sessions a second."""
OPEN_LOOP = {
    "rag": (12_000, 10.0),
    "viral": (20_000, 10.0),
    "none": (10_000, 10.0),
    "decode": (8000, 16.0),
    "tenants": (12_000, 2.8 + 32 / 3),
}
"""Requests, and how many a second."""


@cache
def made(name: str) -> Workload:
    """As large as it is by default."""
    return GENERATORS[name](1)


@names
@settings(deadline=None, max_examples=8)
@given(seed=st.integers(), requests=st.integers(1, 80))
def test_any_seed_makes_a_sound_workload(name: str, seed: int, requests: int) -> None:
    workload = GENERATORS[name](seed, requests)
    invariants.check(workload)
    for call in workload.calls():
        known = len(call.blocks) + len(call.answer_blocks)
        assert known == (call.prompt_tokens + call.output_tokens) // BLOCK_TOKENS
    for session in workload.sessions:
        assert all(invariants.goes_on(*calls) for calls in invariants.continued(session))


@names
def test_a_seed_makes_the_same_workload_again_and_another_seed_another(name: str) -> None:
    generate = GENERATORS[name]
    assert generate(5, 50) == generate(5, 50)
    assert generate(5, 50) != generate(6, 50)


@names
def test_no_prompt_is_too_long(name: str) -> None:
    assert max(call.prompt_tokens for call in made(name).calls()) <= MAX_PROMPT_TOKENS


@pytest.mark.parametrize(
    ("name", "expected", "within"),
    [
        ("chat", 0.91, 0.02),
        ("rag", 0.86, 0.03),
        ("agent", 0.96, 0.02),
        ("viral", 0.89, 0.02),
        ("none", 0.0, 0.0),
        ("tenants", 0.62, 0.02),
        ("decode", 0.38, 0.01),
    ],
)
def test_as_much_can_be_reused_as_intended(name: str, expected: float, within: float) -> None:
    assert upper_bound_hit(made(name)) == pytest.approx(expected, abs=within)


@pytest.mark.parametrize("name", OPEN_LOOP)
def test_open_loop_requests_arrive_at_the_stated_rate(name: str) -> None:
    sessions, (requests, rate) = made(name).sessions, OPEN_LOOP[name]
    assert len(sessions) == pytest.approx(requests, rel=0.05)
    assert sessions[0].start_s > 0
    assert len(sessions) / sessions[-1].start_s == pytest.approx(rate, rel=0.05)
    assert {len(session.steps) for session in sessions} == {1}


@pytest.mark.parametrize("name", CLOSED_LOOP)
def test_closed_loop_sessions_arrive_at_the_stated_rate(name: str) -> None:
    sessions, (requests, rate) = made(name).sessions, CLOSED_LOOP[name]
    calls = sum(len(step.calls) for session in sessions for step in session.steps)
    last = sum(len(step.calls) for step in sessions[-1].steps)
    assert requests <= calls < requests + last
    assert len(sessions) / sessions[-1].start_s == pytest.approx(rate, rel=0.06)


@names
def test_the_list_says_for_how_many_workers_it_is(name: str) -> None:
    workers = GENERATORS[name](1, 1).workers
    summary = (GENERATORS[name].__doc__ or "").partition("\n\n")[0]
    assert f": {workers} workers, " in summary


@pytest.mark.parametrize("name", CLOSED_LOOP)
def test_closed_loop_sessions_stop_when_there_are_enough_calls(name: str) -> None:
    workload = GENERATORS[name](3, 500)
    last = sum(len(step.calls) for step in workload.sessions[-1].steps)
    assert 500 <= len(list(workload.calls())) < 500 + last


def test_chat_grows_by_a_question_and_an_answer() -> None:
    sessions = made("chat").sessions
    assert mean(len(session.steps) for session in sessions) == pytest.approx(5, rel=0.1)
    thinks = [step.think_s for session in sessions for step in session.steps[1:]]
    assert mean(thinks) == pytest.approx(20, rel=0.1)
    pairs = [pair for session in sessions for pair in invariants.continued(session)]
    assert {after.prompt_tokens - before.prompt_tokens for before, after in pairs} == {330}
    shared = {tuple(session.steps[0].calls[0].blocks[:16]) for session in sessions}
    assert len(shared) == 1


def test_agents_fan_out_from_a_common_context() -> None:
    sessions = made("agent").sessions
    assert len({session.steps[0].calls[0].blocks[0] for session in sessions}) == 3
    steps = [step for session in sessions for step in session.steps]
    sizes = Counter(len(step.calls) for step in steps)
    assert set(sizes) == {1, 4}
    assert sizes[4] / len(steps) == pytest.approx(0.1, rel=0.2)
    for step in steps:
        if len(step.calls) == 4:
            context = (step.calls[0].prompt_tokens - 100) // BLOCK_TOKENS
            assert len({tuple(call.blocks[:context]) for call in step.calls}) == 1
            own = [block for call in step.calls for block in call.blocks[context:]]
            assert len(set(own)) == len(own)


def test_an_agent_goes_on_from_the_context_of_a_fan_out() -> None:
    for session in made("agent").sessions:
        for step, following in zip(session.steps, session.steps[1:], strict=False):
            if len(step.calls) == 4:
                context = step.calls[0].prompt_tokens - 100
                shared = context // BLOCK_TOKENS
                assert following.calls[0].blocks[:shared] == step.calls[0].blocks[:shared]
                answers = sum(call.output_tokens for call in step.calls)
                assert following.calls[0].prompt_tokens > context + answers


def test_popular_documents_are_asked_about_by_their_rank() -> None:
    asked = Counter(call.blocks[4] for call in made("rag").calls() if len(call.blocks) > 4)
    first, second = (times for _, times in asked.most_common(2))
    assert first / 12_000 == pytest.approx(1 / 8.18, rel=0.1)
    assert first / second == pytest.approx(2, rel=0.2)


def test_the_viral_prefix_takes_over() -> None:
    viral = [call.prompt_tokens == 12_060 for call in made("viral").calls()]
    tenth = len(viral) // 10
    assert mean(viral) == pytest.approx(0.3, abs=0.02)
    assert mean(viral[:tenth]) < 0.06
    assert mean(viral[-tenth:]) == pytest.approx(0.57, abs=0.05)
    others = Counter(c.blocks[0] for c in made("viral").calls() if c.prompt_tokens != 12_060)
    assert mean(others.values()) == pytest.approx(4, rel=0.1)


def test_one_tenant_floods_the_middle_third() -> None:
    sessions = made("tenants").sessions
    arrivals = Counter(session.tenant for session in sessions)
    assert set(arrivals) == {"flood", *(f"light-{number}" for number in range(8))}
    third_s = 12_000 / (3 * 2.8 + 32)
    flood = Counter(int(s.start_s // third_s) for s in sessions if s.tenant == "flood")
    rates = [flood[third] / third_s for third in range(3)]
    assert rates == pytest.approx([4, 24, 4], rel=0.15)
    prefixes = {s.tenant: set[int]() for s in sessions}
    for session in sessions:
        prefixes[session.tenant].add(session.steps[0].calls[0].blocks[30])
    assert all(len(blocks) == 1 for blocks in prefixes.values())
    assert len({min(blocks) for blocks in prefixes.values()}) == 9

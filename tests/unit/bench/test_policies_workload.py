"""The sessions that policies are compared with."""

from itertools import islice

import pytest

from bench.policies.workload import Session, Shape, sessions


def first(count: int, shape: Shape | None = None, seed: int = 1, label: str = "a") -> list[Session]:
    return list(islice(sessions(shape or Shape(), seed, label), count))


def test_the_same_seed_gives_the_same_sessions_and_another_seed_others() -> None:
    assert first(20) == first(20)
    assert first(1) != first(1, seed=2)


def test_a_round_s_sessions_differ_between_labels_in_nothing_but_the_label() -> None:
    one, two = first(5, label="x prefix"), first(5, label="x random")
    assert [s.questions for s in one] == [s.questions for s in two]
    assert [s.thinks for s in one] == [s.thinks for s in two]
    assert [s.name for s in one] == [s.name for s in two]
    assert one[0].system.replace("[x prefix]", "") == two[0].system.replace("[x random]", "")
    assert one[0].system[:10] != two[0].system[:10]


def test_sessions_share_the_system_prompt_and_nothing_after_it() -> None:
    made = first(50)
    assert len({s.system for s in made}) == 1
    assert len({s.questions[0][:40] for s in made}) == 50
    assert len({s.name for s in made}) == 50


def test_shape_is_kept() -> None:
    shape = Shape(context_bytes=3000, context_max_bytes=5000, question_bytes=200, turns=5)
    made = first(400, shape)
    turns = [len(s.questions) for s in made]
    assert max(turns) == shape.max_turns
    assert min(turns) == 1
    assert sum(turns) / len(turns) == pytest.approx(4.7, abs=0.5)  # cut off at max_turns
    contexts = sorted(len(s.questions[0]) - 200 for s in made)
    assert contexts[200] == pytest.approx(3000, rel=0.1)
    assert contexts[-1] == pytest.approx(5000, rel=0.02)
    assert all(len(q) <= 200 for s in made for q in s.questions[1:])
    thinks = [think for s in made for think in s.thinks]
    assert len(thinks) == sum(turns)
    assert sum(thinks) / len(thinks) == pytest.approx(shape.think_s, rel=0.1)

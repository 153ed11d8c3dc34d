"""What decides in a simulation is what is shipped."""

import pytest

from router.index.predicted import PredictedIndex
from router.index.union import UnionIndex
from router.prompt.identity import TokenIdentity
from router.routing.queue import LateBinding
from router.routing.registry import POLICIES
from router.simulate.brain import MODEL, BrainOptions, make_brain


@pytest.mark.parametrize("policy", POLICIES)
def test_every_policy_can_be_simulated(policy: str) -> None:
    brain = make_brain(3, 100_000, BrainOptions(policy))
    assert brain.admission.name == policy
    assert list(brain.fleet.candidates(MODEL)) == list(brain.workers)
    assert len(brain.workers) == 3


def test_the_router_s_own_policy_is_its_queue() -> None:
    brain = make_brain(2, 100_000, BrainOptions())
    assert isinstance(brain.admission, LateBinding)
    assert {worker.report.kv_tokens for worker in brain.workers} == {100_000}


@pytest.mark.parametrize(
    ("knowledge", "predicts", "listens"),
    [("both", True, True), ("events", False, True), ("none", False, True)],
)
def test_what_the_index_goes_by(knowledge: str, predicts: bool, listens: bool) -> None:
    brain = make_brain(2, 100_000, BrainOptions(knowledge=knowledge))
    index, worker = brain.index, brain.workers[0].id
    assert isinstance(index, UnionIndex)
    sent, told = TokenIdentity.of([1, 2], 128, 64), TokenIdentity.of([3, 4], 128, 64)
    index.sent(worker, sent)
    assert (index.lookup(sent) == {worker: 2}) is predicts
    index.stored(worker, told.keys)
    assert (index.lookup(told) == {worker: 2}) is listens


def test_predictions_alone_are_the_router_s_predicted_index() -> None:
    brain = make_brain(2, 128, BrainOptions(knowledge="predictions"))
    index, worker = brain.index, brain.workers[0].id
    assert isinstance(index, PredictedIndex)
    prompts = [TokenIdentity.of([number], 64, 64) for number in range(3)]
    for prompt in prompts:
        index.sent(worker, prompt)
    assert [bool(index.lookup(prompt)) for prompt in prompts] == [False, True, True]


def test_constants_can_be_off() -> None:
    right, off = (make_brain(1, 1000, BrainOptions(cost_factor=f)).cost for f in (1.0, 2.0))
    assert off.engine.prefill_s(1000, 200) == pytest.approx(2 * right.engine.prefill_s(1000, 200))
    assert off.engine.step_s == 2 * right.engine.step_s

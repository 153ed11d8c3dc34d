"""Many workers priced at once, beside the cost model asked for one after the other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.fleet.worker import Worker
from router.ids import WorkerId
from router.prompt.blocks import text_keys
from router.prompt.identity import Identity, TokenIdentity
from router.routing.cost import CostModel, Rates
from router.routing.pricing import Prices
from tests.unit.routing.loads import busy_workers, learned
from tests.unit.routing.table import NOW, decode, prefill

BLOCKS = 12
GONE = WorkerId("gone:8000")
Situation = tuple[list[Worker], CostModel, Identity, dict[WorkerId, int]]


def prices(
    workers: list[Worker], cost: CostModel, now: float = NOW, crowding: float = 0.0
) -> Prices:
    places = {worker.id: place for place, worker in enumerate(workers)}
    return Prices(workers, places, cost, now, crowding)


def naive(
    cost: CostModel, worker: Worker, identity: Identity, blocks: int, now: float = NOW
) -> float:
    """What `CostModel` says of one worker."""
    base, per_prefill, per_token, _ = cost.terms(worker, now)
    prefill_s = cost.engine.prefill_s(identity.tokens, identity.covered_tokens(blocks))
    return base + prefill_s * per_prefill + identity.tokens * per_token


def own(cost: CostModel, worker: Worker, identity: Identity, blocks: int) -> float:
    """The prompt's own seconds on it."""
    prefill_s = cost.engine.prefill_s(identity.tokens, identity.covered_tokens(blocks))
    return prefill_s * cost.terms(worker, NOW)[3]


@st.composite
def identities(draw: st.DrawFn) -> Identity:
    """A prompt of at least `BLOCKS` blocks, known by its text or by its tokens."""
    if draw(st.booleans()):
        block = draw(st.integers(16, 2000))
        return TokenIdentity.of(
            list(range(BLOCKS)), BLOCKS * block + draw(st.integers(0, 99)), block
        )
    text = b"x" * draw(st.integers(BLOCKS * 128, 300_000))
    rate = draw(st.floats(0.1, 1.0))
    return Identity(text, text_keys(text, 0), len(text) * rate, rate)


@st.composite
def situations(draw: st.DrawFn) -> Situation:
    """Busy workers of different speeds, a prompt, and how much of it some of them hold."""
    workers, cost = draw(busy_workers()), CostModel(Rates())
    learned(cost.rates, {w: draw(st.sampled_from([0.3, 1.0, 1.1, 4.0])) for w in workers}, 20)
    ids = [worker.id for worker in workers] + [GONE]
    overlaps = draw(st.dictionaries(st.sampled_from(ids), st.integers(1, BLOCKS)))
    return workers, cost, draw(identities()), overlaps


@given(situations())
def test_a_price_is_what_the_cost_model_says(
    drawn: Situation,
) -> None:
    workers, cost, identity, overlaps = drawn
    wanted = [naive(cost, w, identity, overlaps.get(w.id, 0)) for w in workers]
    assert prices(workers, cost).of(identity, overlaps) == pytest.approx(wanted)


@given(situations(), st.floats(0, 20))
def test_in_a_crowd_the_worker_s_own_seconds_cost_more(drawn: Situation, crowding: float) -> None:
    workers, cost, identity, overlaps = drawn
    blocks = [overlaps.get(worker.id, 0) for worker in workers]
    wanted = [
        naive(cost, worker, identity, depth) + crowding * own(cost, worker, identity, depth)
        for worker, depth in zip(workers, blocks, strict=True)
    ]
    found = prices(workers, cost, crowding=crowding).of(identity, overlaps)
    assert found == pytest.approx(wanted)


@given(situations())
def test_the_prompt_s_own_seconds_leave_out_whoever_waits(
    drawn: Situation,
) -> None:
    workers, cost, identity, overlaps = drawn
    wanted = [own(cost, w, identity, overlaps.get(w.id, 0)) for w in workers]
    priced = prices(workers, cost)
    places = range(len(workers))
    assert [priced.prefill_s(n, identity, overlaps) for n in places] == pytest.approx(wanted)
    assert priced.least_prefill_s(identity, overlaps) == pytest.approx(min(wanted))


@given(situations(), st.data())
def test_a_worker_that_was_sent_something_is_priced_anew(
    drawn: Situation, data: st.DataObject
) -> None:
    workers, cost, identity, overlaps = drawn
    crowding = data.draw(st.sampled_from([0.0, 3.0]))
    priced = prices(workers, cost, NOW, crowding)
    place = data.draw(st.integers(0, len(workers) - 1))
    prefill(workers[place], 5000.0, seconds=0.2, context=9000.0)
    decode(workers[place])
    priced.update(place, cost, NOW + 0.01)
    found = priced.of(identity, overlaps)
    wanted = prices(workers, cost, NOW + 0.01, crowding).of(identity, overlaps)
    assert found[place] == pytest.approx(wanted[place])


@given(situations())
def test_pricing_changes_nothing(
    drawn: Situation,
) -> None:
    workers, cost, identity, overlaps = drawn
    before, known = [repr(worker.load) for worker in workers], dict(overlaps)
    priced = prices(workers, cost)
    assert priced.of(identity, overlaps) == priced.of(identity, overlaps)
    priced.least_prefill_s(identity, overlaps)
    assert ([repr(worker.load) for worker in workers], overlaps) == (before, known)

"""Many workers priced at once, beside the cost model asked for one after the other."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.fleet.worker import Worker
from router.ids import Tier, WorkerId
from router.prompt.blocks import text_keys
from router.prompt.identity import Identity, TokenIdentity
from router.prompt.stored import Loadable
from router.routing.cost import CostModel, Rates
from router.routing.pricing import Prices
from tests.unit.routing.loads import busy_workers, learned
from tests.unit.routing.table import NOW, decode, prefill
from tests.unit.support import workers_of

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
    computed_s, load_s = work(cost, worker, identity, blocks)
    return base + computed_s * per_prefill + identity.tokens * per_token + load_s


def own(cost: CostModel, worker: Worker, identity: Identity, blocks: int) -> float:
    """The prompt's own seconds on it."""
    computed_s, load_s = work(cost, worker, identity, blocks)
    return computed_s * cost.terms(worker, NOW)[3] + load_s


def work(cost: CostModel, worker: Worker, identity: Identity, blocks: int) -> tuple[float, float]:
    """Seconds of prefill, at scale 1, and of loading what a lower tier holds beyond the worker's own `blocks`."""
    cached, load_s = identity.covered_tokens(blocks), 0.0
    below = identity.stored.get(worker.id)
    if below is not None and below.tokens > cached:
        load_s = cost.loads.seconds(below.tier, below.tokens - cached, cost.terms(worker, NOW)[3])
        cached = below.tokens
    return cost.engine.prefill_s(identity.tokens, cached), load_s


@st.composite
def identities(draw: st.DrawFn) -> Identity:
    """A prompt of at least `BLOCKS` blocks, known by its text or by its tokens; then lower tiers may hold some of it."""
    if draw(st.booleans()):
        block = draw(st.integers(16, 2000))
        tokens = BLOCKS * block + draw(st.integers(0, 99))
        loadable = st.builds(
            Loadable, st.sampled_from([Tier.CPU, Tier.DISK, Tier.REMOTE]), st.integers(1, tokens)
        )
        ids = st.sampled_from([WorkerId(f"{name}:8000") for name in "abcdef"] + [GONE])
        stored = draw(st.dictionaries(ids, loadable))
        return TokenIdentity.of(list(range(BLOCKS)), tokens, block).with_stored(stored)
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
def test_in_a_crowd_the_seconds_that_a_worker_computes_cost_more(
    drawn: Situation, crowding: float
) -> None:
    workers, cost, identity, overlaps = drawn
    blocks = [overlaps.get(worker.id, 0) for worker in workers]
    wanted = [
        naive(cost, worker, identity, depth)
        + crowding * work(cost, worker, identity, depth)[0] * cost.terms(worker, NOW)[3]
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


def test_what_a_lower_tier_holds_makes_a_worker_cheaper() -> None:
    """But not as cheap as one that has it in its own memory."""
    workers, cost = workers_of("a", "b", "c"), CostModel(Rates())
    _, b, c = workers
    identity = TokenIdentity.of(list(range(BLOCKS)), BLOCKS * 500, 500).with_stored(
        {b.id: Loadable(Tier.CPU, 8 * 500)}
    )
    cold, loaded, warm = prices(workers, cost).of(identity, {c.id: 8})
    assert warm < loaded < cold
    priced = prices(workers, cost)
    own_s = [priced.prefill_s(place, identity, {c.id: 8}) for place in range(3)]
    assert own_s[2] < own_s[1] < own_s[0]
    assert priced.least_prefill_s(identity, {}) == own_s[1], "for want of a warmer one"


def test_a_slow_tier_is_dearer_until_it_is_worth_nothing() -> None:
    workers, cost = workers_of("a", "b"), CostModel(Rates())
    _, b = workers
    identity = TokenIdentity.of(list(range(BLOCKS)), BLOCKS * 500, 500).with_stored(
        {b.id: Loadable(Tier.DISK, 8 * 500)}
    )
    before = prices(workers, cost).of(identity, {})
    for _ in range(100):
        cost.loads.learn(Tier.DISK, 4000, 2.0, 1.0)
    after = prices(workers, cost).of(identity, {})
    assert before[1] < before[0] == after[0] < after[1]


def test_what_the_worker_has_itself_is_not_loaded() -> None:
    workers, cost = workers_of("a", "b"), CostModel(Rates())
    a, b = workers
    identity = TokenIdentity.of(list(range(BLOCKS)), BLOCKS * 500, 500)
    stored = identity.with_stored({b.id: Loadable(Tier.CPU, 4 * 500)})
    overlaps = {a.id: 4, b.id: 4}
    assert prices(workers, cost).of(stored, overlaps) == prices(workers, cost).of(
        identity, overlaps
    )


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

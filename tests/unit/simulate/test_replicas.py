"""Each router knows what is its own, and what others tell; a run with several loses nothing."""

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.prompt.identity import Identity, TokenIdentity
from router.routing.registry import POLICIES
from router.simulate.brain import BrainOptions
from router.simulate.records import Result
from router.simulate.replicas import Replicas
from router.simulate.run import Run
from router.simulate.run_options import Outage, RunOptions
from router.simulate.scenario import KNOWLEDGE
from router.simulate.workload import Call, Session, Step, Workload
from tests.unit.simulate.clock import Clock
from tests.unit.simulate.studies import HARDWARE, workload

PROMPT = TokenIdentity.of([1, 2, 3], 192, 64)


def replicas(
    clock: Clock, routers: int = 2, sharing: str = "all", knowledge: str = "both"
) -> Replicas:
    options = RunOptions(HARDWARE, 2, routers=routers, sharing=sharing, sharing_s=0.01)
    return Replicas(options, BrainOptions(knowledge=knowledge), clock.at)


def seen(several: Replicas, router: int, now: float) -> list[int]:
    """The leading blocks of the prompt that the router sees, by worker."""
    brain = several.brains[router]
    identity: Identity = several.known(router, PROMPT, now)
    found = brain.chooser.look_up(identity)
    return [found.get(worker.id, 0) for worker in brain.workers]


def run(work: Workload, routers: int = 3, **rest: object) -> Result:
    brain = {name: rest.pop(name) for name in ("policy", "knowledge", "seed") if name in rest}
    options = RunOptions(HARDWARE, 4, routers=routers, **rest)  # type: ignore[arg-type]
    return Run(work, options, BrainOptions(**brain)).go()  # type: ignore[arg-type]


@pytest.mark.parametrize("knowledge", ["both", "predictions"])
@pytest.mark.parametrize(("sharing", "later"), [("all", [0, 3]), ("nothing", [0, 0])])
def test_what_one_sends_the_others_know_a_little_later(
    knowledge: str, sharing: str, later: list[int]
) -> None:
    clock = Clock()
    several = replicas(clock, 3, sharing, knowledge)  # the third follows no worker's events
    several.sent(0, 1, PROMPT, 0.0)
    assert seen(several, 0, 0.0) == [0, 3]
    assert seen(several, 2, 0.0) == [0, 0]
    clock.until(0.01)
    assert seen(several, 2, 0.01) == later


@pytest.mark.parametrize("sharing", ["all", "nothing"])
def test_events_reach_everybody(sharing: str) -> None:
    clock = Clock()
    several = replicas(clock, 3, sharing, "events")
    several.told(1, [(0.0, key, True) for key in PROMPT.keys], 0.0)
    clock.until(0.01)
    assert [seen(several, router, 0.01) for router in range(3)] == [[0, 3]] * 3
    several.told(1, [(0.0, 3, False)], 0.02)
    clock.until(0.03)
    assert [seen(several, router, 0.03) for router in range(3)] == [[0, 2]] * 3
    several.fell(1)
    several.rose(1, 0.04)
    assert [seen(several, router, 0.04) for router in range(3)] == [[0, 0]] * 3


def test_no_router_counts_on_the_whole_of_a_cache_that_others_fill(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    told: list[float] = []
    monkeypatch.setattr(
        "router.index.predicted.PredictedIndex.set_share",
        lambda _, worker, share: told.append(share),
    )
    run(workload("rag", 400), 4, knowledge="predictions", speed=2.0)
    assert 0.05 < min(told) < 0.5
    told.clear()
    run(workload("rag", 400), 4, knowledge="both", speed=2.0)
    assert told == []


def test_one_router_draws_no_lots_and_hears_of_nobody() -> None:
    clock = Clock()
    alone = replicas(clock, 1)
    assert {alone.pick() for _ in range(20)} == {0}
    assert alone.known(0, PROMPT, 0.0) is PROMPT
    assert list(alone.looks(0.0, ())) == []


def test_requests_go_to_routers_by_lot_and_each_time_the_same_way() -> None:
    picks = [replicas(Clock(), 4).pick() for _ in range(2)]
    assert picks[0] == picks[1]
    several = replicas(Clock(), 4)
    assert set(Counter(several.pick() for _ in range(200))) == {0, 1, 2, 3}


def test_routers_look_around_one_after_the_other() -> None:
    several = replicas(Clock(), 2)
    assert list(several.looks(1.0, ())) == [(1.025, 0), (1.05, 1)]
    assert list(several.looks(1.0, {0})) == [(1.05, 1)]
    assert list(several.looks(1.0, {0, 1})) == []
    assert several.look(0, 1.025) == pytest.approx(1.075)


@settings(deadline=None, max_examples=40)
@given(
    name=st.sampled_from(["rag", "agent"]),
    policy=st.sampled_from(POLICIES),
    knowledge=st.sampled_from(list(KNOWLEDGE)),
    sharing=st.sampled_from(["all", "nothing"]),
    sharing_s=st.sampled_from([0.001, 0.3]),
    outage=st.booleans(),
)
def test_whatever_happens_every_call_is_answered_once_and_nothing_is_left_behind(
    name: str, policy: str, knowledge: str, sharing: str, sharing_s: float, outage: bool
) -> None:
    work = workload(name, 60)
    options = RunOptions(
        HARDWARE,
        3,
        speed=5.0,
        outages=(Outage(1, 0.5, 2.0),) * outage,
        routers=4,
        sharing=sharing,
        sharing_s=sharing_s,
    )
    simulation = Run(work, options, BrainOptions(policy, knowledge))
    result = simulation.go()
    asked = Counter(call.prompt_tokens for call in work.calls())
    assert Counter(record.prompt_tokens for record in result.records) == asked
    for record in result.records:
        assert 0 <= record.queued_s < record.ttft_s <= record.duration_s
        assert 0 <= record.cached_tokens < record.prompt_tokens
    for brain in simulation.replicas.brains:
        assert len(brain.admission) == 0
        for worker in brain.workers:
            load = worker.load
            assert (load.own, load.inflight) == (0, 0)
            assert load.context_tokens == 0


@pytest.mark.parametrize("sharing", ["all", "nothing"])
def test_a_seed_gives_the_same_again(sharing: str) -> None:
    work = workload("chat", 150)
    records = [run(work, sharing=sharing, seed=seed).records for seed in (3, 3, 4)]
    assert records[0] == records[1] != records[2]


@pytest.mark.parametrize("knowledge", ["both", "predictions"])
def test_sharing_finds_more_and_sooner_is_not_worse(knowledge: str) -> None:
    """Documents come again at whatever router."""
    work = workload("rag", 600)
    hits = {
        sharing: run(work, 8, sharing=sharing, knowledge=knowledge, speed=2.0).hit_rate
        for sharing in ("all", "nothing")
    }
    one = run(work, 1, knowledge=knowledge, speed=2.0).hit_rate
    assert hits["all"] > 0.9 * one
    if knowledge == "predictions":  # events tell everybody
        assert hits["nothing"] < 0.9 * hits["all"]


def test_a_queue_hears_of_room_that_others_make() -> None:
    """One worker whose cache a single prompt fills; the second one waits at another router."""
    step = Step((Call(HARDWARE.kv_tokens * 6 // 10, 200, [], []),), 0.0)
    sessions = [Session(str(number), "", number / 10, (step,)) for number in range(6)]
    work = Workload("large", 64, 1, sessions)
    options = RunOptions(HARDWARE, 1, routers=3, metrics_s=0.05)
    result = Run(work, options, BrainOptions()).go()
    assert len(result.records) == 6

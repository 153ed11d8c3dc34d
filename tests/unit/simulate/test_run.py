"""Runs answer every call once, in order, whatever happens to the workers, and the same way again."""

from collections import Counter
from collections.abc import Sequence

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.prompt.identity import TokenIdentity
from router.routing.queue import LateBinding
from router.routing.registry import POLICIES as ALL_POLICIES
from router.simulate.brain import BrainOptions
from router.simulate.records import Result
from router.simulate.run import Run
from router.simulate.run_options import Outage, RunOptions
from router.simulate.scenario import KNOWLEDGE
from router.simulate.text import Text
from router.simulate.workload import Call, Session, Step, Workload
from tests.unit.simulate.studies import HARDWARE, workload

POLICIES = ("prefix", "round_robin", "cache_aware", "dynamo_wspt")


def run(work: Workload, policy: str = "prefix", *, workers: int = 2, **rest: object) -> Result:
    brain = {name: rest.pop(name) for name in ("knowledge", "seed") if name in rest}
    options = RunOptions(HARDWARE, workers, **rest)  # type: ignore[arg-type]
    return Run(work, options, BrainOptions(policy, **brain)).go()  # type: ignore[arg-type]


def asked(work: Workload) -> Counter[int]:
    return Counter(call.prompt_tokens for call in work.calls())


def answered(result: Result) -> Counter[int]:
    return Counter(record.prompt_tokens for record in result.records)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("name", ["chat", "agent", "rag"])
def test_every_call_is_answered_once(name: str, policy: str) -> None:
    work = workload(name, 150)
    result = run(work, policy)
    assert answered(result) == asked(work)
    for record in result.records:
        assert 0 <= record.queued_s < record.ttft_s <= record.duration_s
        assert 0 <= record.cached_tokens < record.prompt_tokens
    assert result.dropped == 0


def tree(turns: Sequence[tuple[int, int, int, int]]) -> Workload:
    """Each turn goes on from an earlier text. Three make a session: one call, then two at once."""
    texts = [Text(64)]
    calls = []
    for parent, question, answer, _ in turns:
        text = texts[parent % len(texts)].fork().grow(question)
        calls.append(text.ask(answer))
        texts.append(text)
    sessions = []
    for place in range(0, len(calls), 3):
        parts = (tuple(calls[place : place + 1]), tuple(calls[place + 1 : place + 3]))
        steps = [Step(part, float(number)) for number, part in enumerate(parts) if part]
        sessions.append(Session(f"s{place}", f"t{place % 2}", turns[place][3] / 10, steps))
    sessions.sort(key=lambda session: session.start_s)
    return Workload("tree", 64, 3, sessions)


TURN = st.tuples(st.integers(0, 9), st.integers(1, 20_000), st.integers(1, 400), st.integers(0, 80))


@settings(deadline=None, max_examples=60)
@given(
    turns=st.lists(TURN, min_size=1, max_size=40),
    policy=st.sampled_from(ALL_POLICIES),
    knowledge=st.sampled_from(list(KNOWLEDGE)),
    slow=st.sampled_from([1.0, 0.2]),
    outages=st.lists(st.tuples(st.integers(0, 50), st.integers(1, 50)), max_size=3),
)
def test_whatever_happens_every_call_is_answered_once_and_nothing_is_left_behind(
    turns: list[tuple[int, int, int, int]],
    policy: str,
    knowledge: str,
    slow: float,
    outages: list[tuple[int, int]],
) -> None:
    work = tree(turns)
    ends, down = 0.0, []
    for worker, (after, lasts) in enumerate(outages):  # one after the other, of all three workers
        start = ends + after / 10
        ends = start + lasts / 10
        down.append(Outage(worker, start, ends))
    options = RunOptions(HARDWARE, 3, speeds={0: slow}, outages=tuple(down))
    simulation = Run(work, options, BrainOptions(policy, knowledge))
    result = simulation.go()
    assert answered(result) == asked(work)
    for record in result.records:
        assert 0 <= record.queued_s < record.ttft_s <= record.duration_s
        assert 0 <= record.cached_tokens < record.prompt_tokens
    assert all(w.load.inflight == 0 and not w.load.pending for w in simulation.brain.workers)


@pytest.mark.parametrize("policy", POLICIES)
def test_a_seed_gives_the_same_again(policy: str) -> None:
    work = workload("chat", 100)
    assert run(work, policy, seed=3).records == run(work, policy, seed=3).records


@pytest.mark.parametrize("knowledge", KNOWLEDGE)
def test_what_is_known_of_caches_finds_prefixes(knowledge: str) -> None:
    work = workload("rag", 300)
    result = run(work, workers=4, knowledge=knowledge)
    assert answered(result) == asked(work)
    known = result.hit_rate
    nothing = run(work, workers=4, knowledge="none").hit_rate
    assert (known == nothing) is (knowledge == "none")
    assert known >= nothing


@pytest.mark.parametrize(("gap_s", "events_know"), [(0.03, False), (1.0, True)])
def test_predictions_tell_at_once_what_events_tell_later(gap_s: float, events_know: bool) -> None:
    """The same prompt twice, under a policy that goes by nothing but the index while there is something in it."""
    step = Step((Call(6400, 500, list(range(100)), []),), 0.0)
    work = Workload("twice", 64, 4, [Session(str(n), "", n * gap_s, (step,)) for n in range(2)])
    workers = {
        known: len({r.worker for r in run(work, "smg_events", workers=4, knowledge=known).records})
        for known in KNOWLEDGE
    }
    told = 1 if events_know else 2
    assert workers == {"both": 1, "predictions": 1, "events": told, "none": 2}


@pytest.mark.parametrize("policy", POLICIES)
def test_an_outage_loses_nothing(policy: str) -> None:
    work = workload("rag", 200)
    result = run(work, policy, outages=(Outage(0, 3.0, 8.0),))
    assert answered(result) == asked(work)
    down = [r for r in result.records if r.worker == 0 and 3.0 < r.arrived_at + r.queued_s < 8.0]
    assert down == []
    assert any(r.worker == 0 and r.arrived_at > 8.0 for r in result.records)


@pytest.mark.parametrize("policy", POLICIES)
@pytest.mark.parametrize("when_s", [0.1, 3.0], ids=["before its first token", "in its answer"])
def test_a_call_that_an_outage_broke_off_begins_anew_elsewhere(policy: str, when_s: float) -> None:
    step = Step((Call(20_000, 500, [], []),), 0.0)
    work = Workload("one", 64, 2, [Session("s", "", 1.0, (step,))])
    [before] = run(work, policy).records
    assert (before.ttft_s > when_s) is (when_s == 0.1)
    [after] = run(work, policy, outages=(Outage(before.worker, 1.0 + when_s, 99.0),)).records
    assert after.worker == 1 - before.worker
    assert after.arrived_at == before.arrived_at == 1.0
    assert after.ttft_s == pytest.approx(when_s + before.ttft_s)  # its clock ran on
    assert after.duration_s == pytest.approx(when_s + before.duration_s)


def test_a_worker_that_is_down_all_the_time_gets_nothing() -> None:
    result = run(workload("rag", 60), workers=3, outages=(Outage(1, 0.0, 10_000.0),))
    assert {record.worker for record in result.records} == {0, 2}


PROMPT = Call(6400, 5, list(range(100)), [])


def asked_at(*times: float) -> Workload:
    """The same prompt at each of these times."""
    step = Step((PROMPT,), 0.0)
    return Workload("same", 64, 2, [Session(str(n), "", at, (step,)) for n, at in enumerate(times)])


@pytest.mark.parametrize(
    "start_s", [1.002, 1.07, 5.0], ids=["on its way there", "events on their way back", "later"]
)
def test_of_a_worker_that_was_down_nothing_is_believed(start_s: float) -> None:
    [first] = run(asked_at(1.0)).records
    options = RunOptions(HARDWARE, 2, outages=(Outage(first.worker, start_s, 9.0),))
    simulation = Run(asked_at(1.0), options, BrainOptions())
    [record] = simulation.go().records
    identity = TokenIdentity.of(PROMPT.blocks, PROMPT.prompt_tokens, 64)
    holders = simulation.brain.index.lookup(identity)
    assert list(holders) == [simulation.brain.workers[record.worker].id] * (start_s < 5.0)
    assert (record.worker == first.worker) is (start_s == 5.0)


def test_a_call_that_never_reached_a_worker_leaves_no_cache_there() -> None:
    """It was on its way when the worker went down; the other one is down when the prompt comes again."""
    [first] = run(asked_at(1.0)).records
    there, elsewhere = first.worker, 1 - first.worker
    outages = (Outage(there, 1.002, 2.0), Outage(elsewhere, 5.0, 9.0))
    records = run(asked_at(1.0, 6.0), outages=outages).records
    assert [(r.worker, r.cached_tokens) for r in records] == [(elsewhere, 0), (there, 0)]


def test_after_an_outage_a_cache_is_empty() -> None:
    """The same prompt every second; one worker."""
    call = Call(640, 5, list(range(10)), [])
    sessions = [Session(str(n), "", float(n), (Step((call,), 0.0),)) for n in range(10)]
    work = Workload("same", 64, 1, sessions)
    cached = [r.cached_tokens for r in run(work, workers=1).records]
    assert cached == [0] + [576] * 9
    # a second worker takes over meanwhile, so that somebody is up
    after = run(work, workers=2, outages=(Outage(0, 4.5, 4.6), Outage(1, 4.6, 100.0))).records
    assert sum(r.cached_tokens == 0 for r in after) >= 2


def test_a_slow_worker_is_given_less() -> None:
    work = workload("none", 600)
    result = run(work, workers=3, speeds={1: 0.3}, speed=1.5)
    share = Counter(record.worker for record in result.records)
    assert share[1] < 0.6 * min(share[0], share[2])


def test_sessions_wait_for_their_answers() -> None:
    """A step begins `think_s` after the last answer of the one before it."""
    first = Step((Call(100, 10, [1], []), Call(200, 50, [1, 2, 3], [])), 0.0)
    second = Step((Call(300, 1, [1, 2, 3, 4], []),), 7.0)
    work = Workload("some", 64, 1, [Session("s", "", 2.0, (first, second))])
    records = sorted(run(work).records, key=lambda record: record.prompt_tokens)
    assert [record.arrived_at for record in records[:2]] == [2.0, 2.0]
    ended = max(record.arrived_at + record.duration_s for record in records[:2])
    assert records[2].arrived_at == pytest.approx(ended + 7.0)


def test_speed_moves_sessions_together_and_leaves_thinking_alone() -> None:
    session = Session("s", "", 10.0, (Step((Call(100, 1, [1], []),), 0.0),) * 1)
    [record] = run(Workload("some", 64, 1, [session]), speed=4.0).records
    assert record.arrived_at == 2.5


def test_what_no_worker_could_hold_is_left_out_with_the_rest_of_its_session() -> None:
    large = Step((Call(HARDWARE.kv_tokens, 1, [], []), Call(100, 1, [1], [])), 0.0)
    after = Step((Call(50, 1, [], []),), 0.0)
    alone = Step((Call(HARDWARE.kv_tokens, 1, [], []),), 0.0)
    sessions = [Session("a", "", 0.0, (large, after)), Session("b", "", 0.0, (alone, after))]
    result = run(Workload("some", 64, 1, sessions))
    assert sorted(answered(result)) == [50, 100]
    assert result.dropped == 3


def test_a_hopeless_run_ends_early() -> None:
    work = workload("none", 400)
    whole = run(work, workers=1, speed=5.0)
    cut = run(work, workers=1, speed=5.0, patience_s=20.0)
    assert 0 < len(cut.records) < len(whole.records)


def test_under_overload_requests_wait_in_the_router_and_not_in_the_engines() -> None:
    work = workload("none", 400)
    held, sent = (run(work, policy, workers=1, speed=5.0) for policy in ("prefix", "round_robin"))
    assert sum(record.queued_s for record in held.records) > 0
    assert {record.queued_s for record in sent.records} == {0.0}
    assert held.mean_ttft < sent.mean_ttft  # the shortest first


def test_nothing_is_left_behind() -> None:
    simulation = Run(workload("agent", 200), RunOptions(HARDWARE, 2), BrainOptions())
    simulation.go()
    assert isinstance(simulation.brain.admission, LateBinding)
    assert len(simulation.brain.admission) == 0
    assert all(worker.load.inflight == 0 for worker in simulation.brain.workers)
    assert all(not worker.load.pending for worker in simulation.brain.workers)


def test_old_metrics_change_decisions_and_lose_nothing() -> None:
    work = workload("decode", 300)
    fresh, old = (run(work, "llmd", speed=3.0, metrics_s=age) for age in (0.05, 2.0))
    assert answered(fresh) == answered(old) == asked(work)
    assert [r.worker for r in fresh.records] != [r.worker for r in old.records]


def test_workers_report_their_state() -> None:
    """The run ends early, under overload."""
    options = RunOptions(HARDWARE, 1, speed=5.0, patience_s=20.0)
    simulation = Run(workload("none", 400), options, BrainOptions("round_robin"))
    simulation.go()
    load = simulation.brain.workers[0].load
    assert load.reported_running
    assert load.reported_waiting
    assert load.reported_running + load.reported_waiting <= load.inflight + 5  # some just ended
    assert 0.1 < (load.kv_usage or 0.0) < 1.0


def test_a_tenant_that_floods_does_not_hold_up_the_others() -> None:
    """Its requests are the shorter ones: for one tenant alone they would go first."""
    flood = [(number / 50, "flood", 2000) for number in range(500)]
    light = [(float(number), "light", 4000) for number in range(1, 10)]

    def waits(light_tenant: str) -> float:
        sessions = [
            Session(str(number), light_tenant if tenant == "light" else tenant, start_s, (step,))
            for number, (start_s, tenant, tokens) in enumerate(sorted(flood + light))
            for step in [Step((Call(tokens, 5, [], []),), 0.0)]
        ]
        records = run(Workload("some", 64, 1, sessions), workers=1).records
        return sum(record.ttft_s for record in records if record.prompt_tokens == 4000)

    assert waits("light") < waits("flood") / 3

"""Traffic, what leaks, and what is printed of a run."""

import json

import pytest

from bench.chaos.leaks import Held, Leak, inflight, queued
from bench.chaos.load import Record
from bench.chaos.oracle import SimulatedOracle
from bench.chaos.report import Outcome, as_json, quantile_ms, text
from bench.chaos.schedule import Kind
from bench.chaos.timeline import Timeline
from bench.chaos.traffic import Limits, Traffic
from bench.chaos.verdict import Judged, Verdict

BEFORE = Held(1, 30, 70.0, 0, 0.0)


def record(verdict: Verdict, *, calm: bool = True, moved: tuple[str, ...] = ()) -> Record:
    judged = Judged(verdict, "why")
    return Record("/v1/completions", True, judged, 0.25, calm, moved, "router-0", "w:1", 1.5)


def outcome(*records: Record, leak: Leak | None = None) -> Outcome:
    timeline = Timeline()
    timeline.begin(Kind.KILL, "w:1", 1.0).ended = 2.0
    leaks = [leak or Leak("router-0", BEFORE, BEFORE)]
    return Outcome(records, timeline, leaks, 10.0, {"seed": "1"})


def test_a_good_run() -> None:
    good = outcome(record(Verdict.OK), record(Verdict.RESUMED, calm=False, moved=("router_kill",)))
    assert not good.failed
    told = text(good)
    assert "2 requests, 0.2/s; lost: 0; moved by the client: 1 from a router_kill" in told
    assert "| LOST: wrong text | 0 | 0 |" in told
    assert "| none | 1 | 250 | 250 | 250 |" in told
    assert "| kill | 1 |" in told
    assert "The first that were lost" not in told


def test_a_bad_run() -> None:
    bad = outcome(record(Verdict.OK), record(Verdict.TRUNCATED))
    assert bad.failed
    assert "LOST: cut without an error  completions, stream  router-0 w:1: why" in text(bad)
    told = json.loads(json.dumps(as_json(bad)))
    assert (told["requests"], told["lost"], len(told["not_well"])) == (2, 1, 1)
    assert told["ttft_ms"]["calm"] == {"streams": 2, "p50": 250.0, "p99": 250.0}


@pytest.mark.parametrize(
    ("after", "found"),
    [
        (Held(2, 40, 90.0, 0, 0.0), ""),
        (Held(1, 90, 70.0, 0, 0.0), "90 descriptors"),
        (Held(1, 30, 70.0, 2, 1.0), "2 in flight, 1.0 queued"),
        (Held(1, 30, 70.0, None, None), "None in flight, None queued"),
    ],
)
def test_leaks(after: Held, found: str) -> None:
    leak = Leak("router-0", BEFORE, after)
    assert leak.found == found
    assert outcome(record(Verdict.OK), leak=leak).failed is bool(found)


def test_what_routers_say_of_themselves() -> None:
    assert inflight('[{"inflight": 1}, {"inflight": 2}]') == 3
    assert inflight('{"workers": [{"inflight": 1}]}') == 1
    assert inflight("") is None
    depths = 'router_queue_depth{model="a"} 3.0\nrouter_queue_depth{model="b"} 1.0\n'
    assert queued(f"# TYPE router_queue_depth gauge\n{depths}") == 4
    assert queued("") is None


def test_quantiles() -> None:
    assert quantile_ms([], 0.5) is None
    assert quantile_ms([0.1, 0.3, 0.2], 0.5) == 200.0


def test_traffic_is_mixed_and_follows_from_the_seed() -> None:
    traffic, again = (Traffic(3, "m", Limits()) for _ in range(2))
    asked = [traffic.next() for _ in range(200)]
    assert asked == [again.next() for _ in range(200)]
    assert {question.path for question in asked} == {"/v1/chat/completions", "/v1/completions"}
    assert {question.stream for question in asked} == {True, False}
    assert {"max_tokens" in question.body for question in asked} == {True, False}
    assert len({question.key for question in asked}) == 200


def test_a_limited_traffic_repeats_itself() -> None:
    traffic = Traffic(3, "m", Limits(50, 20, open_ended=False), distinct=5)
    asked = [traffic.next() for _ in range(100)]
    assert {question.key for question in asked} == {question.key for question in traffic.known}
    assert all(question.body["max_tokens"] <= 20 for question in asked)


def test_the_oracle_knows_lengths_and_ends() -> None:
    traffic = Traffic(3, "m", Limits())
    for question in (traffic.next() for _ in range(30)):
        due = SimulatedOracle().answer(question)
        limit = question.body.get("max_tokens")
        assert due.completion_tokens == (limit or len(due.text) // 4)
        assert due.reason == ("length" if limit else "stop")

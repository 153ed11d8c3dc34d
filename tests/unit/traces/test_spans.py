"""A request that has ended as spans. What real ones say is in tests/component/test_tracing.py."""

import pytest

from router import errors
from router.fleet.fleet import Fleet
from router.fleet.target import Service, Target
from router.journey import Journey
from router.routing.policy import Decision
from router.telemetry.spans import Kind, Span
from router.telemetry.tracing import Attempt, Trace
from router.traces.spans import spans
from tests.unit.support import FakeDownstream, chat, incoming
from tests.unit.traces.test_attributes import line

EPOCH = 1_700_000_000.0


def ended() -> Journey:
    journey = Journey(incoming(chat("hi")), b"r1", FakeDownstream())
    journey.arrived_at, journey.ended_at = 10.0, 20.0
    return journey


def told(journey: Journey, trace: Trace, outcome: str = "ok", status: int = 200) -> list[Span]:
    found = spans(journey, trace, line(outcome=outcome, status=status), "http", EPOCH)
    return list(found)


def test_all_hang_below_the_request() -> None:
    journey, trace = ended(), Trace(5, 1, 6, "v=1")
    journey.waits = ((11.0, 12.0), (13.5, 14.0))
    for at in (12.0, 14.0):
        attempt = Attempt("a:1", "a", 1, at)
        attempt.sent_at, attempt.ended_at = at + 0.25, at + 1.0
        trace.attempts.append(attempt)
    request, *below = told(journey, trace)
    assert (request.kind, request.parent_id, request.remote) == (Kind.SERVER, 6, True)
    assert [each.name for each in below] == ["queue", "queue", request.name, request.name]
    assert [each.kind for each in below] == [Kind.INTERNAL] * 2 + [Kind.CLIENT] * 2
    for each in below:
        assert (each.parent_id, each.remote) == (trace.span_id, False)
    for each in (request, *below):
        assert (each.trace_id, each.flags, each.state) == (5, 1, "v=1")
    assert len({each.span_id for each in (request, *below)}) == 5
    ns = [(each.start_ns, each.end_ns) for each in (request, *below)]
    at = [tuple(round(t / 1e9 - EPOCH, 3) for t in pair) for pair in ns]
    assert at == [(10, 20), (11, 12), (13.5, 14), (12, 13), (14, 15)]
    assert [name for name, _ in below[2].events] == ["sent"]


def test_an_attempt_that_nobody_ended_ends_with_the_request() -> None:
    journey, trace = ended(), Trace(5, 1)
    trace.attempts.append(Attempt("a:1", "a", 1, 12.0))
    request, attempt = told(journey, trace)
    assert attempt.end_ns == request.end_ns


def test_only_a_model_s_answer_has_an_id() -> None:
    trace = Trace(5, 1)
    trace.answer = {"gen_ai.response.id": "x"}
    for endpoint, known in (("completions", "x"), ("tokenize", None)):
        (span,) = spans(ended(), trace, line(endpoint=endpoint), "http", EPOCH)
        assert span.attributes.get("gen_ai.response.id") == known


@pytest.mark.parametrize(
    ("url", "service", "name"),
    [
        ("http://gpu-1:8000", None, "vllm"),
        ("https://api.openai.com/v1", Service({"m": "gpt"}), "openai"),
        ("https://gateway.internal/v1", Service({"m": "gpt"}), None),
    ],
)
def test_who_ran_the_model(url: str, service: Service | None, name: str | None) -> None:
    fleet = Fleet(None, connect_s=1.0, idle_s=4.0)
    fleet.set_targets([Target(url=url, service=service)])
    journey = ended()
    journey.decision = Decision(next(iter(fleet)), "prefix", "only_choice", 0, *(0.0,) * 6)
    journey.attempts = 1
    (span,) = told(journey, Trace(5, 1))
    assert span.attributes.get("gen_ai.provider.name") == name


def test_who_failed() -> None:
    journey = ended()
    journey.error = errors.queue_full(3, 1)
    (span,) = told(journey, Trace(5, 1), "router_error", 503)
    assert (span.error, span.attributes["error.type"]) == ("queue_full", "queue_full")
    journey.error = errors.model_not_found("x", [])
    (span,) = told(journey, Trace(5, 1), "client_error", 404)
    assert (span.error, span.attributes["error.type"]) == ("", "model_not_found")
    journey.error = None
    (span,) = told(journey, Trace(5, 1), "upstream_error", 500)
    assert span.error == "500"
    (span,) = told(journey, Trace(5, 1), "cancelled", 499)
    assert span.error == ""
    assert "error.type" not in span.attributes


def test_the_last_attempt_has_the_answer_s_error() -> None:
    journey, trace = ended(), Trace(5, 1)
    attempt = Attempt("a:1", "a", 1, 12.0)
    attempt.status, attempt.sent_at = 500, 12.5
    trace.attempts.append(attempt)
    assert told(journey, trace, "upstream_error", 500)[1].error == "500"
    attempt.error = ""
    journey.cancelled = True
    assert told(journey, trace, "cancelled", 500)[1].error == ""

"""Ids, sampling, and what is noted of attempts."""

import pytest

from router.ids import Headers
from router.telemetry.traceparent import parse
from router.telemetry.tracing import Attempt, Trace, Tracer, new_id

TRACE, SPAN = 0x4BF92F3577B34DA6A3CE929D0E0E4736, 0x00F067AA0BA902B7
SAMPLED: Headers = [(b"traceparent", b"00-%032x-%016x-01" % (TRACE, SPAN))]
UNSAMPLED: Headers = [(b"traceparent", b"00-%032x-%016x-00" % (TRACE, SPAN))]


def attempt(at: float = 1.0) -> Attempt:
    return Attempt("gpu-1:8000", "gpu-1", 8000, at)


class TestTracer:
    @pytest.mark.parametrize(
        ("ratio", "least", "most"), [(0.0, 0, 0), (1.0, 4000, 4000), (0.25, 850, 1150)]
    )
    def test_so_many_of_the_traces_that_begin_here(
        self, ratio: float, least: int, most: int
    ) -> None:
        tracer = Tracer(ratio)
        assert least <= sum(tracer.begin([]).sampled for _ in range(4000)) <= most

    def test_of_others_the_parent_decides(self) -> None:
        assert Tracer(0.0).begin(SAMPLED).sampled
        assert not Tracer(1.0).begin(UNSAMPLED).sampled
        assert Tracer(1.0).begin([*UNSAMPLED, (b"tracestate", b"v=1")]).state == ""

    def test_a_trace_goes_on(self) -> None:
        trace = Tracer(1.0).begin([*SAMPLED, (b"tracestate", b"v=1")])
        assert (trace.trace_id, trace.parent_id, trace.state) == (TRACE, SPAN, "v=1")
        assert trace.continued
        assert trace.span_id not in (0, SPAN)
        assert trace.name == f"{TRACE:032x}"

    def test_or_begins(self) -> None:
        headers: Headers = [(b"traceparent", b"nonsense"), (b"tracestate", b"v=1")]
        one, two = Tracer(1.0).begin(headers), Tracer(1.0).begin(headers)
        assert (one.parent_id, one.state, one.continued) == (0, "", False)
        assert one.trace_id != two.trace_id

    def test_the_same_traces_are_sampled_everywhere(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """As OpenTelemetry's sampler by ratio has it: the lower 64 bits of the id decide."""
        for low, sampled in ((0, True), (2**63 - 1, True), (2**63, False), (2**64 - 1, False)):
            monkeypatch.setattr("router.telemetry.tracing.new_id", lambda bits=64: 2**127 + low)  # noqa: B023
            assert Tracer(0.5).begin([]).sampled is sampled


class TestTrace:
    def test_the_worker_is_told_its_attempt(self) -> None:
        trace = Trace(TRACE, 1)
        trace.begin(attempt())
        headers = trace.sent([(b"a", b"1")], 2.0)
        parent = parse(dict(headers)[b"traceparent"])
        assert parent is not None
        assert (parent.trace_id, parent.span_id, parent.flags) == (
            TRACE,
            trace.attempts[0].span_id,
            1,
        )
        assert headers[0] == (b"a", b"1")

    def test_each_attempt_has_an_id(self) -> None:
        trace = Trace(TRACE, 1)
        told = []
        for _ in range(2):
            trace.begin(attempt())
            told.append(dict(trace.sent([], 2.0))[b"traceparent"])
        assert told[0] != told[1]

    def test_a_trace_that_is_not_sampled_is_told_as_it_is(self) -> None:
        passed = Tracer(1.0).begin(UNSAMPLED)
        passed.begin(attempt())
        assert passed.sent(UNSAMPLED, 2.0) is UNSAMPLED
        begun = Tracer(0.0).begin([])
        begun.begin(attempt())
        assert dict(begun.sent([], 2.0)) == {
            b"traceparent": b"00-%032x-%016x-00" % (begun.trace_id, begun.span_id)
        }

    def test_what_becomes_of_attempts(self) -> None:
        trace = Trace(TRACE, 1)
        trace.begin(attempt(1.0))
        trace.failed("worker_unreachable")
        trace.ended(2.0, 200)
        trace.again("worker_unreachable")
        trace.begin(attempt(3.0))
        trace.sent([], 4.0)
        trace.first_token(5.0)
        trace.ended(6.0, 200)
        trace.ended(7.0, 500)
        one, two = trace.attempts
        assert (one.cause, one.error, one.ended_at, one.status) == (
            "",
            "worker_unreachable",
            2.0,
            0,
        )
        assert (two.cause, two.error, two.ended_at, two.status) == (
            "worker_unreachable",
            "",
            6.0,
            200,
        )
        assert (two.started_at, two.sent_at, two.first_token_at) == (3.0, 4.0, 5.0)


def test_ids_are_never_zero(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("router.telemetry.tracing.getrandbits", lambda bits: 0)
    assert new_id() == 1

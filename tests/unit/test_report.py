"""What becomes of a request afterwards: its log line, its counts, and what is learned."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from router import errors
from router.errors import RouterError
from router.fleet.lease import Lease
from router.fleet.load import PendingPrefill
from router.ids import Headers
from router.index.memory import MemoryIndex
from router.index.predicted import PredictedIndex
from router.journey import Journey
from router.prompt.identity import TextIdentity
from router.prompt.request import Request
from router.prompt.session import SessionKeys
from router.proxy.relay import Relay
from router.proxy.retry import REFUSALS
from router.report import Reporter
from router.routing.affinity import ResponseHomes
from router.routing.chooser import Chooser
from router.routing.cost import Rates
from router.routing.learn import Learner
from router.routing.policies import POLICIES, Tools
from router.telemetry.logs import RequestLog
from router.telemetry.metrics import TOKEN_BUCKETS_S, Histogram, Metrics
from tests.unit.support import FakeDownstream, chat, fleet_of, incoming

Answer = Callable[[Relay], None]
STREAM: Headers = [(b"content-type", b"text/event-stream")]
USAGE = b'{"prompt_tokens":50,"completion_tokens":3,"prompt_tokens_details":{"cached_tokens":16}}'
LOST = errors.worker_lost("w", "early")


def plain(status: int = 200, body: bytes = b'{"usage":%b}' % USAGE) -> Answer:
    def answer(relay: Relay) -> None:
        relay.on_response(status, [(b"content-type", b"application/json")], len(body))
        relay.on_body(body)
        relay.on_complete([])

    return answer


def stream(*, whole: bool = True) -> Answer:
    def answer(relay: Relay) -> None:
        relay.on_response(200, STREAM, None)
        for _ in range(3):
            relay.on_body(b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n')
            relay.on_read()
        if whole:
            relay.on_body(b'data: {"choices":[],"usage":%b}\n\ndata: [DONE]\n\n' % USAGE)
            relay.on_complete([])

    return answer


class Desk:
    """A reporter with all that it writes to."""

    def __init__(self) -> None:
        self.fleet = fleet_of("a")
        (self.worker,) = self.fleet
        self.metrics, self.homes, self.rates = Metrics(), ResponseHomes(), Rates()
        self.memory = MemoryIndex(capacity_tokens=1e9, max_blocks=10**9)
        self.index = PredictedIndex(self.memory, default_kv_tokens=10**9)
        self.identities, self.sink = TextIdentity(), io.BytesIO()
        self.log = RequestLog(self.sink, json=True)
        learner = Learner(self.index, self.identities, self.rates, self.metrics)
        self.reporter = Reporter(self.fleet, learner, self.homes, self.metrics, self.log)
        policy = POLICIES["prefix"](Tools(self.rates, SessionKeys(), seed=1))
        self.chooser = Chooser("prefix", policy, self.index, self.rates, self.metrics.lookup)

    def journey(self, body: dict[str, Any] | None = None, path: str = "/v1/completions") -> Journey:
        asked = incoming(body or chat("word " * 100), path=path)
        journey = Journey(asked, b"r\xe9", FakeDownstream())
        journey.request = Request(asked)
        journey.model = journey.request.model
        return journey

    def routed(self, answer: Answer | None, **rest: Any) -> Journey:
        """A journey whose worker did `answer` (None: nothing yet)."""
        journey = self.journey(**rest)
        journey.identity = self.identities.identify(journey.request)
        journey.overlaps = self.chooser.look_up(journey.identity)
        journey.decision = self.chooser.choose(
            journey.request, journey.identity, list(self.fleet), journey.overlaps
        )
        journey.attempts = 1
        journey.lease = Lease(self.worker, PendingPrefill(0.1, 10, streams=True))
        journey.sent_at = journey.arrived_at
        journey.relay = Relay(
            FakeDownstream(), [], REFUSALS, Histogram(TOKEN_BUCKETS_S), lambda at: None, print
        )
        if answer is not None:
            answer(journey.relay)
        return journey

    def concluded(self, journey: Journey) -> dict[str, Any]:
        """The log line of a journey that ends now."""
        journey.end()
        self.reporter.conclude(journey)
        self.reporter.settle()
        self.log.flush()
        found: dict[str, Any] = json.loads(self.sink.getvalue().splitlines()[-1])
        return found

    def outcomes(self) -> dict[str, int]:
        return {k: v for s in self.metrics._routes.values() for k, v in s.outcomes.items()}


@pytest.fixture
def desk() -> Desk:
    return Desk()


def ended(desk: Desk, answer: Answer | None, error: RouterError | None, *, left: bool) -> Journey:
    journey = desk.routed(answer)
    journey.error, journey.cancelled = error, left
    return journey


@pytest.mark.parametrize(
    ("answer", "error", "left", "status", "outcome"),
    [
        (plain(), None, False, 200, "ok"),
        (plain(304, b""), None, False, 304, "ok"),
        (plain(400), None, False, 400, "client_error"),
        (plain(500), None, False, 500, "upstream_error"),
        (stream(whole=False), LOST, False, 200, "upstream_error"),
        (None, LOST, False, 502, "upstream_error"),
        (None, errors.INTERNAL_ERROR, False, 500, "router_error"),
        (None, errors.no_worker("none"), False, 503, "router_error"),
        (None, errors.model_not_found("x", []), False, 404, "client_error"),
        (plain(429), LOST, False, 502, "upstream_error"),
        (None, None, True, 499, "cancelled"),
        (plain(429), None, True, 499, "cancelled"),
        (stream(whole=False), None, True, 200, "cancelled"),
    ],
)
def test_status_and_outcome(
    desk: Desk,
    answer: Answer | None,
    error: RouterError | None,
    left: bool,
    status: int,
    outcome: str,
) -> None:
    line = desk.concluded(ended(desk, answer, error, left=left))
    assert (line["status"], line["outcome"]) == (status, outcome)
    assert desk.outcomes() == {outcome: 1}
    assert line["error"] == (error.message if error else None)


def test_the_line_of_a_stream(desk: Desk) -> None:
    line = desk.concluded(desk.routed(stream()))
    assert line.pop("ts")
    assert line.pop("ttft_ms") <= line.pop("duration_ms")
    assert line == {
        "event": "request",
        "request_id": "ré",
        "model": "m",
        "endpoint": "completions",
        "worker": "a:8000",
        "policy": "prefix",
        "reason": "only_candidate",
        "status": 200,
        "outcome": "ok",
        "error": None,
        "prompt_tokens": 50,
        "completion_tokens": 3,
        "predicted_cached_tokens": 0,
        "cached_tokens": 16,
        "attempts": 1,
    }


def test_the_line_of_a_request_that_went_nowhere(desk: Desk) -> None:
    journey = desk.journey({"model": "x"})
    journey.error = errors.model_not_found("x", ["m"])
    line = desk.concluded(journey)
    assert line["model"] == "x"
    assert (line["worker"], line["policy"], line["reason"], line["attempts"]) == (None, "", "", 0)
    assert line["predicted_cached_tokens"] is None
    assert set(desk.metrics._routes) == {("unknown", "completions")}


def test_a_stream_is_counted(desk: Desk) -> None:
    desk.concluded(desk.routed(stream()))
    series = desk.metrics.route("m", "completions")
    assert series.prompt_tokens == 50
    for histogram in (series.duration, series.ttft, series.tpot):
        assert sum(histogram.counts) == 1


def test_an_answer_that_does_not_stream_has_no_token_times(desk: Desk) -> None:
    line = desk.concluded(desk.routed(plain()))
    assert line["ttft_ms"] is None
    series = desk.metrics.route("m", "completions")
    assert sum(series.duration.counts) == 1
    assert sum(series.ttft.counts) == sum(series.tpot.counts) == 0


def test_lines_come_in_batches(desk: Desk) -> None:
    for _ in range(3):
        journey = desk.routed(plain())
        journey.end()
        desk.reporter.conclude(journey)
    assert desk.outcomes() == {}
    desk.reporter.settle()
    desk.reporter.settle()
    assert desk.outcomes() == {"ok": 3}
    desk.log.flush()
    assert len(desk.sink.getvalue().splitlines()) == 3


def test_a_batch_does_not_grow_without_bound(desk: Desk) -> None:
    for _ in range(300):
        journey = desk.journey()
        journey.error = LOST
        journey.end()
        desk.reporter.conclude(journey)
    assert desk.outcomes()["upstream_error"] >= 256


def test_what_waits_for_its_batch_is_small(desk: Desk) -> None:
    journey = desk.routed(plain())
    journey.end()
    desk.reporter.conclude(journey)
    assert journey.incoming.body == b""


def test_retries_are_counted_by_reason(desk: Desk) -> None:
    desk.reporter.retried("refused")
    desk.reporter.retried("refused")
    assert desk.metrics.retries == {"refused": 2}


class TestLearning:
    def test_a_stream_teaches_all_there_is(self, desk: Desk) -> None:
        journey = desk.routed(stream())
        identity = journey.identity
        desk.index.sent(desk.worker.id, identity)
        request = journey.request
        desk.concluded(journey)
        assert desk.rates.scales.keys() == {desk.worker.id}
        assert desk.identities.identify(request).tokens == pytest.approx(50)
        assert desk.metrics.cached_tokens["actual", "all"] == 16
        assert desk.index.cached_tokens(desk.worker.id, identity, len(identity.keys)) == 49

    @pytest.mark.parametrize("status", [400, 404, 500])
    def test_an_error_teaches_nothing(self, desk: Desk, status: int) -> None:
        desk.concluded(desk.routed(plain(status)))
        assert desk.metrics.cached_tokens == {}
        assert desk.rates.scales == {}

    def test_a_stream_that_broke_off_teaches_its_first_token(self, desk: Desk) -> None:
        desk.concluded(ended(desk, stream(whole=False), LOST, left=False))
        assert desk.rates.scales.keys() == {desk.worker.id}
        assert desk.metrics.cached_tokens == {}

    def test_first_tokens_of_what_does_not_generate_teach_no_rate(self, desk: Desk) -> None:
        desk.concluded(desk.routed(stream(), path="/v1/audio/transcriptions"))
        assert desk.rates.scales == {}

    def test_a_stored_response_is_remembered(self, desk: Desk) -> None:
        body = b'{"id":"resp_1","usage":{"input_tokens":5,"output_tokens":1}}'
        desk.concluded(desk.routed(plain(body=body), path="/v1/responses"))
        assert desk.homes.find("resp_1") == desk.worker.id

    def test_ids_of_other_endpoints_are_not(self, desk: Desk) -> None:
        desk.concluded(desk.routed(plain(body=b'{"id":"resp_1"}')))
        assert desk.homes.find("resp_1") is None

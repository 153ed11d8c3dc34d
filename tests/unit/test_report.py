"""What becomes of a request afterwards: its log line, its counts, and what is learned."""

import io
import json
from collections.abc import Callable
from typing import Any

import pytest

from router import errors
from router.access.tenant import Tenant
from router.access.terms import Terms
from router.errors import RouterError
from router.fleet.lease import Lease
from router.fleet.load import PendingPrefill
from router.ids import Headers
from router.index.memory import MemoryIndex
from router.index.predicted import PredictedIndex
from router.journey import Journey
from router.prompt.identity import TextIdentity
from router.prompt.request import Request
from router.proxy.relay import Relay
from router.report import Reporter
from router.routing.affinity import ResponseHomes
from router.routing.chooser import Chooser
from router.routing.cost import CostModel, Rates
from router.routing.learn import Learner
from router.routing.policy import Choice, Question
from router.telemetry.logs import RequestLog
from router.telemetry.metrics import Metrics
from tests.unit.support import FakeDownstream, chat, fleet_of, incoming, knowledge_of, text_only

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


def head_only(relay: Relay) -> None:
    """A stream that begins with nothing that is passed on."""
    relay.on_response(200, STREAM, None)


class Desk:
    """A reporter with all that it writes to."""

    def __init__(self) -> None:
        self.fleet = fleet_of("a")
        (self.worker,) = self.fleet
        self.metrics, self.homes, self.rates = Metrics(), ResponseHomes(), Rates()
        self.memory = MemoryIndex(capacity_tokens=1e9, max_blocks=10**9)
        self.index = knowledge_of(PredictedIndex(self.memory, default_kv_tokens=10**9))
        self.identities, self.sink = TextIdentity(), io.BytesIO()
        self.log = RequestLog(self.sink, json=True)
        self.cost = CostModel(self.rates)
        learner = Learner(self.index, self.identities, self.cost, self.metrics)
        exact = text_only(self.index)
        self.reporter = Reporter(self.fleet, learner, exact, self.homes, self.metrics, self.log)
        self.chooser = Chooser(self.index, self.cost, self.metrics.lookup)

    def journey(self, body: dict[str, Any] | None = None, path: str = "/v1/completions") -> Journey:
        asked = incoming(body or chat("word " * 100), path=path)
        journey = Journey(asked, b"r\xe9", FakeDownstream())
        journey.request = Request(asked)
        journey.model = journey.request.model
        return journey

    def routed(self, answer: Answer | None, **rest: Any) -> Journey:
        """A journey whose worker did `answer` (None: nothing yet)."""
        journey = self.journey(**rest)
        identity = self.identities.identify(journey.request)
        overlaps = self.chooser.look_up(identity)
        journey.question = Question(journey.request, identity, list(self.fleet), overlaps, 0.0)
        journey.decision = self.chooser.expect(
            "prefix", Choice(self.worker, "least_wait"), journey.question
        )
        journey.attempts = 1
        journey.lease = Lease(self.worker, PendingPrefill(0.1, 10, streams=True), 0.0)
        journey.sent_at = journey.arrived_at
        journey.relay = Relay(
            FakeDownstream(),
            [],
            self.reporter.gaps(journey),
            lambda at: self.reporter.first_token(journey),
            print,
        )
        journey.relay.expect(may_refuse=True)
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
        return {k: v for s in self.metrics.route._routes.values() for k, v in s.outcomes.items()}


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
        (head_only, LOST, False, 502, "upstream_error"),
        (head_only, None, True, 499, "cancelled"),
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
    told = f"The worker answered {status}." if status >= 400 and not left else None
    assert line["error"] == (error.message if error else told)


@pytest.mark.parametrize(
    ("given", "known"),
    [
        (b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00", "4bf92f3577b34da6a3ce929d0e0e4736"),
        (b"nonsense", None),
    ],
)  # fmt: skip
def test_the_line_has_the_client_s_trace(desk: Desk, given: bytes, known: str | None) -> None:
    journey = desk.routed(plain())
    journey.incoming.by_name[b"traceparent"] = given
    assert desk.concluded(journey)["trace_id"] == known


def test_the_line_of_a_stream(desk: Desk) -> None:
    line = desk.concluded(desk.routed(stream()))
    assert line.pop("ts")
    assert line.pop("ttft_ms") <= line.pop("duration_ms")
    assert line == {
        "event": "request",
        "request_id": "ré",
        "tenant": None,
        "model": "m",
        "endpoint": "completions",
        "worker": "a:8000",
        "policy": "prefix",
        "reason": "least_wait",
        "status": 200,
        "outcome": "ok",
        "error": None,
        "prompt_tokens": 50,
        "completion_tokens": 3,
        "predicted_cached_tokens": 0,
        "cached_tokens": 16,
        "queue_ms": 0.0,
        "attempts": 1,
        "resumed": 0,
        "trace_id": None,
    }


def test_the_line_of_a_request_that_went_nowhere(desk: Desk) -> None:
    journey = desk.journey({"model": "x"})
    journey.error = errors.model_not_found("x", ["m"])
    line = desk.concluded(journey)
    assert line["model"] == "x"
    assert (line["worker"], line["policy"], line["reason"], line["attempts"]) == (None, "", "", 0)
    assert line["predicted_cached_tokens"] is None
    assert set(desk.metrics.route._routes) == {("unknown", "completions")}


def test_what_clients_make_long_is_cut(desk: Desk) -> None:
    """Lines are kept by the console, and written out."""
    journey = desk.journey({"model": "x" * 9999})
    journey.request_id = b"i" * 9999
    journey.error = errors.model_not_found("x" * 9999, ["m"])
    line = desk.concluded(journey)
    assert (len(line["model"]), len(line["request_id"])) == (256, 256)
    assert len(line["error"]) < 400


def test_a_request_that_cannot_be_told_of_is_lost_alone(
    desk: Desk, caplog: pytest.LogCaptureFixture
) -> None:
    journeys = [desk.routed(plain()) for _ in range(3)]
    for journey in journeys:
        journey.end()
        desk.reporter.conclude(journey)
    journeys[1].incoming.endpoint = None  # type: ignore[assignment]
    desk.reporter.settle()
    desk.log.flush()
    assert len(desk.sink.getvalue().splitlines()) == 2
    assert [record.getMessage() for record in caplog.records] == [
        "request 'r\xe9' cannot be told of"
    ]


def test_a_stream_is_counted(desk: Desk) -> None:
    desk.concluded(desk.routed(stream()))
    series = desk.metrics.route("m", "completions")
    assert (series.prompt_tokens, series.completion_tokens) == (50, 3)
    for histogram in (series.duration, series.ttft, series.tpot):
        assert sum(histogram.counts) == 1


@pytest.mark.parametrize(
    ("asked", "seen"), [({"n": 1}, 1), ({"n": 4}, 0), ({"prompt": ["a", "b"]}, 0)]
)
def test_pauses_between_answers_that_take_turns_are_none_between_tokens(
    desk: Desk, asked: dict[str, Any], seen: int
) -> None:
    """Four at once would look four times as fast."""
    desk.concluded(
        desk.routed(stream(), body={"model": "m", "prompt": "q", "stream": True} | asked)
    )
    series = desk.metrics.route("m", "completions")
    assert (series.completion_tokens, sum(series.ttft.counts)) == (3, 1)
    assert (sum(series.itl.counts), sum(series.tpot.counts)) == (3 * seen, seen)


def test_an_answer_that_does_not_stream_has_no_token_times(desk: Desk) -> None:
    line = desk.concluded(desk.routed(plain()))
    assert line["ttft_ms"] is None
    series = desk.metrics.route("m", "completions")
    assert sum(series.duration.counts) == 1
    assert sum(series.ttft.counts) == sum(series.tpot.counts) == 0


class TestPerWorker:
    def test_what_a_worker_was_asked(self, desk: Desk) -> None:
        desk.concluded(desk.routed(stream()))
        desk.concluded(desk.routed(plain(500)))
        counts = desk.metrics.workers.counts("a:8000")
        assert counts.outcomes == {"ok": 1, "upstream_error": 1}
        assert (counts.prompt_tokens, counts.cached_tokens) == (50, 16)

    def test_prompts_that_are_not_generated_from_share_no_cache(self, desk: Desk) -> None:
        desk.concluded(desk.routed(plain(), path="/v1/embeddings"))
        counts = desk.metrics.workers.counts("a:8000")
        assert counts.outcomes == {"ok": 1}
        assert counts.prompt_tokens == 0

    def test_a_request_that_went_nowhere(self, desk: Desk) -> None:
        journey = desk.journey({"model": "x"})
        journey.error = errors.model_not_found("x", ["m"])
        desk.concluded(journey)
        assert not desk.metrics.workers._counts


def test_tokens_of_a_stream_that_breaks_off(desk: Desk) -> None:
    """Nobody says how many they were: those that came count."""
    journey = desk.routed(stream(whole=False))
    journey.cancelled = True
    desk.concluded(journey)
    assert desk.metrics.route("m", "completions").completion_tokens == 3


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


class TestWaiting:
    def test_who_waited_is_observed_and_logged(self, desk: Desk) -> None:
        journey = desk.routed(plain())
        journey.queued_s = 0.25
        assert desk.concluded(journey)["queue_ms"] == 250.0
        assert desk.metrics.route("m", "completions").queue_wait.total == 0.25

    def test_who_did_not_is_not(self, desk: Desk) -> None:
        assert desk.concluded(desk.routed(plain()))["queue_ms"] == 0.0
        assert sum(desk.metrics.route("m", "completions").queue_wait.counts) == 0

    @pytest.mark.parametrize(
        ("error", "rejected"),
        [
            (errors.queue_full(5, 1), {"queue_full": 1}),
            (errors.waited_too_long(5, 1), {"queue_timeout": 1}),
            (errors.SHUTTING_DOWN, {"router_shutting_down": 1}),
            (errors.no_worker("none"), {"no_worker_available": 1}),
            (errors.INTERNAL_ERROR, {}),
            (errors.model_not_found("x", []), {}),
            (LOST, {}),
        ],
    )
    def test_who_is_turned_away_is_counted(
        self, desk: Desk, error: RouterError, rejected: dict[str, int]
    ) -> None:
        journey = desk.journey()
        journey.error = error
        desk.concluded(journey)
        assert desk.metrics.rejected == rejected


class TestLearning:
    def test_a_first_token_teaches_at_once(self, desk: Desk) -> None:
        """An answer may take minutes to end; the next request is priced by then."""
        desk.routed(stream(whole=False))
        assert desk.rates.scales.keys() == {desk.worker.id}

    def test_an_answer_of_which_nothing_can_be_seen_teaches_no_rate(self, desk: Desk) -> None:
        def compressed(relay: Relay) -> None:
            relay.on_response(200, [*STREAM, (b"content-encoding", b"gzip")], None)
            relay.on_body(b"\x1f\x8b")
            relay.on_complete([])

        desk.concluded(desk.routed(compressed))
        assert desk.rates.scales == {}

    def test_a_stream_of_an_error_teaches_no_rate(self, desk: Desk) -> None:
        def failing(relay: Relay) -> None:
            relay.on_response(500, STREAM, None)
            relay.on_body(b"data: {}\n\n")
            relay.on_read()
            relay.on_complete([])

        desk.concluded(desk.routed(failing))
        assert desk.rates.scales == {}

    @pytest.mark.parametrize(
        ("answer", "error", "tokens"),
        [
            (plain(), None, 3),
            (plain(body=b'{"usage":{"prompt_tokens":5,"completion_tokens":900}}'), None, 900),
            (stream(), None, 3),
            (stream(whole=False), None, 3),
            (stream(whole=False), LOST, None),
            (plain(body=b"{}"), None, None),
            (plain(500), None, None),
        ],
    )
    def test_whole_answers_teach_how_long_answers_are(
        self, desk: Desk, answer: Answer, error: RouterError | None, tokens: int | None
    ) -> None:
        """As they say themselves, else as many as there were events."""
        before = desk.cost.mean_answer
        desk.concluded(ended(desk, answer, error, left=False))
        learned = before if tokens is None else before + 0.01 * (tokens - before)
        assert desk.cost.mean_answer == pytest.approx(learned)

    def test_a_stream_teaches_all_there_is(self, desk: Desk) -> None:
        journey = desk.routed(stream())
        identity = journey.question.identity
        desk.index.sent(desk.worker.id, identity)
        request = journey.request
        desk.concluded(journey)
        assert desk.rates.scales.keys() == {desk.worker.id}
        assert desk.identities.identify(request).tokens == pytest.approx(50)
        assert desk.metrics.cached_tokens["actual", "gpu"] == 16
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

    @pytest.mark.parametrize("path", ["/v1/completions", "/v1/embeddings"])
    def test_an_answer_as_a_whole_that_is_quick_teaches_a_rate(self, desk: Desk, path: str) -> None:
        desk.concluded(desk.routed(plain(), path=path))
        desk.rates.relax(0.0)
        assert desk.rates.scale(desk.worker.id) < 1.0

    @pytest.mark.parametrize(
        ("answer", "path"),
        [
            (plain(body=b"{}"), "/v1/completions"),
            (plain(400), "/v1/completions"),
            (plain(), "/tokenize"),
        ],
    )
    def test_others_do_not(self, desk: Desk, answer: Answer, path: str) -> None:
        desk.concluded(desk.routed(answer, path=path))
        assert desk.rates.scales == {}

    def test_a_stored_response_is_remembered(self, desk: Desk) -> None:
        body = b'{"id":"resp_1","usage":{"input_tokens":5,"output_tokens":1}}'
        desk.concluded(desk.routed(plain(body=body), path="/v1/responses"))
        assert desk.homes.find("resp_1") == desk.worker.id

    def test_ids_of_other_endpoints_are_not(self, desk: Desk) -> None:
        desk.concluded(desk.routed(plain(body=b'{"id":"resp_1"}')))
        assert desk.homes.find("resp_1") is None


class TestQuotas:
    """What a tenant's request counts in the end; it was charged with 400 tokens."""

    @staticmethod
    def settled(desk: Desk, journey: Journey) -> tuple[int, int]:
        """Tokens of prompt and answer."""
        tenant = Tenant("acme", Terms(tokens_per_minute=10_000, max_inflight=1), 0.0)
        journey.incoming.tenant = tenant
        ticket = journey.ticket = tenant.admit("m", journey.arrived_at, runs=True)
        ticket.charge(400.0, journey.arrived_at)
        line = desk.concluded(journey)
        assert line["tenant"] == "acme"
        assert tenant.inflight == 0
        assert tenant.outcomes == {line["outcome"]: 1}
        assert tenant.spent_tokens == tenant.prompt_tokens + tenant.completion_tokens
        return tenant.prompt_tokens, tenant.completion_tokens

    def test_what_the_worker_says(self, desk: Desk) -> None:
        assert self.settled(desk, desk.routed(plain())) == (50, 3)

    def test_of_a_stream_too(self, desk: Desk) -> None:
        assert self.settled(desk, desk.routed(stream())) == (50, 3)

    def test_without_its_word_what_was_charged(self, desk: Desk) -> None:
        assert self.settled(desk, desk.routed(plain(body=b"{}"))) == (400, 0)

    def test_what_a_client_that_left_had_got(self, desk: Desk) -> None:
        journey = desk.routed(stream(whole=False))
        journey.cancelled = True
        assert self.settled(desk, journey) == (400, 3)

    def test_what_the_worker_was_given_to_do_counts_for_who_does_not_wait(self, desk: Desk) -> None:
        journey = desk.routed(None)
        journey.cancelled = True
        assert self.settled(desk, journey) == (400, 0)

    def test_who_leaves_before_that_owes_nothing(self, desk: Desk) -> None:
        journey = desk.journey()
        journey.cancelled = True
        assert self.settled(desk, journey) == (0, 0)

    @pytest.mark.parametrize("status", [400, 429, 500])
    def test_an_error_costs_nothing(self, desk: Desk, status: int) -> None:
        assert self.settled(desk, desk.routed(plain(status, b"{}"))) == (0, 0)

    def test_a_worker_that_was_lost_costs_what_it_gave(self, desk: Desk) -> None:
        journey = desk.routed(None)
        journey.error = LOST
        assert self.settled(desk, journey) == (0, 0)
        journey = desk.routed(stream(whole=False))
        journey.error = LOST
        assert self.settled(desk, journey) == (400, 3)

    def test_a_stored_answer_is_not_paid_for_again(self, desk: Desk) -> None:
        journey = desk.routed(plain(), path="/v1/responses/resp_1")
        assert self.settled(desk, journey) == (0, 0)

"""Why a request failed, in words that quote nobody."""

import pytest

from router import errors
from router.journey import Journey
from router.lines import line_of, outcome_of
from router.proxy.relay import Relay
from router.proxy.sse import NO_USAGE
from router.telemetry.metrics import TOKEN_BUCKETS_S, Histogram
from tests.unit.support import FakeDownstream, chat, incoming

FAILED = b'data: {"error":{"message":"the prompt was: secret","code":500}}\n\n'


def journey_of(status: int, kind: bytes, body: bytes) -> Journey:
    client = FakeDownstream()
    journey = Journey(incoming(chat("q")), b"r1", client)
    relay = Relay(client, [], Histogram(TOKEN_BUCKETS_S), lambda _: None, lambda _: None)
    relay.expect(may_refuse=False)
    relay.on_response(status, [(b"content-type", kind)], None)
    relay.on_body(body)
    relay.on_complete([])
    journey.relay = relay
    return journey


def told(journey: Journey) -> tuple[str, str | None]:
    line = line_of(journey, NO_USAGE, outcome_of(journey), "2026-01-01T00:00:00.000+00:00")
    return line.outcome, line.error


@pytest.mark.parametrize(
    ("status", "outcome"), [(400, "client_error"), (404, "client_error"), (500, "upstream_error")]
)
def test_an_answer_that_was_passed_on(status: int, outcome: str) -> None:
    journey = journey_of(status, b"application/json", b'{"error":{"message":"secret"}}')
    assert told(journey) == (outcome, f"The worker answered {status}.")


def test_a_stream_that_says_so_itself() -> None:
    journey = journey_of(200, b"text/event-stream", FAILED)
    assert told(journey) == ("upstream_error", "The worker's stream says that it failed.")


def test_an_error_of_ours_is_the_reason() -> None:
    journey = journey_of(200, b"text/event-stream", b"data: {}\n\n")
    journey.error = errors.worker_lost("w", "early")
    assert told(journey) == ("upstream_error", journey.error.message)


def test_nothing_went_wrong() -> None:
    assert told(journey_of(200, b"application/json", b"{}")) == ("ok", None)


def test_who_left_needs_no_reason() -> None:
    journey = journey_of(500, b"application/json", b"{}")
    journey.cancelled = True
    assert told(journey) == ("cancelled", None)

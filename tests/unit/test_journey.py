"""What a request holds on its way, and that it holds nothing in the end."""

import asyncio

import pytest

from router.errors import SHUTTING_DOWN, RouterError
from router.fleet.lease import Lease
from router.fleet.load import PendingPrefill
from router.journey import Journey
from router.routing.policy import Decision
from router.telemetry.tracing import Attempt, Trace
from tests.unit.support import FakeConnection, FakeDownstream, incoming, workers_of


def journey() -> Journey:
    return Journey(incoming(b"body"), b"r1", FakeDownstream())


def test_at_first_it_holds_nothing() -> None:
    fresh = journey()
    assert not fresh.over
    assert not fresh.routed
    fresh.release()
    fresh.end()
    assert fresh.over


def test_an_attempt_is_given_back() -> None:
    on_its_way, connection = journey(), FakeConnection()
    (worker,) = workers_of("a")
    on_its_way.attempts = 1
    on_its_way.lease = Lease(worker, PendingPrefill(1.0, 10, streams=True), 0.0)
    on_its_way.connection = connection  # type: ignore[assignment]
    on_its_way.release()
    on_its_way.release()
    assert on_its_way.routed
    assert connection.aborted
    assert on_its_way.connection is None
    assert worker.load.inflight == 0
    assert not on_its_way.over


def test_an_attempt_in_a_trace_ends_when_it_is_given_back() -> None:
    on_its_way = journey()
    (worker,) = workers_of("a")
    trace = on_its_way.trace = Trace(1, 1)
    for number in (1, 2):
        on_its_way.attempts = number
        on_its_way.lease = Lease(worker, PendingPrefill(1.0, 10, streams=True), 0.0)
        trace.begin(Attempt("a", "a", 8000, 0.0))
        on_its_way.release()
        assert trace.attempts[-1].ended_at > 0.0
    on_its_way.end()
    assert trace.attempts[0].ended_at < trace.attempts[1].ended_at <= on_its_way.ended_at


async def test_a_step_that_takes_time_is_given_up() -> None:
    on_its_way = journey()
    step = asyncio.ensure_future(asyncio.Event().wait())
    on_its_way.task = step  # type: ignore[assignment]
    on_its_way.end()
    await asyncio.wait([step])
    assert step.cancelled()


def test_the_end_parts_the_client_from_what_fed_it() -> None:
    on_its_way = journey()
    on_its_way.client.feed_from(FakeConnection())
    on_its_way.end()
    assert isinstance(on_its_way.client, FakeDownstream)
    assert on_its_way.client.source is None


class Answering:
    """As much of a relay as says what the client has."""

    def __init__(self, begun: bool, head: bytes) -> None:
        self.begun = begun
        self.head = head


@pytest.mark.parametrize(
    ("begun", "head", "pinged", "given"),
    [
        (False, b"", False, False),
        (True, b"", False, True),  # an answer's head
        (True, b"data", False, True),
        (True, b"", True, False),  # the head of a stream, and comments
        (True, b"data", True, True),
        (False, b"", True, False),
    ],
)
def test_what_the_client_was_given(begun: bool, head: bytes, pinged: bool, given: bool) -> None:
    on_its_way = journey()
    assert not on_its_way.given
    on_its_way.relay = Answering(begun, head)  # type: ignore[assignment]
    on_its_way.pinged = pinged
    assert on_its_way.given is given


class Watch:
    """A queue and a pilot that note what they are told."""

    def __init__(self) -> None:
        self.withdrawn: list[Journey] = []
        self.proceeded: list[Decision] = []
        self.given_up: list[RouterError] = []

    def withdraw(self, waiter: Journey) -> None:
        self.withdrawn.append(waiter)

    def proceed(self, journey: Journey, decision: Decision) -> None:
        assert journey.queue is None
        self.proceeded.append(decision)

    def give_up(self, journey: Journey, error: RouterError) -> None:
        assert journey.queue is None
        self.given_up.append(error)


DECISION = Decision(workers_of("a")[0], "p", "why", 0, 0.0, 10.0, 1.0, 0.1, 0.0, 0.1)


class TestWaiting:
    def test_its_turn_comes(self) -> None:
        waiting, watch = journey(), Watch()
        waiting.wait(watch, watch)
        assert waiting.queued_s == 0.0
        waiting.go(DECISION)
        assert watch.proceeded == [DECISION]
        first = waiting.queued_s
        assert first > 0.0
        waiting.release()
        assert watch.withdrawn == []
        waiting.wait(watch, watch)
        waiting.go(DECISION)
        assert waiting.queued_s > first, "the time of every wait counts"
        assert len(waiting.waits) == 2
        waited = sum(until - since for since, until in waiting.waits)
        assert waiting.queued_s == pytest.approx(waited)

    def test_it_is_turned_away(self) -> None:
        waiting, watch = journey(), Watch()
        waiting.wait(watch, watch)
        waiting.turn_away(SHUTTING_DOWN)
        assert watch.given_up == [SHUTTING_DOWN]
        assert waiting.queued_s > 0.0

    def test_its_end_gives_up_its_place(self) -> None:
        waiting, watch = journey(), Watch()
        waiting.wait(watch, watch)
        waiting.end()
        waiting.end()
        assert watch.withdrawn == [waiting]
        assert waiting.queued_s > 0.0
        assert waiting.queue is None

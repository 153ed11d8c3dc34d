"""From step to step: whatever goes wrong is told once, and nothing is left."""

import asyncio
import io
import json
from typing import Any

import pytest

from router.errors import INTERNAL_ERROR, SHUTTING_DOWN, RouterError, bad_response, no_worker
from router.index.memory import MemoryIndex
from router.index.predicted import PredictedIndex
from router.journey import Journey
from router.passage import Passage
from router.prompt.identity import TextIdentity
from router.proxy.relay import Relay
from router.report import Reporter
from router.routing.affinity import ResponseHomes
from router.routing.cost import CostModel, Rates
from router.routing.learn import Learner
from router.telemetry.logs import RequestLog
from router.telemetry.metrics import Histogram, Metrics
from tests.unit.stage import quiet
from tests.unit.support import FakeDownstream, chat, fleet_of, incoming, knowledge_of, text_only

NOBODY = no_worker("none")


class Trip:
    """A passage and a journey that has just set out."""

    def __init__(self) -> None:
        memory = MemoryIndex(capacity_tokens=1e9, max_blocks=10**9)
        index, metrics = knowledge_of(PredictedIndex(memory, default_kv_tokens=10**9)), Metrics()
        learner = Learner(index, TextIdentity(), CostModel(Rates()), metrics)
        self.written = io.BytesIO()
        log = self.log = RequestLog(self.written, json=True)
        reporter = Reporter(fleet_of("a"), learner, text_only(index), ResponseHomes(), metrics, log)
        self.metrics = metrics
        self.passage = Passage(reporter)
        self.client = FakeDownstream()
        self.journey = Journey(incoming(chat("hi")), b"r1", self.client)

    def line(self) -> dict[str, Any]:
        """The only line of the log."""
        self.passage.reporter.settle()
        self.log.flush()
        found: dict[str, Any] = json.loads(self.written.getvalue())
        return found

    def outcomes(self) -> dict[str, int]:
        self.passage.reporter.settle()
        return {k: v for s in self.metrics.route._routes.values() for k, v in s.outcomes.items()}


@pytest.fixture
async def trip() -> Trip:
    return Trip()


async def forever() -> None:
    await asyncio.Event().wait()


def fails(error: Exception) -> None:
    raise error


class TakesBack(FakeDownstream):
    """Has sent nothing of what it was given."""

    def take_back(self) -> bool:
        self.started = False
        return True


@pytest.mark.parametrize(("unsent", "status"), [(True, 502), (False, 202)])
async def test_an_answer_that_was_not_sent_yet_is_replaced_by_the_error(
    trip: Trip, unsent: bool, status: int
) -> None:
    client = trip.journey.client = TakesBack() if unsent else trip.client
    relay = trip.journey.relay = Relay(
        client, [], Histogram((1.0,)), lambda at: None, lambda error: None
    )
    relay.expect(may_refuse=False)
    relay.on_response(202, [], 5)
    trip.passage.give_up(trip.journey, bad_response("a", "odd"))
    assert client.started is not unsent
    assert trip.line()["status"] == status


async def test_a_step_that_works_changes_nothing(trip: Trip) -> None:
    taken: list[Journey] = []
    trip.passage.step(trip.journey, taken.append)
    assert taken == [trip.journey]
    assert (trip.journey.over, trip.client.events) == (False, [])


async def test_a_step_that_cannot_be_taken_ends_the_journey(trip: Trip) -> None:
    trip.passage.step(trip.journey, lambda journey: fails(NOBODY))
    assert trip.client.events == [("fail", "no_worker_available", False)]
    assert trip.journey.over
    assert trip.outcomes() == {"router_error": 1}


async def test_a_defect_is_told_and_logged(trip: Trip, caplog: pytest.LogCaptureFixture) -> None:
    trip.passage.step(trip.journey, lambda journey: fails(ZeroDivisionError("ours")))
    assert trip.client.events == [("fail", INTERNAL_ERROR.code, False)]
    assert "ZeroDivisionError: ours" in caplog.text


async def test_a_defect_after_the_end_is_logged_only(
    trip: Trip, caplog: pytest.LogCaptureFixture
) -> None:
    def step(journey: Journey) -> None:
        trip.passage.conclude(journey)
        raise ZeroDivisionError

    trip.passage.step(trip.journey, step)
    assert trip.client.events == []
    assert "ZeroDivisionError" in caplog.text
    assert sum(trip.outcomes().values()) == 1


@pytest.mark.parametrize(
    ("error", "code"), [(NOBODY, NOBODY.code), (ZeroDivisionError(), INTERNAL_ERROR.code)]
)
async def test_a_step_that_takes_time_fails_as_any_other(
    trip: Trip, error: Exception, code: str
) -> None:
    async def step() -> None:
        await asyncio.sleep(0)
        raise error

    trip.passage.begin_task(trip.journey, step)
    await quiet()
    assert trip.client.events == [("fail", code, False)]
    assert trip.journey.task is None
    assert not trip.passage._tasks


async def test_it_may_be_given_up_meanwhile(trip: Trip) -> None:
    trip.passage.begin_task(trip.journey, forever)
    await quiet()
    trip.passage.give_up(trip.journey, NOBODY)
    await quiet()
    assert trip.client.events == [("fail", "no_worker_available", False)]
    assert not trip.passage._tasks


async def test_who_waits_is_told_that_the_router_stops(trip: Trip) -> None:
    other = Trip()
    other.passage = trip.passage
    trip.passage.begin_task(trip.journey, forever)
    trip.passage.begin_task(other.journey, forever)
    trip.passage.conclude(other.journey)
    trip.passage.close(SHUTTING_DOWN)
    await quiet()
    assert trip.client.events == [("fail", "router_shutting_down", False)]
    assert other.client.events == [], "it was over before"
    assert not trip.passage._tasks


@pytest.mark.parametrize(
    ("pinged", "started", "in_band"), [(False, False, False), (True, True, True)]
)
async def test_who_has_the_head_of_a_stream_is_told_in_it(
    trip: Trip, pinged: bool, started: bool, in_band: bool
) -> None:
    trip.journey.pinged, trip.client.started = pinged, started
    trip.passage.give_up(trip.journey, RouterError(502, "x", "y"))
    assert trip.client.events == [("fail", "x", in_band)]

"""Whether a stream can be gone on with, and what its journey is then."""

from collections.abc import AsyncIterator

import pytest

from router.attempt_options import AttemptOptions
from router.errors import RouterError, cannot_go_on, worker_lost
from router.journey import Journey
from router.resumption import Resumption
from tests.unit.proxy.streams import PROMPT, Answer
from tests.unit.stage import STREAM, Stage, nothing, quiet
from tests.unit.support import chat

LOST = worker_lost("w", "before its answer was complete")


class Begun:
    """A journey whose worker has sent so many events."""

    def __init__(self, events: int, *, answer: Answer | None = None, **fields: object) -> None:
        self.stage = Stage(options=AttemptOptions(resume=True))
        self.stage.pools["a"].idle = [nothing]
        usual = {"stream": True, "stream_options": {"include_usage": True}}
        self.journey, self.client = self.stage.begin(chat("hi", **{**usual, **fields}))
        self.answer = answer or Answer()
        relay = self.journey.relay
        assert relay is not None
        relay.on_response(200, STREAM, None)
        for event in self.answer.events(ids=True)[:events]:
            relay.on_body(event)
            relay.on_read()
        self.resumption = Resumption(self.stage.reporter, usually=True)

    def end(self) -> None:
        self.stage.gateway.cancel(self.journey)
        self.stage.check()


@pytest.fixture
async def begun() -> AsyncIterator[Begun]:
    begun = Begun(3)
    yield begun
    begun.end()
    await quiet()


def gone_on(begun: Begun, error: RouterError = LOST, *, others: bool = True) -> str:
    """Why it ends; empty if it goes on."""
    end = begun.resumption.go_on(begun.journey, error, others=others)
    assert end is None or end.message.startswith(error.message)
    return end.message.removeprefix(error.message).strip() if end is not None else ""


async def test_the_journey_takes_on_what_is_asked_next(begun: Begun) -> None:
    journey: Journey = begun.journey
    before = journey.body
    assert gone_on(begun) == ""
    assert (journey.resumed, journey.body != before) == (1, True)
    assert str([*PROMPT, *Answer().ids[:2]]).replace(" ", "").encode() in journey.body
    assert begun.stage.metrics.resumed == {"resumed": 1}


async def test_nobody_else(begun: Begun) -> None:
    assert gone_on(begun, others=False) == (
        "The answer could not be resumed: there is no other worker."
    )
    assert (begun.journey.resumed, begun.stage.metrics.resumed) == (0, {"impossible": 1})


async def test_a_worker_that_does_not_go_on_is_the_last(begun: Begun) -> None:
    why = gone_on(begun, cannot_go_on("answered 400 when asked to go on"))
    assert "another worker does not go on with it" in why


async def test_so_many_are_enough(begun: Begun) -> None:
    for _ in range(5):
        assert gone_on(begun) == ""
    assert "6 workers have broken it off" in gone_on(begun)


async def test_what_was_not_to_be_resumed_ends_with_its_error_alone() -> None:
    stage = Stage()
    stage.pools["a"].idle = [nothing]
    journey, _ = stage.begin(chat("hi", stream=True))
    resumption = Resumption(stage.reporter, usually=False)
    assert resumption.transcript(journey) is None
    assert resumption.go_on(journey, LOST, others=True) is LOST
    assert not resumption.complete(journey)
    assert stage.metrics.resumed == {}
    stage.gateway.cancel(journey)
    stage.check()


@pytest.mark.parametrize("stream", [False, None])
async def test_only_streams_are_written_down(stream: bool | None) -> None:
    stage = Stage(options=AttemptOptions(resume=True))
    stage.pools["a"].idle = [nothing]
    journey, _ = stage.begin(chat("hi", stream=stream))
    assert journey.relay is not None
    assert journey.relay.transcript is None
    assert journey.body == journey.incoming.body
    stage.gateway.cancel(journey)
    stage.check()


async def test_what_cannot_be_is_kept_for_the_error() -> None:
    begun = Begun(2, stop="x")
    assert begun.journey.unresumable == "it uses `stop`"
    assert gone_on(begun) == "The answer could not be resumed: it uses `stop`."
    begun.end()


@pytest.mark.parametrize(
    ("events", "limit", "completes"),
    [(3, 100, False), (3, 2, True), (6, 100, True), (7, 100, True), (8, 100, True), (0, 1, False)],
)
async def test_what_lacks_only_its_end_is_completed_here(
    events: int, limit: int, completes: bool
) -> None:
    begun = Begun(events, max_tokens=limit)
    assert begun.resumption.complete(begun.journey) is completes
    assert ("finish" in begun.client.names) is completes
    if completes:
        assert begun.client.body.endswith(b"data: [DONE]\n\n")
        assert begun.client.body.count(b"[DONE]") == 1
        assert begun.client.body.count(b'"usage"') == 1
        assert begun.stage.metrics.resumed == {"completed": 1}
    begun.end()

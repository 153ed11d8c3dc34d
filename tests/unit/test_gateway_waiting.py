"""Requests that wait in the gateway: for room, and however that ends."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from time import perf_counter
from typing import Any

import pytest

from router.errors import RouterError
from router.fleet.ranks import RANK
from router.fleet.worker import Worker
from router.ids import WorkerId
from router.journey import Journey
from router.routing.options import QueueOptions
from router.upstream.connection import ResponseHandler
from tests.unit.stage import ASKED, JSON, STREAM, USAGE, Stage, answered, nothing, quiet
from tests.unit.support import FakeDownstream, chat

ONE_AT_A_TIME = QueueOptions(room_tokens=1, limit=3, timeout_s=60)
STREAMING = {**ASKED, "stream": True}
TOKEN = b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n'


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    """Two workers, each of which has room for one prefill at a time."""
    stage = Stage("a", "b", queue=ONE_AT_A_TIME)
    for pool in stage.pools.values():
        pool.idle = [nothing] * 9
    yield stage
    stage.gateway.close()
    for journey in stage.began:
        stage.gateway.cancel(journey)
    await quiet()
    stage.check()


async def fill(stage: Stage) -> list[Journey]:
    """Both workers have a prefill to do: journeys on `a` and on `b`."""
    began = [stage.begin({**chat(f"{n} " * 500), "stream": True})[0] for n in "pq"]
    assert stage.sent() == "ab"
    return sorted(began, key=lambda journey: journey.decision.worker.id)


def rank_of(stage: Stage, rank: int) -> Worker:
    """This rank of the first worker."""
    return stage.fleet.ranks(stage.fleet.processes()[0])[rank]


def handler_of(journey: Journey) -> ResponseHandler:
    assert journey.relay is not None
    return journey.relay


def first_token(journey: Journey) -> None:
    handler = handler_of(journey)
    handler.on_response(200, STREAM, None)
    handler.on_body(TOKEN)
    handler.on_read()


def end(journey: Journey) -> None:
    answered()(handler_of(journey))


def fail(journey: Journey) -> None:
    handler_of(journey).on_lost(RouterError(502, "worker_connection_lost", "gone"))


def opaque(journey: Journey) -> None:
    """Compressed events, in which no token can be seen, begin."""
    handler = handler_of(journey)
    handler.on_response(200, [*STREAM, (b"content-encoding", b"gzip")], None)
    handler.on_body(b"\x1f\x8b")


class TestRoom:
    async def test_with_room_nobody_waits(self, stage: Stage) -> None:
        for journey in await fill(stage):
            assert (journey.queued_s, journey.queue) == (0.0, None)
        assert stage.admission._tickets == {}  # type: ignore[attr-defined]

    async def test_without_it_a_request_waits(self, stage: Stage) -> None:
        await fill(stage)
        journey, client = stage.begin(STREAMING)
        await quiet()
        assert len(stage.dispatch) == 1
        assert (journey.attempts, client.events, stage.sent()) == (0, [], "ab")

    @pytest.mark.parametrize("news", [first_token, end, fail, opaque])
    async def test_it_goes_when_a_prefill_is_over(
        self, stage: Stage, news: Callable[[Journey], None]
    ) -> None:
        _, on_b = await fill(stage)
        waiting, _ = stage.begin(STREAMING)
        await quiet()
        news(on_b)
        await quiet()
        assert stage.sent() == "abb"
        assert waiting.decision.worker.id == "b:8000"
        assert waiting.queued_s > 0.0
        assert waiting.sent_at > waiting.arrived_at

    async def test_it_goes_to_the_rank_that_it_says_itself(self) -> None:
        stage = Stage("a", queue=ONE_AT_A_TIME)
        (first,) = stage.fleet
        stage.fleet.set_report(first, replace(first.report, ranks=2))
        stage.pools["a"].idle = [nothing] * 9
        headers = [(RANK, b"1")]
        on_it, _ = stage.begin({**chat("p " * 500), "stream": True}, headers=headers)
        stage.begin({**chat("q " * 500), "stream": True})
        waiting, _ = stage.begin(STREAMING, headers=headers)
        await quiet()
        assert (waiting.attempts, waiting.question.candidates) == (0, [rank_of(stage, 1)])
        stage.gateway.cancel(stage.began[1])  # there is room on the other
        await quiet()
        assert waiting.decision.worker is on_it.decision.worker is rank_of(stage, 1)
        assert [worker.load.inflight for worker in stage.fleet] == [0, 2]
        stage.gateway.close()
        for journey in stage.began:
            stage.gateway.cancel(journey)
        await quiet()
        stage.check()

    async def test_it_can_be_told_how_long_it_waited(self, stage: Stage) -> None:
        on_a, _ = await fill(stage)
        asking = [(b"x-router-explain", b"1")]
        journey, client = stage.begin(STREAMING, headers=asking)
        first_token(on_a)
        await quiet()
        end(journey)
        fields = dict(client.events[0][2])
        assert fields[b"x-router-queue-ms"] == b"%.1f" % (journey.queued_s * 1e3)
        assert fields[b"x-router-policy"] == b"prefix"

    async def test_it_goes_when_the_client_before_it_leaves(self, stage: Stage) -> None:
        on_a, _ = await fill(stage)
        stage.begin(STREAMING)
        stage.gateway.cancel(on_a)
        await quiet()
        assert stage.sent() == "aab"

    async def test_it_goes_when_a_worker_comes_up(self, stage: Stage) -> None:
        a, b = stage.fleet
        stage.fleet.mark_down(a, "away")
        for word in ("one ", "other "):
            stage.begin({**chat(word * 100), "stream": True})
        await quiet()
        assert stage.sent() == "b"
        stage.fleet.mark_up(a)
        await quiet()
        assert stage.sent() == "ab"
        assert b.load.inflight == 1

    async def test_it_goes_when_time_alone_makes_room(self, stage: Stage) -> None:
        """An answer that does not stream shows no first token; nobody says that its prefill is over."""
        for word in ("one ", "two ", "three "):
            stage.begin(chat(word * 4000))
        assert len(stage.dispatch) == 1
        async with asyncio.timeout(2):
            while len(stage.dispatch):  # noqa: ASYNC110
                await asyncio.sleep(0.005)
        assert len(stage.sent()) == 3

    async def test_the_client_before_gets_its_token_first(self, stage: Stage) -> None:
        """Whoever waited is sent in a turn of its own, after what made room for it."""
        on_a, _ = await fill(stage)
        stage.begin(STREAMING)
        await quiet()
        first_token(on_a)
        assert stage.clients[0].names or stage.clients[1].names
        assert stage.sent() == "ab"
        await quiet()
        assert len(stage.sent()) == 3

    async def test_it_may_end_before_it_is_known_to_be_sent(self, stage: Stage) -> None:
        """A worker that answers within `send`, for each of those that wait."""
        on_a, _ = await fill(stage)
        for pool in stage.pools.values():
            pool.idle = [answered()] * 9
        clients = [stage.begin(STREAMING)[1] for _ in range(3)]
        end(on_a)
        await quiet()
        assert [client.names[-1] for client in clients] == ["finish"] * 3


class TestAside:
    @pytest.mark.parametrize("path", ["/tokenize", "/v1/messages/count_tokens", "/version"])
    async def test_what_gives_the_model_no_work_does_not_wait(
        self, stage: Stage, path: str
    ) -> None:
        journeys = await fill(stage)
        before = [worker.load.pending_tokens(0.0) for worker in stage.fleet]
        journey, _ = stage.begin(STREAMING, path=path)
        assert len(stage.sent()) == 3
        assert journey.decision.reason == "first"
        assert [worker.load.pending_tokens(0.0) for worker in stage.fleet] == before
        assert journeys

    @pytest.mark.parametrize("path", ["/v1/embeddings", "/rerank", "/v1/messages"])
    async def test_all_that_does_waits(self, stage: Stage, path: str) -> None:
        await fill(stage)
        stage.begin(STREAMING, path=path)
        assert len(stage.dispatch) == 1

    async def test_pinned_requests_do_not_wait(self, stage: Stage) -> None:
        await fill(stage)
        journey, _ = stage.begin(STREAMING, headers=[(b"x-router-worker", b"b:8000")])
        assert stage.sent() == "abb"
        assert (journey.decision.policy, journey.decision.reason) == ("prefix", "pinned")
        assert journey.decision.waiting_s > 0.0

    async def test_nor_do_those_that_only_one_worker_can_serve(self, stage: Stage) -> None:
        await fill(stage)
        stage.homes.remember("resp_1", WorkerId("a:8000"))
        body = {"model": "m", "input": "q", "previous_response_id": "resp_1"}
        journey, _ = stage.begin(body, path="/v1/responses")
        assert stage.sent() == "aab"
        assert journey.decision.reason == "home"


class TestOrder:
    async def test_tenant_and_priority_are_read_of_those_that_wait(self, stage: Stage) -> None:
        await fill(stage)
        headers = [(b"x-tenant-id", b"blue")]
        journey, _ = stage.begin({**STREAMING, "priority": -3}, headers=headers)
        assert (journey.question.tenant, journey.question.priority) == ("blue", -3)

    async def test_the_urgent_goes_first(self, stage: Stage) -> None:
        on_a, _ = await fill(stage)
        later, _ = stage.begin(STREAMING)
        sooner, _ = stage.begin({**STREAMING, "priority": -1})
        first_token(on_a)
        await quiet()
        assert (later.attempts, sooner.attempts) == (0, 1)

    async def test_the_shortest_goes_first(self, stage: Stage) -> None:
        on_a, _ = await fill(stage)
        long, _ = stage.begin({**chat("long " * 5000), "stream": True})
        short, _ = stage.begin({**chat("short"), "stream": True})
        first_token(on_a)
        await quiet()
        assert (long.attempts, short.attempts) == (0, 1)


class TestTurnedAway:
    async def test_too_many_wait(self, stage: Stage) -> None:
        await fill(stage)
        for _ in range(3):
            stage.begin(STREAMING)
        journey, client = stage.begin(STREAMING)
        assert client.events == [("fail", "queue_full", False)]
        assert client.error is not None
        assert client.error.status == 503
        assert client.error.retry_after_s is not None
        assert journey.over
        assert len(stage.dispatch) == 3
        line = stage.line()
        assert (line["status"], line["outcome"], line["attempts"]) == (503, "router_error", 0)
        assert line["queue_ms"] == 0.0
        assert stage.metrics.rejected == {"queue_full": 1}

    async def test_it_waited_too_long(self, stage: Stage) -> None:
        await fill(stage)
        _, client = stage.begin(STREAMING)
        stage.dispatch.keep(perf_counter() + 59)
        assert client.events == []
        stage.dispatch.keep(perf_counter() + 61)
        assert client.events == [("fail", "queue_timeout", False)]
        line = stage.line()
        assert (line["status"], line["outcome"], line["worker"]) == (503, "router_error", None)
        assert line["queue_ms"] > 0.0

    async def test_the_router_stops(self, stage: Stage) -> None:
        await fill(stage)
        clients = [stage.begin(STREAMING)[1] for _ in range(2)]
        stage.gateway.close()
        assert [client.events for client in clients] == [
            [("fail", "router_shutting_down", False)]
        ] * 2

    async def test_nobody_serves_its_model_any_more(self, stage: Stage) -> None:
        journeys = await fill(stage)
        _, client = stage.begin(STREAMING)
        stage.fleet.set_workers(["http://c:8000"])
        await quiet()
        assert client.events == [("fail", "no_worker_available", False)]
        for journey in journeys:
            end(journey)


class TestLeaving:
    async def test_while_waiting(self, stage: Stage) -> None:
        on_a, _ = await fill(stage)
        journey, client = stage.begin(STREAMING)
        stage.gateway.cancel(journey)
        assert len(stage.dispatch) == 0
        first_token(on_a)
        await quiet()
        assert (stage.sent(), client.events) == ("ab", [])
        line = stage.line()
        assert (line["status"], line["outcome"], line["worker"]) == (499, "cancelled", None)
        assert line["queue_ms"] > 0.0

    async def test_in_the_moment_its_turn_comes(self, stage: Stage) -> None:
        on_a, _ = await fill(stage)
        journey, client = stage.begin(STREAMING)
        first_token(on_a)
        stage.gateway.cancel(journey)
        await quiet()
        assert (stage.sent(), client.events) == ("ab", [])

    async def test_nothing_of_it_stays(self, stage: Stage) -> None:
        await fill(stage)
        for _ in range(50):
            stage.gateway.cancel(stage.begin(STREAMING)[0])
        stage.lines()
        admission: Any = stage.admission
        assert admission._tickets == {}
        assert sum(len(lane) for lane in admission._lanes.values()) == 0


class TestTryingAgain:
    """A worker refuses; the request goes through the queue again."""

    @staticmethod
    def refuse(journey: Journey) -> None:
        answered(429, b"{}", JSON)(handler_of(journey))

    async def test_it_waits_for_another_worker(self, stage: Stage) -> None:
        on_a, on_b = await fill(stage)
        self.refuse(on_a)
        await quiet()
        assert len(stage.dispatch) == 1, "a has room, but has been asked"
        assert stage.sent() == "ab"
        first_token(on_b)
        await quiet()
        assert stage.sent() == "abb"
        assert on_a.decision.worker.id == "b:8000"
        assert (on_a.attempts, on_a.question.tried[0].id) == (2, "a:8000")

    async def test_it_keeps_its_age(self, stage: Stage) -> None:
        on_a, _ = await fill(stage)
        arrived_at = on_a.arrived_at
        self.refuse(on_a)
        assert on_a.question.arrived_at == arrived_at
        assert on_a.question.now > arrived_at
        stage.dispatch.keep(arrived_at + 61)
        assert on_a.error is not None
        assert on_a.error.code == "queue_timeout"

    async def test_the_last_answer_is_the_worker_s(self, stage: Stage) -> None:
        on_a, on_b = await fill(stage)
        first_token(on_b)
        self.refuse(on_a)
        await quiet()
        assert on_a.decision.worker.id == "b:8000"
        self.refuse(on_a)
        client = next(c for c in stage.clients if c.error is None and ("start", 429) in _starts(c))
        assert client.names[-1] == "finish"

    async def test_who_is_left_may_be_one_that_was_asked(self, stage: Stage) -> None:
        """The other died meanwhile: better asked twice than never answered."""
        on_a, on_b = await fill(stage)
        self.refuse(on_a)
        await quiet()
        stage.fleet.mark_down(on_b.decision.worker, "gone")
        await quiet()
        assert stage.sent() == "aab"
        assert on_a.decision.worker.id == "a:8000"
        answered(200, USAGE)(handler_of(on_a))


def _starts(client: FakeDownstream) -> list[tuple[Any, ...]]:
    return [event[:2] for event in client.events if event[0] == "start"]

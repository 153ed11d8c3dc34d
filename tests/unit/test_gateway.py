"""A request's way through the gateway, with scripted connections: what is sent where, and who is told what."""

import asyncio
import itertools
import json
from collections.abc import AsyncIterator

import pytest

from router import errors
from router.ids import Headers
from router.routing.explain import told
from router.upstream.connection import ResponseHandler
from tests.unit.stage import (
    ASKED,
    JSON,
    LOST,
    REFUSED,
    STALE,
    STREAM,
    UNREACHABLE,
    USAGE,
    Script,
    Stage,
    answered,
    broken_off,
    nothing,
    quiet,
)
from tests.unit.support import FakeDownstream, incoming, request


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    await quiet()
    stage.check()


class TestSending:
    async def test_a_request_over_an_idle_connection_waits_for_nothing(self, stage: Stage) -> None:
        stage.pools["a"].idle = [answered()]
        _, client = stage.begin()
        assert client.names == ["start", "write", "flush", "finish"]
        assert client.body == USAGE

    async def test_what_the_worker_gets(self, stage: Stage) -> None:
        stage.pools["a"].idle = [answered()]
        stage.begin(headers=[(b"authorization", b"Bearer t"), (b"host", b"router")])
        ((head, body, is_head),) = stage.pools["a"].connections[0].sent
        assert head == (
            b"POST /v1/chat/completions HTTP/1.1\r\nhost: a:8000\r\nauthorization: Bearer t\r\n"
            b"content-length: %d\r\nx-request-id: r1\r\n\r\n" % len(body)
        )
        assert json.loads(body) == ASKED
        assert not is_head

    async def test_the_client_learns_the_worker_and_the_id(self, stage: Stage) -> None:
        stage.pools["a"].idle = [answered()]
        _, client = stage.begin()
        assert client.events[0] == (
            "start",
            200,
            [*JSON, (b"x-request-id", b"r1"), (b"x-router-worker", b"a:8000")],
            len(USAGE),
        )

    async def test_or_why_it_went_there_if_it_asks(self, stage: Stage) -> None:
        stage.pools["a"].idle = [answered()]
        journey, client = stage.begin(headers=[(b"x-router-explain", b"1"), (b"x-a", b"b")])
        assert client.events[0][2] == [
            *JSON,
            (b"x-request-id", b"r1"),
            (b"x-router-worker", b"a:8000"),
            *told(journey.decision, 0.0),
        ]
        head = stage.pools["a"].connections[0].sent[0][0]
        assert b"x-router-explain" not in head
        assert b"x-a: b\r\n" in head

    @pytest.mark.parametrize("value", [b"0", b"", b"false"])
    async def test_it_can_ask_for_nothing(self, value: bytes, stage: Stage) -> None:
        stage.pools["a"].idle = [answered()]
        _, client = stage.begin(headers=[(b"x-router-explain", value)])
        assert len(client.events[0][2]) == len(JSON) + 2
        assert b"x-router-explain" not in stage.pools["a"].connections[0].sent[0][0]

    async def test_a_connection_is_opened_when_none_is_idle(self, stage: Stage) -> None:
        stage.pools["a"].connects = [answered()]
        client = await stage.serve()
        assert client.names[-1] == "finish"
        assert stage.pools["a"].opened == 1

    async def test_a_head_request_is_told_to_the_connection(self, stage: Stage) -> None:
        stage.pools["a"].idle = [answered(body=b"")]
        stage.begin(method=b"HEAD")
        assert stage.pools["a"].connections[0].sent[0][2] is True

    async def test_the_connection_feeds_the_client_while_it_answers(self, stage: Stage) -> None:
        stage.pools["a"].idle = [nothing]
        journey, client = stage.begin()
        (connection,) = stage.pools["a"].connections
        assert client.sources == [connection]
        assert connection.handler is not None
        answered()(connection.handler)
        assert client.sources == [connection, None]
        assert not connection.aborted
        assert journey.over

    async def test_a_request_is_in_flight_until_its_answer_ends(self, stage: Stage) -> None:
        stage.pools["a"].idle = [nothing]
        stage.begin()
        (connection,) = stage.pools["a"].connections
        worker = stage.fleet.get("a:8000")
        assert worker is not None
        assert worker.load.inflight == 1
        assert connection.handler is not None
        answered()(connection.handler)
        assert worker.load.inflight == 0

    async def test_the_next_request_counts_on_what_was_sent(self, stage: Stage) -> None:
        stage.pools["a"].idle = [nothing]
        journey, _ = stage.begin()
        assert stage.index.lookup(journey.question.identity) == {
            "a:8000": len(journey.question.identity.keys)
        }
        stage.gateway.cancel(journey)


class TestCandidates:
    async def test_a_model_that_nobody_serves(self, stage: Stage) -> None:
        client = await stage.serve({"model": "x"})
        assert client.events == [("fail", "model_not_found", False)]
        line = stage.line()
        assert (line["status"], line["outcome"], line["attempts"]) == (404, "client_error", 0)
        assert line["model"] == "x"
        assert line["worker"] is None

    async def test_names_of_models_that_are_not_served_do_not_become_labels(
        self, stage: Stage
    ) -> None:
        await stage.serve({"model": "x"})
        stage.line()
        assert set(stage.metrics._routes) == {("unknown", "chat_completions")}

    async def test_a_pinned_request_goes_to_its_worker(self, stage: Stage) -> None:
        stage.pools["b"].idle = [answered()]
        await stage.serve(headers=[(b"x-router-worker", b"b:8000")])
        assert stage.sent() == "b"
        assert b"x-router-worker" not in stage.pools["b"].connections[0].sent[0][0]

    async def test_a_pin_is_not_worked_around(self, stage: Stage) -> None:
        stage.pools["b"].idle = [REFUSED]
        client = await stage.serve(headers=[(b"x-router-worker", b"b:8000")])
        assert client.events[0][1] == 429

    async def test_a_pin_to_nobody_is_the_client_s_mistake(self, stage: Stage) -> None:
        client = await stage.serve(headers=[(b"x-router-worker", b"z:1\xff")])
        assert client.names == ["fail"]
        assert client.error is not None
        assert (client.error.status, client.error.code) == (400, "unknown_worker")

    async def test_pinned_requests_leave_nothing_behind_per_model_name(self, stage: Stage) -> None:
        for number in range(50):
            stage.pools["b"].idle = [answered(404)]
            await stage.serve({"model": f"x{number}"}, headers=[(b"x-router-worker", b"b:8000")])
        kept = [vars(stage.identities)[name] for name in vars(stage.identities)]
        assert sum(len(each) for each in kept if isinstance(each, dict)) < 10

    async def test_a_response_is_continued_where_it_is_stored(self, stage: Stage) -> None:
        body = b'{"id":"resp_1","usage":{"input_tokens":5,"output_tokens":1}}'
        stage.pools["b"].idle = [answered(body=body)] * 3
        path = "/v1/responses"
        await stage.serve({"input": "q"}, path=path, headers=[(b"x-router-worker", b"b:8000")])
        await stage.serve({"input": "r", "previous_response_id": "resp_1"}, path=path)
        await stage.serve({}, path="/v1/responses/resp_1", method=b"GET")
        assert stage.sent() == "bbb"

    async def test_an_unknown_response_goes_anywhere(self, stage: Stage) -> None:
        stage.pools["a"].idle = [answered(404)]
        client = await stage.serve({}, path="/v1/responses/resp_x", method=b"GET")
        assert client.events[0][1] == 404


class TestRetries:
    async def test_a_refusal_is_taken_elsewhere(self, stage: Stage) -> None:
        stage.pools["a"].idle = [REFUSED]
        stage.pools["b"].connects = [answered()]
        client = await stage.serve()
        assert [event[0] for event in client.events if event[0] != "flush"] == [
            "start",
            "write",
            "finish",
        ]
        assert (b"x-router-worker", b"b:8000") in client.events[-4][2]
        assert stage.metrics.retries == {"refused": 1}
        assert stage.line()["attempts"] == 2

    async def test_the_last_refusal_is_the_answer(self, stage: Stage) -> None:
        for pool in stage.pools.values():
            pool.idle = [REFUSED]
        client = await stage.serve()
        assert stage.sent() == "abc"
        starts = [event for event in client.events if event[0] == "start"]
        assert [start[1] for start in starts] == [429]
        line = stage.line()
        assert (line["status"], line["outcome"], line["worker"]) == (429, "client_error", "c:8000")

    async def test_a_refusal_when_nobody_else_is_left_by_then(self, stage: Stage) -> None:
        """It was kept from the client because there were others; they are gone now."""

        def refuses_later(handler: ResponseHandler) -> None:
            stage.fleet.set_workers(["http://a:8000"])
            REFUSED(handler)

        stage.pools["a"].idle = [refuses_later]
        client = await stage.serve()
        assert client.names[-1] == "fail"
        assert not client.started
        assert client.error is not None
        assert (client.error.status, client.error.code) == (503, "no_worker_available")
        assert stage.sent() == "a"

    async def test_an_unreachable_worker_is_taken_down_and_another_asked(
        self, stage: Stage
    ) -> None:
        stage.pools["a"].connects = [UNREACHABLE]
        stage.pools["b"].idle = [answered()]
        client = await stage.serve()
        assert client.names[-1] == "finish"
        worker = stage.fleet.get("a:8000")
        assert worker is not None
        assert not worker.up
        assert stage.metrics.retries == {"worker_unreachable": 1}
        assert stage.index.blocks(worker.id) == 0, "it was never sent the prompt"

    async def test_nobody_reachable(self, stage: Stage) -> None:
        for pool in stage.pools.values():
            pool.connects = [UNREACHABLE]
        client = await stage.serve()
        assert client.events == [("fail", "worker_unreachable", False)]
        line = stage.line()
        assert (line["status"], line["outcome"], line["attempts"]) == (502, "upstream_error", 3)
        assert "cannot be reached" in line["error"]

    async def test_a_stale_connection_is_replaced_by_a_fresh_one(self, stage: Stage) -> None:
        stage.pools["a"].idle = [STALE, STALE, STALE]
        stage.pools["a"].connects = [answered()]
        client = await stage.serve()
        assert client.names[-1] == "finish"
        assert stage.sent() == "aa"
        assert stage.metrics.retries == {"stale_connection": 1}

    async def test_a_fresh_connection_that_fails_too_is_left_for_another_worker(
        self, stage: Stage
    ) -> None:
        stage.pools["a"].idle = [STALE]
        stage.pools["a"].connects = [UNREACHABLE]
        stage.pools["b"].idle = [STALE]
        stage.pools["b"].connects = [answered()]
        client = await stage.serve()
        assert client.names[-1] == "finish"
        assert stage.sent() == "ab", (
            "on a fresh connection there too: it may not be sent a third time"
        )

    async def test_a_request_that_may_have_been_worked_on_is_not_sent_again(
        self, stage: Stage
    ) -> None:
        stage.pools["a"].idle = [LOST]
        client = await stage.serve()
        assert client.events == [("fail", "worker_connection_lost", False)]
        assert stage.sent() == "a"
        assert stage.metrics.retries == {}

    @pytest.mark.parametrize(("headers", "in_band"), [(STREAM, True), (JSON, False)])
    async def test_an_answer_that_breaks_off_is_ended_as_its_kind_allows(
        self, stage: Stage, headers: Headers, in_band: bool
    ) -> None:
        stage.pools["a"].idle = [broken_off(headers)]
        client = await stage.serve()
        assert client.names == ["start", "write", "flush", "fail"]
        assert client.events[-1] == ("fail", "worker_connection_lost", in_band)
        line = stage.line()
        assert (line["status"], line["outcome"]) == (200, "upstream_error")

    async def test_a_failure_after_a_refused_stream_is_not_in_band(self, stage: Stage) -> None:
        stage.pools["a"].idle = [answered(503, b"", STREAM)]
        stage.pools["b"].idle = [LOST]
        client = await stage.serve()
        assert client.events[-1] == ("fail", "worker_connection_lost", False)
        assert stage.line()["status"] == 502

    async def test_a_defect_of_ours_is_told_and_logged(
        self, stage: Stage, caplog: pytest.LogCaptureFixture
    ) -> None:
        stage.pools["a"].connects = [ZeroDivisionError("ours")]
        client = await stage.serve()
        assert client.events == [("fail", "internal_error", False)]
        assert "request" in caplog.text
        assert stage.line()["outcome"] == "router_error"

    async def test_each_course_of_events_ends_once(self) -> None:
        """All sequences of what three attempts may come to: one answer or one error, nothing held."""
        kinds: dict[str, Script | Exception] = {
            "answered": answered(),
            "refused": REFUSED,
            "stale": STALE,
            "lost": LOST,
            "broken": broken_off(STREAM),
            "unreachable": UNREACHABLE,
        }
        for course in itertools.product(kinds.values(), repeat=3):
            stage = Stage()
            for pool, kind in zip(stage.pools.values(), course, strict=True):
                if not isinstance(kind, Exception):
                    pool.idle = [kind]
                pool.connects = [kind, kind]
            client = await stage.serve()
            names = client.names
            assert names.count("finish") + names.count("fail") == 1
            assert names[-1] in ("finish", "fail")
            assert names.count("start") <= 1
            assert client.source is None
            assert [worker.load.inflight for worker in stage.fleet] == [0, 0, 0]
            assert stage.line()["attempts"] <= 6


class TestCancelling:
    async def test_while_it_connects(self, stage: Stage) -> None:
        stage.pools["a"].connects = [None]
        journey, client = stage.begin()
        await quiet()
        assert stage.pools["a"].opened == 1
        stage.gateway.cancel(journey)
        await quiet()
        assert client.events == []
        assert stage.sent() == ""
        line = stage.line()
        assert (line["status"], line["outcome"]) == (499, "cancelled")
        assert line["worker"] == "a:8000"

    async def test_before_it_could_begin_to_connect(self, stage: Stage) -> None:
        stage.pools["a"].connects = [answered()]
        journey, client = stage.begin()
        stage.gateway.cancel(journey)
        await quiet()
        assert client.events == []
        assert stage.sent() == ""

    async def test_in_the_moment_the_connection_is_there(self, stage: Stage) -> None:
        stage.pools["a"].connects = [answered()]
        journey, client = stage.begin()
        await asyncio.sleep(0)
        stage.gateway.cancel(journey)
        await quiet()
        assert client.events == []
        assert all(not connection.sent for connection in stage.pools["a"].connections)

    async def test_before_the_worker_answers(self, stage: Stage) -> None:
        stage.pools["a"].idle = [nothing]
        journey, client = stage.begin()
        stage.gateway.cancel(journey)
        (connection,) = stage.pools["a"].connections
        assert connection.aborted, "or the worker would go on"
        assert client.events == []
        line = stage.line()
        assert (line["status"], line["outcome"]) == (499, "cancelled")

    async def test_within_the_answer(self, stage: Stage) -> None:
        def begun(handler: ResponseHandler) -> None:
            handler.on_response(200, STREAM, None)
            handler.on_body(b'data: {"choices":[]}\n\n')
            handler.on_read()

        stage.pools["a"].idle = [begun]
        journey, client = stage.begin({**ASKED, "stream": True})
        stage.gateway.cancel(journey)
        assert stage.pools["a"].connections[0].aborted
        assert client.names == ["start", "write", "flush"]
        line = stage.line()
        assert (line["status"], line["outcome"]) == (200, "cancelled")
        assert line["ttft_ms"] is not None

    async def test_between_two_attempts(self, stage: Stage) -> None:
        stage.pools["a"].idle = [REFUSED]
        stage.pools["b"].connects = [None]
        journey, client = stage.begin()
        await quiet()
        stage.gateway.cancel(journey)
        await quiet()
        assert set(client.names) <= {"flush"}
        line = stage.line()
        assert (line["status"], line["outcome"], line["attempts"]) == (499, "cancelled", 2)

    async def test_after_the_end_it_does_nothing(self, stage: Stage) -> None:
        stage.pools["a"].idle = [answered()]
        journey, _ = stage.begin()
        stage.gateway.cancel(journey)
        stage.gateway.cancel(journey)
        assert not stage.pools["a"].connections[0].aborted
        assert stage.line()["outcome"] == "ok"

    async def test_twice_is_once(self, stage: Stage) -> None:
        stage.pools["a"].idle = [nothing]
        journey, _ = stage.begin()
        stage.gateway.cancel(journey)
        stage.gateway.cancel(journey)
        assert stage.line()["outcome"] == "cancelled"


async def test_a_request_that_is_not_read_to_its_end(stage: Stage) -> None:
    client = FakeDownstream()
    stage.gateway.refuse(incoming(b""), b"r1", client, errors.body_too_large(10))
    assert client.events == [("fail", "request_too_large", False)]
    line = stage.line()
    assert (line["status"], line["outcome"], line["request_id"]) == (413, "client_error", "r1")


async def test_answers_teach(stage: Stage) -> None:
    stage.pools["a"].idle = [answered()]
    await stage.serve()
    assert stage.metrics.cached_tokens["actual", "all"] == 0
    line = stage.line()
    assert (line["prompt_tokens"], line["completion_tokens"], line["cached_tokens"]) == (50, 5, 0)
    known = stage.identities.identify(request(ASKED))
    assert known.tokens == pytest.approx(50, rel=0.01)

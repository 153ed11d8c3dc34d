"""A request's way through the gateway, with scripted connections: what is sent where, and who is told what."""

import asyncio
import itertools
import json
from array import array
from collections import Counter
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from time import perf_counter
from typing import Any

import pytest

from router import errors
from router.fleet.ranks import RANK
from router.ids import Headers, WorkerId
from router.journey import Journey
from router.prompt.identity import Identity, TokenIdentity
from router.prompt.token_blocks import token_keys
from router.prompts import Prompts
from router.routing.explain import told
from router.routing.options import QueueOptions
from router.routing.policy import Choice, Question
from router.tokens.prompt import ChatPrompt, Inexact, Reason, TextPrompt, TokenIds
from router.tokens.service import Run, TokenService
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
        assert [name for name in client.names if name != "flush"] == ["start", "write", "finish"]
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

    @pytest.mark.parametrize(
        ("said", "rank"), [([], b"0"), ([(RANK, b"1")], b"1"), ([(RANK, b"x")], b"x")]
    )
    async def test_a_worker_of_several_ranks_is_told_which(
        self, stage: Stage, said: Headers, rank: bytes
    ) -> None:
        first = stage.fleet.processes()[0]
        stage.fleet.set_report(first, replace(first.report, ranks=2))
        stage.pools["a"].idle = [answered()]
        _, client = stage.begin(headers=[(b"x-a", b"b"), *said])
        head = stage.pools["a"].connections[0].sent[0][0]
        assert head.count(b"x-data-parallel-rank: ") == 1
        assert b"\r\nx-data-parallel-rank: %b\r\n" % rank in head
        name = b"a:8000#1" if rank == b"1" else b"a:8000"
        assert (b"x-router-worker", name) in client.events[0][2]

    async def test_a_client_s_rank_is_passed_on_to_who_has_but_one(self, stage: Stage) -> None:
        stage.pools["a"].idle = [answered()]
        stage.begin(headers=[(RANK, b"0")])
        assert b"\r\nx-data-parallel-rank: 0\r\n" in stage.pools["a"].connections[0].sent[0][0]

    async def test_another_worker_is_one_of_the_client_s_rank_too(self, stage: Stage) -> None:
        for worker in stage.fleet.processes():
            if worker.id != "c:8000":
                stage.fleet.set_report(worker, replace(worker.report, ranks=2))
        stage.pools["a"].connects = [UNREACHABLE]
        stage.pools["b"].idle = [answered()]
        client = await stage.serve(headers=[(RANK, b"1")])
        assert (b"x-router-worker", b"b:8000#1") in client.events[0][2]

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
        assert set(stage.metrics.route._routes) == {("unknown", "chat_completions")}

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
        assert (b"x-router-worker", b"b:8000") in client.events[0][2]
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

    async def test_a_worker_that_breaks_off_before_any_byte_is_replaced(self, stage: Stage) -> None:
        stage.pools["a"].idle = [LOST]
        stage.pools["b"].idle = [answered()]
        client = await stage.serve()
        assert (client.names[-1], stage.sent()) == ("finish", "ab")
        assert stage.metrics.retries == {"worker_lost": 1}
        assert stage.line()["attempts"] == 2

    async def test_but_not_where_the_answer_is_stored(self, stage: Stage) -> None:
        """It may be there already."""
        stage.pools["a"].idle = [LOST]
        client = await stage.serve({"model": "m", "input": "hi"}, path="/v1/responses")
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
        for name in "bc":
            stage.pools[name].idle = [LOST, LOST]
        stage.pools["a"].idle.append(LOST)
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


class OtherRouters:
    """Say where responses are stored (`prompts.Others`) once they may `answer`; they know no prompts."""

    def __init__(self) -> None:
        self.homes = {"resp_1": WorkerId("b:8000"), "resp_9": WorkerId("z:8000")}
        self.asked: list[str] = []
        self.answer = asyncio.Event()
        self.answer.set()

    async def known(self, identity: Identity) -> Identity:
        return identity

    async def home(self, response_id: str) -> WorkerId | None:
        self.asked.append(response_id)
        await self.answer.wait()
        return self.homes.get(response_id)


class TestStoredElsewhere:
    """Another router may know who stores what a request refers to."""

    @pytest.fixture
    def others(self, stage: Stage) -> OtherRouters:
        others = OtherRouters()
        stage.gateway._prompts = Prompts(stage.exact, others)
        for pool in stage.pools.values():
            pool.idle = [answered() for _ in range(3)]
        return others

    @staticmethod
    def refers(response_id: str = "resp_1") -> dict[str, Any]:
        return {"model": "m", "input": "word " * 100, "previous_response_id": response_id}

    async def test_it_goes_there(self, stage: Stage, others: OtherRouters) -> None:
        client = await stage.serve(self.refers(), path="/v1/responses")
        assert client.body == USAGE
        assert stage.sent() == "b"
        assert stage.line()["worker"] == "b:8000"

    async def test_that_is_asked_once(self, stage: Stage, others: OtherRouters) -> None:
        for _ in range(2):
            await stage.serve(self.refers(), path="/v1/responses")
        assert others.asked == ["resp_1"]
        assert stage.sent() == "bb"

    async def test_what_is_known_here_is_not_asked(
        self, stage: Stage, others: OtherRouters
    ) -> None:
        stage.homes.remember("resp_1", WorkerId("c:8000"))
        stage.begin(self.refers(), path="/v1/responses")
        assert stage.sent() == "c", "at once"
        assert others.asked == []

    @pytest.mark.parametrize(
        ("body", "path"),
        [(ASKED, "/v1/chat/completions"), ({"model": "m", "input": "q"}, "/v1/responses")],
    )
    async def test_what_refers_to_nothing_is_not_asked(
        self, stage: Stage, others: OtherRouters, body: dict[str, Any], path: str
    ) -> None:
        await stage.serve(body, path=path)
        assert others.asked == []
        assert stage.sent() == "a"

    @pytest.mark.parametrize("response_id", ["resp_2", "resp_9"])
    async def test_if_nobody_knows_it_goes_as_any_other(
        self, stage: Stage, others: OtherRouters, response_id: str
    ) -> None:
        """Or if it is stored at a worker that is not known here."""
        await stage.serve(self.refers(response_id), path="/v1/responses")
        assert others.asked == [response_id]
        assert stage.sent() == "a"

    async def test_one_that_is_asked_for_by_name(self, stage: Stage, others: OtherRouters) -> None:
        await stage.serve(b"", path="/v1/responses/resp_1", method=b"GET")
        assert others.asked == ["resp_1"]
        assert stage.sent() == "b"

    async def test_the_client_may_leave_meanwhile(self, stage: Stage, others: OtherRouters) -> None:
        others.answer.clear()
        journey, _ = stage.begin(self.refers(), path="/v1/responses")
        await quiet()
        assert others.asked == ["resp_1"]
        stage.gateway.cancel(journey)
        others.answer.set()
        await quiet()
        assert stage.sent() == ""
        assert stage.line()["outcome"] == "cancelled"

    async def test_the_router_may_stop_meanwhile(self, stage: Stage, others: OtherRouters) -> None:
        others.answer.clear()
        _, client = stage.begin(self.refers(), path="/v1/responses")
        await quiet()
        stage.gateway.close()
        await quiet()
        assert client.error is not None
        assert client.error.status == 503
        assert stage.sent() == ""

    async def test_a_model_that_nobody_serves_is_found_out_after_it(
        self, stage: Stage, others: OtherRouters
    ) -> None:
        body = {**self.refers(), "model": "x"}
        client = await stage.serve(body, path="/v1/responses")
        assert client.events == [("fail", "model_not_found", False)]

    async def test_without_others_nobody_is_asked(self, stage: Stage) -> None:
        stage.pools["a"].idle = [answered()]
        _, client = stage.begin(self.refers(), path="/v1/responses")
        assert client.body == USAGE, "at once"


async def test_a_request_that_is_not_read_to_its_end(stage: Stage) -> None:
    client = FakeDownstream()
    stage.gateway.refuse(incoming(b""), b"r1", client, errors.body_too_large(10))
    assert client.events == [("fail", "request_too_large", False)]
    line = stage.line()
    assert (line["status"], line["outcome"], line["request_id"]) == (413, "client_error", "r1")


async def test_answers_teach(stage: Stage) -> None:
    stage.pools["a"].idle = [answered()]
    await stage.serve()
    assert stage.metrics.cached_tokens["actual", "gpu"] == 0
    line = stage.line()
    assert (line["prompt_tokens"], line["completion_tokens"], line["cached_tokens"]) == (50, 5, 0)
    known = stage.identities.identify(request(ASKED))
    assert known.tokens == pytest.approx(50, rel=0.01)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - another thread works for it
            await asyncio.sleep(0.001)


class Tokenizing:
    """A stage whose workers (all of them, or `names`) say what they hold; `go` lets the tokenizer answer, `failure` makes it fail."""

    def __init__(self, *names: str, queue: QueueOptions | None = None) -> None:
        self.stage = Stage(*names, queue=queue)
        self.go, self.asked = asyncio.Event(), 0
        self.failure: BaseException | None = None
        self.service = TokenService({"m": self}, deadline_s=10.0)
        self.stage.exact.tokens = self.service
        telling = dict.fromkeys(map(WorkerId, ("a:8000", "b:8000")), 16)
        self.stage.index.keep(telling, perf_counter())
        self.told: dict[str, list[tuple[WorkerId, Identity]]] = {}
        for name in ("sent", "begun", "over"):
            self._watch(name)

    async def ids(self, prompt: ChatPrompt | TextPrompt, run: Run) -> TokenIds:
        """(`tokens.service.Source`)"""
        self.asked += 1
        await self.go.wait()
        if self.failure is not None:
            raise self.failure
        return array("I", range(100))

    def _watch(self, name: str) -> None:
        """Note what the index is told of prompts."""
        plain, told = getattr(self.stage.index, name), self.told.setdefault(name, [])

        def watched(worker: WorkerId, identity: Identity) -> None:
            told.append((worker, identity))
            plain(worker, identity)

        setattr(self.stage.index, name, watched)

    async def begin(
        self, body: dict[str, Any] | None = None, **rest: Any
    ) -> tuple[Journey, FakeDownstream]:
        """A request that is being tokenized."""
        asked = self.asked
        begun = self.stage.begin(body, **rest)
        await until(lambda: self.asked > asked)
        return begun

    async def on(self) -> None:
        """The tokenizer answers, and all goes on."""
        self.go.set()
        await quiet()

    def count(self, name: str) -> int:
        return len(self.told[name])

    def check(self) -> None:
        """What was sent has begun or is over, each once, at the same worker and by the same identity."""
        self.stage.check()
        assert self.service.pending == 0
        sent, ended = (
            Counter((worker, id(identity)) for worker, identity in told)
            for told in (self.told["sent"], self.told["begun"] + self.told["over"])
        )
        assert sent == ended


@pytest.fixture
async def tokenizing() -> AsyncIterator[Tokenizing]:
    tokenizing = Tokenizing()
    yield tokenizing
    await quiet()
    tokenizing.check()
    tokenizing.service.close()


class TestTokenizing:
    """Where workers say what they hold, a prompt's tokens are found out first."""

    async def test_nothing_is_sent_before_that(self, tokenizing: Tokenizing) -> None:
        stage = tokenizing.stage
        stage.pools["a"].idle = [answered()]
        _, client = await tokenizing.begin()
        await quiet()
        assert (stage.sent(), client.events) == ("", [])
        await tokenizing.on()
        assert [name for name in client.names if name != "flush"] == ["start", "write", "finish"]
        assert tokenizing.service.exact == 1

    async def test_what_is_looked_up_and_sent_is_known_by_its_tokens(
        self, tokenizing: Tokenizing
    ) -> None:
        stage = tokenizing.stage
        stage.pools["a"].idle = [nothing]
        journey, _ = await tokenizing.begin()
        await tokenizing.on()
        identity = journey.question.identity
        assert isinstance(identity, TokenIdentity)
        assert identity.keys == token_keys(range(100), 16)
        assert stage.index.lookup(identity) == {"a:8000": 6}
        assert stage.index.lookup(identity.text) == {"a:8000": len(identity.text.keys)}
        stage.gateway.cancel(journey)

    async def test_the_next_such_prompt_is_expected_to_find_it(
        self, tokenizing: Tokenizing
    ) -> None:
        stage = tokenizing.stage
        stage.pools["a"].idle = [nothing, answered()]
        first, _ = await tokenizing.begin()
        await tokenizing.on()
        second, _ = stage.begin()
        await until(lambda: second.over)
        assert (second.decision.blocks, second.decision.cached_tokens) == (6, 96)
        stage.gateway.cancel(first)

    async def test_nobody_who_says_what_it_holds_can_serve_it(self, tokenizing: Tokenizing) -> None:
        stage = tokenizing.stage
        stage.pools["c"].idle = [answered()]
        client = await stage.serve(headers=[(b"x-router-worker", b"c:8000")])
        assert client.names[-1] == "finish"
        assert tokenizing.asked == 0

    @pytest.mark.parametrize(
        "failure", [Inexact(Reason.RENDER), ValueError("odd"), ZeroDivisionError("ours")]
    )
    async def test_a_prompt_that_cannot_be_tokenized_goes_by_its_text(
        self, failure: Exception, tokenizing: Tokenizing
    ) -> None:
        stage = tokenizing.stage
        stage.pools["a"].idle = [answered()]
        tokenizing.failure = failure
        journey, client = await tokenizing.begin()
        text = journey.question.identity
        await tokenizing.on()
        assert client.names[-1] == "finish"
        assert stage.index.lookup(text) == {"a:8000": len(text.keys)}
        assert stage.line()["outcome"] == "ok"

    async def test_a_defect_while_it_goes_on_is_told(
        self, tokenizing: Tokenizing, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def broken(question: Question) -> Choice:
            raise ZeroDivisionError("ours")

        monkeypatch.setattr(tokenizing.stage.admission, "_policy", broken)
        _, client = await tokenizing.begin()
        await tokenizing.on()
        assert client.events == [("fail", "internal_error", False)]

    async def test_the_client_leaves_meanwhile(self, tokenizing: Tokenizing) -> None:
        stage = tokenizing.stage
        journey, client = await tokenizing.begin()
        stage.gateway.cancel(journey)
        await quiet()
        assert tokenizing.service.pending == 0, "nobody works on it any more"
        await tokenizing.on()
        assert (stage.sent(), client.events) == ("", [])
        line = stage.line()
        assert (line["status"], line["outcome"], line["attempts"]) == (499, "cancelled", 0)

    async def test_it_leaves_before_that_has_begun(self, tokenizing: Tokenizing) -> None:
        journey, client = tokenizing.stage.begin()
        tokenizing.stage.gateway.cancel(journey)
        await tokenizing.on()
        assert (tokenizing.asked, client.events) == (0, [])
        assert tokenizing.stage.line()["outcome"] == "cancelled"

    async def test_it_leaves_at_whatever_moment(self) -> None:
        """From the request's arrival to its answer, step by step of the event loop."""
        for steps in range(12):
            tokenizing = Tokenizing()
            stage = tokenizing.stage
            stage.pools["a"].connects = [answered()]
            journey, client = await tokenizing.begin()
            tokenizing.go.set()
            for _ in range(steps):
                await asyncio.sleep(0)
            over = journey.over
            stage.gateway.cancel(journey)
            await quiet()
            assert (client.names[-1:] == ["finish"]) is over
            assert stage.line()["outcome"] == ("ok" if over else "cancelled")
            tokenizing.check()
            tokenizing.service.close()

    async def test_one_of_two_with_the_same_prompt_leaves(self, tokenizing: Tokenizing) -> None:
        """The work is shared: who is left goes on, by the prompt's text if need be."""
        stage = tokenizing.stage
        stage.pools["a"].idle = [answered()]
        first, _ = await tokenizing.begin()
        second, client = stage.begin()
        await until(lambda: tokenizing.service.shared == 1)
        stage.gateway.cancel(first)
        await tokenizing.on()
        assert client.names[-1] == "finish"
        assert second.over

    async def test_the_router_stops_meanwhile(self, tokenizing: Tokenizing) -> None:
        stage = tokenizing.stage
        _, client = await tokenizing.begin()
        stage.gateway.close()
        await tokenizing.on()
        assert client.events == [("fail", "router_shutting_down", False)]
        assert stage.sent() == ""

    async def test_its_worker_leaves_meanwhile(self, tokenizing: Tokenizing) -> None:
        stage = tokenizing.stage
        stage.pools["a"].idle = stage.pools["b"].idle = [answered()]
        _, client = await tokenizing.begin()
        stage.fleet.set_workers(["http://b:8000"])
        await tokenizing.on()
        assert client.names[-1] == "finish"
        assert stage.sent() == "b"

    async def test_its_worker_goes_down_meanwhile(self, tokenizing: Tokenizing) -> None:
        stage = tokenizing.stage
        stage.pools["b"].idle = [answered()]
        _, client = await tokenizing.begin()
        worker = stage.fleet.get("a:8000")
        assert worker is not None
        stage.fleet.mark_down(worker, "it is gone")
        await tokenizing.on()
        assert stage.sent() == "b"
        assert client.names[-1] == "finish"

    async def test_all_workers_leave_meanwhile(self, tokenizing: Tokenizing) -> None:
        stage = tokenizing.stage
        _, client = await tokenizing.begin()
        stage.fleet.set_workers([])
        await tokenizing.on()
        assert client.events == [("fail", "no_worker_available", False)]
        assert stage.line()["status"] == 503

    async def test_it_may_have_to_wait_for_a_worker_after_that(self) -> None:
        tokenizing = Tokenizing("a", queue=QueueOptions(max_inflight=1))
        stage = tokenizing.stage
        for pool in stage.pools.values():
            pool.idle = [nothing]
        first, _ = await tokenizing.begin()
        await tokenizing.on()
        second, _ = stage.begin()
        await until(lambda: second.task is None)
        assert (len(stage.dispatch), stage.sent()) == (1, "a")
        for journey in (second, first):
            stage.gateway.cancel(journey)
        await quiet()
        tokenizing.check()
        assert [line["outcome"] for line in stage.lines()] == ["cancelled"] * 2
        tokenizing.service.close()

    @pytest.mark.parametrize("first", ["refused", "stale", "lost", "broken", "unreachable"])
    async def test_whatever_is_sent_begins_or_is_over(
        self, first: str, tokenizing: Tokenizing
    ) -> None:
        """On every way out: a retry sends the prompt once more, to another worker or the same."""
        stage = tokenizing.stage
        idle = {"refused": REFUSED, "stale": STALE, "lost": LOST, "broken": broken_off(STREAM)}
        if first == "unreachable":
            stage.pools["a"].connects = [UNREACHABLE]
        else:
            stage.pools["a"].idle = [idle[first]]
            stage.pools["a"].connects = [answered()]
        stage.pools["b"].idle = [answered()]
        _, client = await tokenizing.begin({**ASKED, "stream": True})
        await tokenizing.on()
        assert client.names[-1] in ("finish", "fail")
        assert tokenizing.count("sent") == {"refused": 2, "stale": 2, "lost": 2}.get(first, 1)

    @pytest.mark.parametrize(
        ("script", "name"),
        [
            (answered(200, b'data: {"choices":[{"delta":{"content":"a"}}]}\n\n', STREAM), "begun"),
            (answered(), "begun"),
            (LOST, "over"),
            (answered(400, b"{}"), "over"),
            (answered(500, b"{}"), "over"),
        ],
        ids=["a stream", "a whole answer", "none", "a mistake", "a failure"],
    )
    async def test_an_answer_says_that_the_prompt_was_read(
        self, script: Script, name: str, tokenizing: Tokenizing
    ) -> None:
        tokenizing.stage.pools["a"].idle = [script]
        await tokenizing.begin()
        await tokenizing.on()
        assert (tokenizing.count(name), tokenizing.count("sent")) == (1, 1)

    @pytest.mark.parametrize("script", [nothing, broken_off(STREAM)], ids=["before", "within"])
    async def test_a_client_that_leaves_an_answer(
        self, script: Script, tokenizing: Tokenizing
    ) -> None:
        stage = tokenizing.stage
        stage.pools["a"].idle = [script]
        journey, _ = await tokenizing.begin()
        await tokenizing.on()
        stage.gateway.cancel(journey)
        assert tokenizing.count("sent") == 1

"""What a worker does, what the client has, who else is there: always one answer or one error, and nothing held."""

import itertools
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from router import errors
from router.attempt_options import AttemptOptions
from router.engines.base import Condition
from router.fleet.circuit import Circuit, State
from router.ids import Headers
from router.upstream.connection import ResponseHandler
from router.upstream.limits import TimeLimits
from tests.unit.proxy.streams import DONE, PLAIN, PROMPT, WITH_SILENT, Answer, Kind, seen
from tests.unit.stage import (
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
    lost,
    nothing,
    quiet,
)
from tests.unit.support import FakeDownstream, chat

STREAMING = chat("word " * 100, stream=True, stream_options={"include_usage": True})
LATE = lost(errors.worker_timeout("w", "did not begin to answer within 1 s"))
OVER = lost(errors.out_of_time(5.0))
BAD = lost(errors.bad_response("w", "garbage"))
DRAINING = b'{"error":{"message":"cannot schedule new futures after shutdown","code":500}}'
DEAD = b'{"error":{"message":"EngineCore encountered an issue.","code":500}}'
DIED = (
    b'data: {"error": {"message": "EngineCore encountered an issue.", "type": "InternalServerError", '
    b'"param": null, "code": 500}}\n\n'
)


def streams(*events: bytes, end: str = "complete") -> Script:
    """Events, a read each; then the answer's end, a lost connection, or nothing (`hang`)."""

    def script(handler: ResponseHandler) -> None:
        handler.on_response(200, STREAM, None)
        for event in events:
            handler.on_body(event)
            handler.on_read()
        if end == "complete":
            handler.on_complete([])
        elif end == "lost":
            handler.on_lost(errors.worker_lost("w", "before its answer was complete"))

    return script


def head_only(headers: Headers) -> Script:
    def script(handler: ResponseHandler) -> None:
        handler.on_response(200, headers, None)
        handler.on_read()
        handler.on_lost(errors.worker_lost("w", "before its answer was complete"))

    return script


@pytest.fixture
async def stage() -> AsyncIterator[Stage]:
    stage = Stage()
    yield stage
    await quiet()
    stage.check()


def have(stage: Stage, *scripts: Script | Exception) -> None:
    """The workers in the order of their names: each does this once more whenever it is asked."""
    for pool, script in zip(stage.pools.values(), scripts, strict=False):
        pool.idle = [] if isinstance(script, Exception) else [script] * 9
        pool.connects = [script] * 9


TOKEN = Answer("completions").events(ids=False)[0]
STARTS_OVER: dict[str, Script] = {
    "lost": LOST,
    "late": LATE,
    "no http": BAD,
    "head": head_only(STREAM),
    "died first": streams(DIED, DONE),
    "dead engine": answered(500, DEAD),
}


class TestBeforeAnyByte:
    @pytest.mark.parametrize("what", STARTS_OVER)
    async def test_another_worker_is_asked(self, stage: Stage, what: str) -> None:
        have(stage, STARTS_OVER[what], streams(TOKEN, DONE))
        client = await stage.serve(STREAMING)
        assert (client.body, client.names[-1]) == (TOKEN + DONE, "finish")
        assert stage.sent() == "ab"
        assert stage.metrics.retries == {"worker_lost": 1}
        assert (b"x-router-worker", b"b:8000") in client.events[0][2]

    @pytest.mark.parametrize("what", STARTS_OVER)
    async def test_three_are_at_most(self, stage: Stage, what: str) -> None:
        """What so many workers broke off at may be what broke them."""
        have(stage, *[STARTS_OVER[what]] * 3)
        client = await stage.serve(STREAMING)
        assert stage.line()["attempts"] == 3
        assert client.names.count("fail") + client.names.count("finish") == 1

    async def test_two_take_turns(self) -> None:
        """Who broke off before may be well again."""
        stage = Stage("a", "b")
        have(stage, LOST, LOST)
        client = await stage.serve()
        assert sorted(stage.sent()) in (["a", "a", "b"], ["a", "b", "b"])
        assert client.events == [("fail", "worker_connection_lost", False)]
        stage.check()

    @pytest.mark.parametrize("what", ["lost", "late", "no http"])
    async def test_one_alone_is_not_asked_again(self, what: str) -> None:
        stage = Stage("a")
        have(stage, STARTS_OVER[what])
        client = await stage.serve()
        assert (client.names, stage.sent()) == (["fail"], "a")
        stage.check()

    @pytest.mark.parametrize("what", ["lost", "late", "no http"])
    async def test_nobody_else_where_the_answer_is_stored(self, stage: Stage, what: str) -> None:
        have(stage, STARTS_OVER[what])
        client = await stage.serve({"model": "m", "input": "x"}, path="/v1/responses")
        assert (client.names, stage.sent()) == (["fail"], "a")

    @pytest.mark.parametrize("what", ["lost", "late", "no http"])
    async def test_nobody_else_where_the_client_says_whom(self, stage: Stage, what: str) -> None:
        have(stage, STARTS_OVER[what])
        pin = [(b"x-router-worker", b"a:8000")]
        client = await stage.serve(headers=pin)
        assert (client.names, stage.sent()) == (["fail"], "a")

    @pytest.mark.parametrize("script", [UNREACHABLE, REFUSED, LOST])
    async def test_nobody_else_where_only_one_knows_what_it_refers_to(
        self, stage: Stage, script: Script | Exception
    ) -> None:
        have(stage, script, answered(), answered())
        stage.homes.stored("resp_1", "a:8000")  # type: ignore[arg-type]
        body = {"model": "m", "input": "x", "previous_response_id": "resp_1"}
        await stage.serve(body, path="/v1/responses")
        assert set(stage.sent()) <= {"a"}
        assert stage.metrics.retries == {}

    async def test_nobody_at_all_when_the_time_is_over(self, stage: Stage) -> None:
        have(stage, OVER, answered())
        client = await stage.serve()
        assert client.events == [("fail", "request_timeout", False)]
        assert stage.sent() == "a"
        assert stage.metrics.retries == {}
        assert stage.suspects == [], "that is nobody's fault"

    async def test_an_answer_that_does_not_stream_has_begun_with_its_head(
        self, stage: Stage
    ) -> None:
        have(stage, head_only(JSON))
        client = await stage.serve()
        assert client.names[-1] == "fail"
        assert stage.sent() == "a"


class TestRefusals:
    async def test_the_last_one_is_the_client_s_as_it_was_written(self, stage: Stage) -> None:
        busy = answered(503, b'{"error":"busy"}', [*JSON, (b"retry-after", b"7")])
        have(stage, busy, busy, busy)
        client = await stage.serve()
        assert stage.sent() == "abc"
        assert client.body == b'{"error":"busy"}'
        assert client.events[0][1] == 503
        assert (b"retry-after", b"7") in client.events[0][2]

    async def test_retry_after_keeps_the_worker_out(self, stage: Stage) -> None:
        have(stage, answered(429, b"{}", [*JSON, (b"retry-after", b"30")]), answered())
        await stage.serve()
        await stage.serve()
        assert stage.sent() == "abb", "the first is not asked again"

    async def test_a_worker_that_drains_is_left_at_once(self, stage: Stage) -> None:
        have(stage, answered(500, DRAINING), answered())
        client = await stage.serve()
        assert client.body == USAGE
        worker = stage.fleet.get("a:8000")
        assert worker is not None
        assert worker.condition is Condition.DRAINING
        await stage.serve()
        assert stage.sent() == "abb"
        assert stage.metrics.retries == {"refused": 1}

    async def test_the_last_that_drains_says_so_itself(self) -> None:
        stage = Stage("a")
        have(stage, answered(500, DRAINING))
        client = await stage.serve()
        assert (client.body, client.events[0][1]) == (DRAINING, 500)
        assert len(stage.suspects) == 1
        stage.check()

    async def test_so_many_are_sent_on_and_no_more(self) -> None:
        """A worker that refuses all costs the others a share of what it is sent."""
        stage = Stage("a", "b", options=AttemptOptions(retry_budget=0.25))
        have(stage, REFUSED, answered())
        for _ in range(60):
            for pool in stage.pools.values():
                pool.idle = [pool.idle[0]] * 3
            for worker in stage.fleet:  # else who refused is left alone for a while
                worker.circuit = Circuit()
            await stage.serve()
        sent_on = stage.metrics.retries["refused"]
        statuses = [line["status"] for line in stage.lines()]
        assert 10 + 60 * 0.25 - 1 <= sent_on <= 10 + 60 * 0.25 + 10
        assert (statuses.count(200), statuses.count(429)) == (sent_on, 60 - sent_on)
        stage.check()

    async def test_who_refuses_does_not_spend_the_others_budgets(self) -> None:
        stage = Stage("a", "b", options=AttemptOptions(retry_budget=0.0))
        have(stage, REFUSED, answered())
        for _ in range(15):
            for pool in stage.pools.values():
                pool.idle = [pool.idle[0]] * 3
            for worker in stage.fleet:  # else who refused is left alone for a while
                worker.circuit = Circuit()
            await stage.serve()
        assert stage.metrics.retries["refused"] == 10
        b = stage.fleet.get("b:8000")
        assert b is not None
        assert b.budget.enough
        stage.check()


class TestHealth:
    @pytest.mark.parametrize(
        ("script", "counts"),
        [
            (LOST, True),
            (LATE, True),
            (BAD, True),
            (answered(502, b"{}"), True),
            (answered(503, b"{}"), True),
            (answered(504, b"{}"), True),
            (streams(TOKEN, DIED, DONE), True),
            (answered(429, b"{}"), False),
            (answered(400, b"{}"), False),
            (answered(500, b"{}"), False),
            (OVER, False),
        ],
    )
    async def test_what_counts_against_a_worker(self, script: Script, counts: bool) -> None:
        stage = Stage("a")
        (worker,) = stage.fleet
        for _ in range(5):
            have(stage, script)
            await stage.serve(STREAMING)
        assert (worker.circuit.state(1e12) is not State.CLOSED) is counts
        stage.check()

    async def test_an_ejected_worker_is_not_asked(self, stage: Stage) -> None:
        for _ in range(5):
            have(stage, answered(502, b"{}"), answered())
            await stage.serve()
        have(stage, answered(502, b"{}"), answered())
        client = await stage.serve()
        assert client.events[0][1] == 200
        assert (b"x-router-worker", b"b:8000") in client.events[0][2]

    async def test_limits_are_the_endpoint_s(self) -> None:
        usual, own = TimeLimits(first_byte_s=60.0), TimeLimits(first_byte_s=5.0)
        options = AttemptOptions(limits=usual, by_endpoint={"embeddings": own})
        stage = Stage("a", options=options)
        have(stage, answered())
        await stage.serve()
        await stage.serve({"model": "m", "input": "x"}, path="/v1/embeddings")
        (a,) = stage.pools.values()
        assert [connection.limits for connection in a.connections] == [usual, own]
        stage.check()


# -- going on elsewhere ------------------------------------------------------------------------


class Engine:
    """Speaks as vLLM; `deaths`: after how many events each answer breaks off, the last ones are whole."""

    def __init__(self, answer: Answer, *deaths: int, how: str = "lost") -> None:
        self.answer = answer
        self.deaths = list(deaths)
        self.how = how
        self.asked: list[dict[str, Any]] = []

    def script(self, stage: Stage) -> Script:
        def script(handler: ResponseHandler) -> None:
            body = self.body(stage)
            self.asked.append(body)
            start = len(self.given(body)) and len(self.given(body)) - len(PROMPT)
            events = self.answer.events(
                ids=body.get("return_token_ids") is True, start=start, name=str(len(self.asked))
            )
            if not self.deaths:
                streams(*events)(handler)
                return
            events = events[: self.deaths.pop(0)]
            if self.how == "error":
                streams(*events, DIED + DONE)(handler)
            elif self.how == "eof":
                streams(*events)(handler)
            else:
                streams(*events, end="lost")(handler)

        return script

    @staticmethod
    def body(stage: Stage) -> dict[str, Any]:
        connections = [c for pool in stage.pools.values() for c in pool.connections if c.sent]
        newest = max(connections, key=lambda c: c.number)
        found: dict[str, Any] = json.loads(newest.sent[0][1])
        return found

    @staticmethod
    def given(body: dict[str, Any]) -> list[int]:
        if "kv_transfer_params" in body:
            return list(body["kv_transfer_params"]["prompt_token_ids"])
        return body["prompt"] if isinstance(body.get("prompt"), list) else []


PATHS = {"chat": "/v1/chat/completions", "completions": "/v1/completions"}


def request_for(kind: Kind, **fields: Any) -> dict[str, Any]:
    usual = chat("hi") if kind == "chat" else {"model": "m", "prompt": "hi"}
    return {**usual, "stream": True, "stream_options": {"include_usage": True}, **fields}


class Theatre(Stage):
    """Workers that are all the same engine, resuming what breaks off."""

    def __init__(self, engine: Engine, *names: str) -> None:
        super().__init__(*names, options=AttemptOptions(resume=True))
        self.engine = engine
        have(self, *[engine.script(self)] * len(self.pools))

    async def ask(self, **fields: Any) -> FakeDownstream:
        kind = self.engine.answer.kind
        return await self.serve(request_for(kind, **fields), path=PATHS[kind])


KINDS: list[Kind] = ["chat", "completions"]
HOWS = ["lost", "error", "eof"]


class TestResuming:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("how", HOWS)
    async def test_the_client_cannot_tell(self, kind: Kind, how: str) -> None:
        """After whichever event the worker died."""
        for tokens in (PLAIN, WITH_SILENT):
            answer = Answer(kind, tokens)
            whole = seen(answer.stream())
            for after in range(len(answer.events(ids=True)) + 1):
                theatre = Theatre(Engine(answer, after, how=how))
                client = await theatre.ask(max_tokens=100)
                read = seen(client.body)
                read.names = whole.names = set()
                assert read == whole, after
                assert client.names[-1] == "finish"
                assert client.names.count("start") == 1
                assert client.error is None
                theatre.check()

    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("deaths", range(1, 6))
    async def test_over_several_deaths(self, kind: Kind, deaths: int) -> None:
        answer = Answer(kind, tuple((n, chr(97 + n)) for n in range(12)))
        first = 2 + (kind == "chat")
        theatre = Theatre(Engine(answer, *[first] * deaths))
        client = await theatre.ask(max_tokens=100)
        assert seen(client.body) == seen(answer.stream())
        line = theatre.line()
        assert (line["outcome"], line["resumed"], line["attempts"]) == ("ok", deaths, deaths + 1)
        assert theatre.metrics.resumed == {"resumed": deaths}
        given = [len(Engine.given(body)) for body in theatre.engine.asked]
        assert given == [0, *(len(PROMPT) + 2 * number for number in range(1, deaths + 1))]
        theatre.check()

    async def test_not_over_more(self) -> None:
        answer = Answer("completions", tuple((n, chr(97 + n)) for n in range(20)))
        theatre = Theatre(Engine(answer, *[2] * 6))
        client = await theatre.ask(max_tokens=100)
        assert client.names[-1] == "fail"
        assert client.error is not None
        assert "6 workers have broken it off" in client.error.message
        assert client.events[-1][2] is True, "told in the stream"
        assert b"[DONE]" not in client.body
        assert theatre.metrics.resumed == {"resumed": 5, "impossible": 1}
        theatre.check()

    @pytest.mark.parametrize("kind", KINDS)
    async def test_what_the_next_worker_is_asked(self, kind: Kind) -> None:
        theatre = Theatre(Engine(Answer(kind), 2 + (kind == "chat")))
        await theatre.ask(max_tokens=10, seed=1)
        first, second = theatre.engine.asked
        assert first == {**request_for(kind, max_tokens=10, seed=1), "return_token_ids": True}
        assert Engine.given(second) == [*PROMPT, *Answer().ids[:2]]
        assert second["max_tokens"] == 8
        assert theatre.sent() == "ab"

    @pytest.mark.parametrize("after", [1, 2])
    async def test_all_tokens_are_there_and_only_the_end_is_missing(self, after: int) -> None:
        """Nobody is asked for nothing."""
        answer = Answer("completions", finish="length")
        events = len(answer.events(ids=True)) - after
        theatre = Theatre(Engine(answer, events))
        client = await theatre.ask(max_tokens=len(PLAIN))
        assert seen(client.body) == seen(answer.stream())
        assert theatre.sent() == "a"
        assert theatre.metrics.resumed == {"completed": 1}
        theatre.check()

    @pytest.mark.parametrize(
        ("wish", "configured", "resumed"),
        [
            (None, True, True),
            (b"on", False, True),
            (b" ON ", False, True),
            (b"off", True, False),
            (None, False, False),
            (b"yes", True, False),
        ],
    )
    async def test_who_wants_it(self, wish: bytes | None, configured: bool, resumed: bool) -> None:
        stage = Stage(options=AttemptOptions(resume=configured))
        engine = Engine(Answer(), 2)
        have(stage, *[engine.script(stage)] * 3)
        headers = [(b"x-router-resume", wish)] if wish is not None else []
        client = await stage.serve(request_for("chat"), headers=headers)
        assert (client.names[-1] == "finish") is resumed
        assert ("return_token_ids" in engine.asked[0]) is resumed
        stage.check()

    @pytest.mark.parametrize(
        ("fields", "why"),
        [
            ({"stop": "x"}, "could not be resumed: it uses `stop`"),
            ({"n": 2}, "it asks for several answers (`n`)"),
            ({"logprobs": True}, "it uses `logprobs`"),
        ],
    )
    async def test_what_cannot_be_says_why(self, fields: dict[str, Any], why: str) -> None:
        theatre = Theatre(Engine(Answer(), 3))
        client = await theatre.ask(**fields)
        assert client.error is not None
        assert why in client.error.message
        assert (client.events[-1][1], client.events[-1][2]) == ("worker_connection_lost", True)
        assert theatre.sent() == "a"
        theatre.check()

    async def test_what_has_begun_with_a_tool_call(self) -> None:
        called = {"tool_calls": [{"index": 0, "function": {"name": "f", "arguments": ""}}]}
        event = b'data: {"choices":[{"index":0,"delta":%b}]}\n\n' % json.dumps(called).encode()
        theatre = Theatre(Engine(Answer()))
        have(theatre, streams(*Answer().events(ids=True)[:1], event, end="lost"))
        client = await theatre.ask()
        assert client.error is not None
        assert "it has begun with `tool_calls`" in client.error.message
        assert theatre.metrics.resumed == {"impossible": 1}
        theatre.check()

    async def test_nobody_else_is_there(self) -> None:
        theatre = Theatre(Engine(Answer(), 3), "a")
        client = await theatre.ask()
        assert client.error is not None
        assert client.error.message.endswith("could not be resumed: there is no other worker.")
        assert theatre.metrics.resumed == {"impossible": 1}
        assert theatre.line()["resumed"] == 0
        theatre.check()

    @pytest.mark.parametrize("refusal", [REFUSED, answered(503, b"{}"), answered(500, DRAINING)])
    async def test_a_refusal_to_go_on_is_taken_to_the_next(self, refusal: Script) -> None:
        """To somebody who was not asked yet, while there is one."""
        theatre = Theatre(Engine(Answer(), 3))
        have(theatre, theatre.engine.script(theatre), refusal, theatre.engine.script(theatre))
        theatre.pools["a"].idle = theatre.pools["a"].idle[:1]
        theatre.pools["a"].connects = [refusal] * 9
        client = await theatre.ask()
        assert seen(client.body) == seen(Answer().stream())
        assert theatre.sent() == "abc"
        theatre.check()

    @pytest.mark.parametrize(
        "answer",
        [
            answered(400, b'{"error":{"message":"no","code":400}}'),
            answered(404, b"{}"),
            answered(200, b"{}"),
            streams(*Answer().events(ids=True, start=1)),
            streams(b"data: {\n\n", DONE),
            streams(b'data: {"choices":5}\n\n', DONE),
        ],
        ids=["400", "404", "json", "other tokens", "garbage", "odd"],
    )
    async def test_who_does_not_go_on_is_not_to_blame(self, answer: Script) -> None:
        """It ends the client's answer with an error, and says nothing of the worker."""
        theatre = Theatre(Engine(Answer(), 4))
        have(theatre, theatre.engine.script(theatre), answer, answer)
        client = await theatre.ask()
        assert client.names[-1] == "fail"
        assert b"[DONE]" not in client.body
        text = client.body
        assert text == b"".join(Answer().events(ids=False)[:4])
        b, c = theatre.fleet.get("b:8000"), theatre.fleet.get("c:8000")
        assert b is not None
        assert c is not None
        assert (b.circuit._score, c.circuit._score) == (0, 0)
        theatre.check()

    @pytest.mark.parametrize("status", [200, 400, 404, 422, 429, 500, 503])
    @pytest.mark.parametrize("length", [True, False])
    async def test_what_is_no_stream_is_an_answer(self, status: int, length: bool) -> None:
        body = b'{"error":{"message":"no","code":400}}'

        def script(handler: ResponseHandler) -> None:
            handler.on_response(status, JSON, len(body) if length else None)
            handler.on_body(body)
            handler.on_read()
            handler.on_complete([])

        theatre = Theatre(Engine(Answer()))
        have(theatre, script, script, script)
        client = await theatre.ask()
        assert (client.events[0][1], client.body, client.error) == (status, body, None)
        assert client.names[-1] == "finish"
        assert theatre.metrics.resumed == {}
        theatre.check()

    async def test_what_is_no_stream_and_breaks_off_is_cut_off(self) -> None:
        def script(handler: ResponseHandler) -> None:
            handler.on_response(400, JSON, 50_000)
            handler.on_body(b"{")
            handler.on_read()
            handler.on_lost(errors.worker_lost("w", "before its answer was complete"))

        theatre = Theatre(Engine(Answer()))
        have(theatre, script, script, script)
        client = await theatre.ask()
        assert client.events[-1] == ("fail", "worker_connection_lost", False)
        assert theatre.sent() == "a"
        theatre.check()

    async def test_a_compressed_stream_passes(self) -> None:
        def script(handler: ResponseHandler) -> None:
            handler.on_response(200, [*STREAM, (b"content-encoding", b"gzip")], None)
            handler.on_body(b"\x1f\x8b")
            handler.on_read()
            handler.on_complete([])

        theatre = Theatre(Engine(Answer()))
        have(theatre, script)
        client = await theatre.ask()
        assert (client.body, client.names[-1]) == (b"\x1f\x8b", "finish")
        theatre.check()

    @pytest.mark.parametrize("after", [0, 1, 3])
    async def test_a_worker_that_says_so_and_does_not_end_is_not_waited_for(
        self, after: int
    ) -> None:
        answer = Answer()
        theatre = Theatre(Engine(answer))
        failing = streams(*answer.events(ids=True)[:after], DIED, end="hang")
        have(theatre, failing, theatre.engine.script(theatre))
        client = await theatre.ask()
        assert seen(client.body) == seen(answer.stream())
        assert theatre.pools["a"].connections[0].aborted
        theatre.check()

    async def test_nor_one_that_goes_on_with_something_else(self) -> None:
        theatre = Theatre(Engine(Answer(), 4))
        other = streams(*Answer().events(ids=True, start=1)[:2], end="hang")
        have(theatre, theatre.engine.script(theatre), other)
        client = await theatre.ask()
        assert client.names[-1] == "fail"
        assert theatre.pools["b"].connections[0].aborted
        theatre.check()

    async def test_not_when_the_time_is_over(self) -> None:
        def script(handler: ResponseHandler) -> None:
            streams(*Answer().events(ids=True)[:3], end="hang")(handler)
            OVER(handler)

        theatre = Theatre(Engine(Answer()))
        have(theatre, script, theatre.engine.script(theatre))
        client = await theatre.ask()
        assert client.events[-1] == ("fail", "request_timeout", True)
        assert (theatre.sent(), theatre.suspects) == ("a", [])
        theatre.check()

    async def test_a_stream_in_crlf_passes_as_it_is(self) -> None:
        pieces = [b"data: {}\r\n", b"\r\ndata: ", b"[DONE]\r\n\r", b"\n"]
        theatre = Theatre(Engine(Answer()))
        have(theatre, streams(*pieces))
        client = await theatre.ask()
        assert client.body == b"".join(pieces)
        assert client.names[-1] == "finish"
        theatre.check()

    async def test_the_client_leaves_while_it_goes_on(self) -> None:
        theatre = Theatre(Engine(Answer(), 3))
        have(theatre, theatre.engine.script(theatre), streams(end="hang"))
        journey, client = theatre.begin(request_for("chat"))
        await quiet()
        assert journey.resumed == 1
        theatre.gateway.cancel(journey)
        await quiet()
        assert client.names[-1] not in ("finish", "fail")
        assert theatre.pools["b"].connections[-1].aborted
        theatre.check()


class TestPinged:
    """The client has the head of a stream and comments, and nothing of an answer yet."""

    def begun(self, *scripts: Script, early: bool, resume: bool) -> tuple[Stage, FakeDownstream]:
        stage = Stage(options=AttemptOptions(resume=resume))
        stage.keep_alive._early = early
        have(stage, nothing, *scripts)
        journey, client = stage.begin(request_for("chat"), headers=[(b"x-router-keep-alive", b"1")])
        handler = stage.pools["a"].connections[0].handler
        assert handler is not None
        if not early:
            handler.on_response(200, STREAM, None)
        stage.keep_alive.keep(journey.arrived_at + 2.0)
        assert (client.body, journey.pinged) == (b": ping\n\n", True)
        client.events.clear()
        return stage, client

    @pytest.mark.parametrize("early", [True, False])
    @pytest.mark.parametrize("resume", [True, False])
    async def test_another_worker_can_be_asked(self, early: bool, resume: bool) -> None:
        answer = Answer()
        stage, client = self.begun(streams(*answer.events(ids=resume)), early=early, resume=resume)
        handler = stage.pools["a"].connections[0].handler
        assert handler is not None
        handler.on_lost(errors.worker_lost("a", "before its answer was complete"))
        await quiet()
        assert (client.body, client.names[-1]) == (answer.stream(), "finish")
        assert "start" not in client.names
        stage.check()

    @pytest.mark.parametrize("resume", [True, False])
    @pytest.mark.parametrize("status", [200, 400, 404, 429, 500])
    async def test_an_error_is_an_event(self, resume: bool, status: int) -> None:
        body = b'{"error":{"message":"no","code":%d}}' % status
        stage, client = self.begun(
            answered(status, body), answered(status, body), early=True, resume=resume
        )
        script = answered(status, body)
        handler = stage.pools["a"].connections[0].handler
        assert handler is not None
        script(handler)
        await quiet()
        assert client.body == b"data: " + body + b"\n\n"
        assert client.names[-1] == "finish"
        assert client.error is None
        assert stage.metrics.resumed == {}
        stage.check()

    @pytest.mark.parametrize("resume", [True, False])
    async def test_when_nobody_is_left_it_is_told_in_the_stream(self, resume: bool) -> None:
        stage, client = self.begun(LOST, LOST, early=True, resume=resume)
        handler = stage.pools["a"].connections[0].handler
        assert handler is not None
        handler.on_lost(errors.worker_lost("a", "before answering"))
        await quiet()
        assert client.events[-1] == ("fail", "worker_connection_lost", True)
        assert stage.line()["attempts"] == 3
        stage.check()

    async def test_it_goes_on_elsewhere_behind_its_first_token(self) -> None:
        answer = Answer()
        engine = Engine(answer)
        stage, client = self.begun(early=True, resume=True)
        have(stage, nothing, engine.script(stage))
        handler = stage.pools["a"].connections[0].handler
        assert handler is not None
        streams(*answer.events(ids=True)[:3], end="lost")(handler)
        await quiet()
        assert seen(client.body) == seen(answer.stream())
        assert client.names[-1] == "finish"
        stage.check()


class TestAbandoned:
    """The client left; its answer may go on for a while, for what that leaves in the worker's cache."""

    def left(
        self, script: Script, abandoned_s: float = 5.0, **rest: Any
    ) -> tuple[Stage, FakeDownstream, ResponseHandler]:
        stage = Stage(options=AttemptOptions(abandoned_s=abandoned_s, **rest))
        have(stage, script, answered(), answered())
        journey, client = stage.begin(STREAMING)
        handler = stage.pools["a"].connections[0].handler
        assert handler is not None
        stage.gateway.cancel(journey)
        return stage, client, handler

    @pytest.mark.parametrize("script", [nothing, streams(TOKEN, end="hang")])
    async def test_it_is_awaited(self, script: Script) -> None:
        stage, client, handler = self.left(script)
        (connection,) = stage.pools["a"].connections
        before = list(client.events)
        assert (connection.aborted, client.source) == (False, None)
        assert connection.limits == TimeLimits(total_s=5.0)
        assert sum(worker.load.inflight for worker in stage.fleet) == 1
        (streams(TOKEN, DONE) if script is nothing else streams(DONE))(handler)
        await quiet()
        assert client.events == before, "nobody is told"
        assert stage.line()["outcome"] == "cancelled"
        stage.check()

    @pytest.mark.parametrize("end", [LOST, OVER, REFUSED, answered(500, DRAINING)])
    async def test_however_it_ends_nobody_else_is_asked(self, end: Script) -> None:
        stage, client, handler = self.left(nothing, resume=True)
        end(handler)
        await quiet()
        assert (stage.sent(), client.events) == ("a", [])
        assert stage.line()["outcome"] == "cancelled"
        stage.check()

    async def test_nor_is_a_stream_gone_on_with(self) -> None:
        stage, _, handler = self.left(streams(TOKEN, end="hang"), resume=True)
        handler.on_lost(errors.worker_lost("a", "before its answer was complete"))
        await quiet()
        assert stage.sent() == "a"
        stage.check()

    async def test_usually_it_is_not(self) -> None:
        stage, _, _ = self.left(nothing, abandoned_s=0.0)
        assert stage.pools["a"].connections[0].aborted
        stage.check()

    async def test_what_was_not_sent_is_not_sent(self) -> None:
        stage = Stage(options=AttemptOptions(abandoned_s=5.0))
        stage.pools["a"].connects = [nothing]
        journey, client = stage.begin(STREAMING)
        stage.gateway.cancel(journey)
        await quiet()
        assert (stage.sent(), client.events) == ("", [])
        stage.check()


async def test_each_course_of_events_ends_once() -> None:
    """All sequences of what three workers may do, resuming or not: one end, nothing held."""
    answer = Answer()
    events = answer.events(ids=True)
    kinds: dict[str, Callable[[Stage], Script | Exception]] = {
        "whole": lambda stage: Engine(answer).script(stage),
        "refuses": lambda stage: REFUSED,
        "drains": lambda stage: answered(500, DRAINING),
        "stale": lambda stage: STALE,
        "lost": lambda stage: LOST,
        "late": lambda stage: LATE,
        "over": lambda stage: OVER,
        "dies": lambda stage: streams(*events[:2], end="lost"),
        "fails": lambda stage: streams(*events[:3], DIED, DONE),
        "ends early": lambda stage: streams(*events[:3]),
        "unreachable": lambda stage: UNREACHABLE,
    }
    for resume, course in itertools.product((True, False), itertools.product(kinds, repeat=3)):
        stage = Stage(options=AttemptOptions(resume=resume))
        have(stage, *(kinds[kind](stage) for kind in course))
        client = await stage.serve(request_for("chat"))
        names = client.names
        assert names.count("finish") + names.count("fail") == 1, course
        assert names[-1] in ("finish", "fail"), course
        assert names.count("start") <= 1, course
        assert stage.line()["attempts"] <= 9, course
        stage.check()

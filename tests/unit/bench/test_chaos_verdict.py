"""Answers are held against the one that was due."""

import json
from typing import Any

import pytest

from bench.chaos.reply import DONE, EventReader, Reply, has_text, said
from bench.chaos.schedule import Kind
from bench.chaos.timeline import Timeline
from bench.chaos.verdict import Expected, Verdict, judge

DUE = Expected("one two", "length", 5, 2)
ERROR = {"error": {"message": "it broke", "code": 502}}


def event(text: str = "", reason: str | None = None, ident: str = "a", **more: Any) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": reason}
    return json.dumps({"id": ident, "choices": [choice], **more}).encode()


def usage(completion: int) -> bytes:
    counts = {"prompt_tokens": 5, "completion_tokens": completion}
    return json.dumps({"id": "a", "choices": [], "usage": counts}).encode()


def stream(*events: bytes | dict[str, Any], complete: bool = True) -> Reply:
    data = [each if isinstance(each, bytes) else json.dumps(each).encode() for each in events]
    reply = Reply("router-0", 1.0, 200, "w:1", data, complete=complete)
    reply.failure = "" if complete else "reset"
    reply.begun_at, reply.ended_at = 2.0, 5.0
    return reply


def whole(text: str, reason: str = "length") -> Reply:
    choice = {"message": {"content": text}, "finish_reason": reason}
    reply = stream()
    reply.body = json.dumps({"id": "a", "choices": [choice]}).encode()
    return reply


def failed(status: int = 0, failure: str = "") -> Reply:
    reply = Reply("router-0", 1.0, status, failure=failure, complete=bool(status))
    reply.ended_at = 5.0
    return reply


WELL = (event("one"), event(" two", "length"))


@pytest.mark.parametrize(
    ("reply", "verdict"),
    [
        (stream(*WELL, DONE), Verdict.OK),
        (stream(*WELL, usage(2), DONE), Verdict.OK),
        (stream(*WELL, usage(1), DONE), Verdict.WRONG_USAGE),
        (stream(*WELL), Verdict.TRUNCATED),
        (stream(*WELL, complete=False), Verdict.TRUNCATED),
        (stream(event("one"), complete=False), Verdict.TRUNCATED),
        (stream(event("one"), ERROR), Verdict.IN_BAND),
        (stream(event("one"), ERROR, DONE), Verdict.FAKE_DONE),
        (stream(event("two"), ERROR), Verdict.WRONG),
        (stream(ERROR), Verdict.REFUSED),
        (stream(event("one", "abort"), DONE), Verdict.FAKE_DONE),
        (stream(event("one two", "abort"), DONE), Verdict.FAKE_DONE),
        (stream(event("one", "length"), DONE), Verdict.FAKE_DONE),
        (stream(event("three", "length"), DONE), Verdict.WRONG),
        (stream(event("one two", "stop"), DONE), Verdict.MALFORMED),
        (stream(event("one two", "length"), event("", "length"), DONE), Verdict.MALFORMED),
        (stream(event("one", ident="b"), event(" two", "length"), DONE), Verdict.MALFORMED),
        (stream(*WELL, DONE, DONE), Verdict.MALFORMED),
        (stream(event("one", "length"), event(" two"), DONE), Verdict.MALFORMED),
        (stream(b"{", DONE), Verdict.MALFORMED),
        (whole("one two"), Verdict.OK),
        (whole("one", "abort"), Verdict.TRUNCATED),
        (failed(503), Verdict.REFUSED),
        (failed(failure="refused"), Verdict.REFUSED),
        (failed(200, "timeout"), Verdict.TIMEOUT),
    ],
)
def test_what_became_of_it(reply: Reply, verdict: Verdict) -> None:
    assert judge(reply, DUE, Timeline()).verdict is verdict


@pytest.mark.parametrize(
    ("kind", "began", "ended", "verdict"),
    [
        (Kind.KILL, 3.0, 4.0, Verdict.RESUMED),
        (Kind.KILL, 1.0, 4.0, Verdict.OK),
        (Kind.HANG, 3.0, 9.0, Verdict.RESUMED),
        (Kind.HANG, 3.0, 4.0, Verdict.OK),
        (Kind.DRAIN, 3.0, 9.0, Verdict.OK),
    ],
)
def test_a_good_answer_of_a_worker_that_failed_was_resumed(
    kind: Kind, began: float, ended: float, verdict: Verdict
) -> None:
    timeline = Timeline()
    timeline.begin(kind, "w:1", began).ended = ended
    assert judge(stream(*WELL, DONE), DUE, timeline).verdict is verdict
    assert judge(stream(*WELL), DUE, timeline).verdict is Verdict.TRUNCATED


def test_a_router_that_is_killed_takes_its_streams_along() -> None:
    timeline = Timeline()
    timeline.begin(Kind.ROUTER_KILL, "router-0", 3.0)
    cut = stream(event("one"), complete=False)
    assert judge(cut, DUE, timeline).verdict is Verdict.ROUTER_KILLED
    assert judge(stream(event("no"), complete=False), DUE, timeline).verdict is Verdict.WRONG
    assert judge(stream(event("one")), DUE, timeline).verdict is Verdict.TRUNCATED
    cut.router = "router-1"
    assert judge(cut, DUE, timeline).verdict is Verdict.TRUNCATED


def test_a_dead_engine_says_done_itself() -> None:
    timeline = Timeline()
    timeline.begin(Kind.ENGINE_DEAD, "w:1", 3.0)
    assert judge(stream(event("one"), ERROR, DONE), DUE, timeline).verdict is Verdict.IN_BAND_DONE
    assert judge(stream(ERROR, DONE), DUE, timeline).verdict is Verdict.REFUSED


def test_only_losses_are_lost() -> None:
    fine = {each for each in Verdict if not each.lost}
    assert fine == {
        *(Verdict.OK, Verdict.RESUMED, Verdict.IN_BAND),
        *(Verdict.IN_BAND_DONE, Verdict.ROUTER_KILLED),
    }


def test_events_are_found_wherever_the_stream_is_cut() -> None:
    raw = b": ping\n\ndata: {}\n\nevent: x\ndata: [DONE]\n\n"
    for cut in range(len(raw)):
        reader = EventReader()
        assert reader.feed(raw[:cut]) + reader.feed(raw[cut:]) == [b"{}", DONE]


def test_first_text() -> None:
    assert has_text(event("x"))
    assert not any(map(has_text, (event(""), DONE, b"{", usage(1), b'{"choices"')))


def test_completions_are_read_too() -> None:
    choice = {"text": "one two", "finish_reason": "length"}
    reply = stream({"id": "a", "choices": [choice]}, DONE)
    assert said(reply).text == "one two"
    assert judge(reply, DUE, Timeline()).verdict is Verdict.OK


def test_timeline() -> None:
    timeline = Timeline()
    first = timeline.begin(Kind.ROUTER_DRAIN, "router-0", 3.0)
    assert timeline.leaving("router-0", 4.0) is Kind.ROUTER_DRAIN
    assert timeline.any(1.0, 3.0)
    assert not timeline.any(1.0, 2.9)
    first.ended = 5.0
    assert timeline.leaving("router-0", 6.0) is None
    assert not timeline.any(5.1, 6.0)
    timeline.begin(Kind.KILL, "w:1", 7.0)
    assert timeline.counts() == {"kill": 1, "router_drain": 1}

"""The question that a request asks: its prompt, its candidates, and why there is only one."""

from dataclasses import replace
from time import perf_counter
from typing import Any

import pytest

from router.engines.base import Condition, WorkerReport
from router.errors import RouterError
from router.fleet.ranks import RANK
from router.fleet.target import Service
from router.ids import WorkerId
from router.prompt.identity import TextIdentity
from router.routing.affinity import ResponseHomes
from router.routing.intake import HOME, PINNED, Intake
from router.routing.policy import Question
from tests.unit.support import chat, fleet_of, request

ASKED = chat("word " * 100)


class Desk:
    """An intake before workers `a` and `b`."""

    def __init__(self) -> None:
        self.fleet = fleet_of("a", "b")
        self.homes = ResponseHomes()
        self.overlaps = {WorkerId("b:8000"): 2}
        self.intake = Intake(self.fleet, TextIdentity(), self.homes, lambda _: self.overlaps)

    def ask(self, body: dict[str, Any] | None = None, **rest: Any) -> tuple[Question, str]:
        return self.intake.question(request(ASKED if body is None else body, **rest), 5.0)


@pytest.fixture
def desk() -> Desk:
    return Desk()


def names(question: Question) -> str:
    return "".join(worker.id[0] for worker in question.candidates)


def test_all_that_serve_its_model(desk: Desk) -> None:
    question, bound = desk.ask()
    assert (names(question), bound) == ("ab", "")
    assert question.identity == TextIdentity().identify(request(ASKED))
    assert question.overlaps is desk.overlaps
    assert question.arrived_at == 5.0
    assert question.now > 5.0
    assert question.tried == ()


def test_nobody_serves_it(desk: Desk) -> None:
    with pytest.raises(RouterError) as caught:
        desk.ask({**ASKED, "model": "other"})
    assert caught.value.code == "model_not_found"


def test_it_names_its_worker(desk: Desk) -> None:
    question, bound = desk.ask(headers=[(b"x-router-worker", b"b:8000")])
    assert (names(question), bound) == ("b", PINNED)


def test_the_named_one_need_not_be_up_nor_serve_its_model(desk: Desk) -> None:
    (_, b) = desk.fleet
    desk.fleet.mark_down(b, "away")
    headers = [(b"x-router-worker", b"b:8000")]
    question, bound = desk.ask({**ASKED, "model": "other"}, headers=headers)
    assert (names(question), bound) == ("b", PINNED)


def test_it_names_a_worker_that_is_not_there(desk: Desk) -> None:
    with pytest.raises(RouterError) as caught:
        desk.ask(headers=[(b"x-router-worker", b"z:1")])
    assert caught.value.code == "unknown_worker"


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {"model": "m", "input": "q", "previous_response_id": "resp_1"}),
        ("/v1/responses/resp_1", {}),
        ("/v1/responses/resp_1/cancel", {}),
    ],
)
def test_one_stores_what_it_refers_to(desk: Desk, path: str, body: dict[str, Any]) -> None:
    assert desk.ask(body, path=path)[1] == ""
    desk.homes.remember("resp_1", WorkerId("b:8000"))
    question, bound = desk.ask(body, path=path)
    assert (names(question), bound) == ("b", HOME)


def test_a_home_that_is_down_is_none(desk: Desk) -> None:
    desk.homes.remember("resp_1", WorkerId("b:8000"))
    (_, b) = desk.fleet
    desk.fleet.mark_down(b, "away")
    body = {"model": "m", "input": "q", "previous_response_id": "resp_1"}
    question, bound = desk.ask(body, path="/v1/responses")
    assert (names(question), bound) == ("a", "")


@pytest.mark.parametrize("idle", ["drained", "ejected", "asleep", "all drained"])
def test_a_home_that_is_given_nothing_else_is_one(desk: Desk, idle: str) -> None:
    """Nobody else could answer."""
    desk.homes.remember("resp_1", WorkerId("b:8000"))
    (a, b) = desk.fleet
    if idle == "ejected":
        b.circuit.pause(60.0, perf_counter())
        desk.fleet.hold_back(b)
    elif idle == "asleep":
        desk.fleet.set_condition(b, Condition.ASLEEP)
    else:
        for worker in (b,) if idle == "drained" else (a, b):
            worker.target = replace(worker.target, drained=True)
    question, bound = desk.ask({}, path="/v1/responses/resp_1")
    assert (names(question), bound) == ("b", HOME)


def test_a_service_is_nobodys_home(desk: Desk) -> None:
    desk.homes.remember("resp_1", WorkerId("b:8000"))
    (_, b) = desk.fleet
    b.target = replace(b.target, service=Service(models={"m": "there"}))
    question, bound = desk.ask({}, path="/v1/responses/resp_1")
    assert (names(question), bound) == ("a", "")


REFERS = {"model": "m", "input": "q", "previous_response_id": "resp_1"}


@pytest.mark.parametrize(
    ("path", "body", "unknown"),
    [
        ("/v1/responses", REFERS, "resp_1"),
        ("/v1/responses/resp_1", {}, "resp_1"),
        ("/v1/responses/resp_1/cancel", {}, "resp_1"),
        ("/v1/responses", {"model": "m", "input": "q"}, None),
        ("/v1/chat/completions", {**ASKED, "previous_response_id": "resp_1"}, None),
    ],
)
def test_what_it_refers_to_and_nobody_is_known_to_store(
    desk: Desk, path: str, body: dict[str, Any], unknown: str | None
) -> None:
    asked = request(body, path=path)
    assert desk.intake.unknown_home(asked) == unknown
    desk.homes.remember("resp_2", WorkerId("b:8000"))
    assert desk.intake.unknown_home(asked) == unknown
    desk.homes.remember("resp_1", WorkerId("b:8000"))
    assert desk.intake.unknown_home(asked) is None


def test_what_another_router_says_counts_and_is_not_told_again(desk: Desk) -> None:
    told: list[str] = []
    desk.homes.on_stored = lambda response_id, _: told.append(response_id)
    desk.intake.remember("resp_1", WorkerId("b:8000"))
    question, bound = desk.ask(REFERS, path="/v1/responses")
    assert (names(question), bound) == ("b", HOME)
    assert told == []


def test_a_home_that_is_not_known_here_is_none(desk: Desk) -> None:
    desk.intake.remember("resp_1", WorkerId("z:8000"))
    question, bound = desk.ask(REFERS, path="/v1/responses")
    assert (names(question), bound) == ("ab", "")


class TestRanks:
    """Worker `b` has three."""

    def desk(self) -> Desk:
        desk = Desk()
        (_, b) = desk.fleet
        desk.fleet.set_report(b, WorkerReport({"m": {}}, ranks=3))
        return desk

    @pytest.mark.parametrize(
        ("said", "candidates"),
        [
            ([], "a:8000 b:8000 b:8000#1 b:8000#2"),
            ([(RANK, b"2")], "a:8000 b:8000#2"),
            ([(RANK, b"9")], "a:8000"),
            ([(RANK, b"?")], "a:8000 b:8000 b:8000#1 b:8000#2"),
            ([(b"x-router-worker", b"b:8000#1")], "b:8000#1"),
            ([(b"x-router-worker", b"b:8000"), (RANK, b"2")], "b:8000#2"),
            ([(b"x-router-worker", b"b:8000#1"), (RANK, b"?")], "b:8000#1"),
            ([(b"x-router-worker", b"b:8000#1"), (RANK, b"9")], "b:8000#1"),
            ([(b"x-router-worker", b"a:8000"), (RANK, b"2")], "a:8000"),
        ],
    )
    def test_it_says_its_rank(self, said: list[tuple[bytes, bytes]], candidates: str) -> None:
        question, _ = self.desk().ask(headers=said)
        assert " ".join(worker.id for worker in question.candidates) == candidates

    @pytest.mark.parametrize(("said", "home"), [([], "b:8000#1"), ([(RANK, b"2")], "b:8000#2")])
    def test_all_ranks_of_a_server_store_the_same(
        self, said: list[tuple[bytes, bytes]], home: str
    ) -> None:
        desk = self.desk()
        desk.homes.remember("resp_1", WorkerId("b:8000#1"))
        body = {"model": "m", "input": "q", "previous_response_id": "resp_1"}
        question, bound = desk.ask(body, path="/v1/responses", headers=said)
        assert ([worker.id for worker in question.candidates], bound) == ([home], HOME)

    def test_who_could_serve_it_later(self) -> None:
        desk = self.desk()
        asked = request(ASKED, headers=[(b"x-router-worker", b"a:8000"), (RANK, b"1")])
        assert [worker.id for worker in desk.intake.able(asked)] == ["a:8000", "b:8000#1"]

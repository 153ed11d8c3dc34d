"""When the queue is looked at: soon after a change, every so often while somebody waits, and else never."""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest

from router.errors import SHUTTING_DOWN, RouterError
from router.fleet.worker import Worker
from router.index.union import UnionIndex
from router.prompt.identity import TextIdentity
from router.routing import dispatch as module
from router.routing.chooser import Chooser
from router.routing.cost import CostModel, Rates
from router.routing.dispatch import Dispatch
from router.routing.policy import Choice, Decision, Preview, Question, Waiter
from router.telemetry.metrics import LOOKUP_BUCKETS_S, Histogram
from tests.unit.support import FakeWaiter, chat, request, workers_of

ASKED = request(chat("word"))
IDENTITY = TextIdentity().identify(ASKED)


class ScriptedAdmission:
    """Has nobody wait unless told to; counts what it is asked."""

    name = "scripted"

    def __init__(self, chooser: Chooser, reason: str) -> None:
        self.waiting: list[Waiter] = []
        self.drains = 0
        self.expired: list[float] = []
        self.closed: list[RouterError] = []
        self.defect = False
        self._chooser = chooser
        self._reason = reason

    def __len__(self) -> int:
        return len(self.waiting)

    def offer(self, question: Question) -> Decision | None:
        choice = Choice(question.candidates[0], self._reason)
        return self._chooser.expect(self.name, choice, question)

    def preview(self, question: Question) -> Preview:
        return Preview([Choice(question.candidates[0], self._reason)])

    def wait(self, question: Question, waiter: Waiter) -> None:
        self.waiting.append(waiter)

    def withdraw(self, waiter: Waiter) -> None:
        self.waiting.remove(waiter)

    def drain(self, now: float) -> None:
        self.drains += 1
        if self.defect:
            raise ZeroDivisionError

    def expire(self, now: float) -> None:
        self.expired.append(now)

    def close(self, error: RouterError) -> None:
        self.closed.append(error)
        self.waiting.clear()


class Desk:
    """A dispatch between two scripted admissions."""

    def __init__(self) -> None:
        index = UnionIndex()
        self.chooser = Chooser(index, CostModel(Rates()), Histogram(LOOKUP_BUCKETS_S))
        self.main = ScriptedAdmission(self.chooser, "main")
        self.aside = ScriptedAdmission(self.chooser, "aside")
        self.asked: list[Any] = []
        self.dispatch = Dispatch(self.chooser, self.main, self.aside, self.caller)

    def caller(self, asked: Any) -> tuple[str, int]:
        self.asked.append(asked)
        return "blue", 7

    def wait(self) -> FakeWaiter:
        waiter = FakeWaiter()
        self.dispatch.wait(question(workers_of("a")), waiter)
        return waiter


def question(workers: list[Worker]) -> Question:
    return Question(ASKED, IDENTITY, workers, {}, 1.0)


@pytest.fixture
def desk() -> Iterator[Desk]:
    desk = Desk()
    yield desk
    desk.dispatch.close(SHUTTING_DOWN)


class TestDeciding:
    @pytest.mark.parametrize(
        ("bound", "works", "reason"),
        [
            ("", True, "main"),
            ("", False, "aside"),
            ("pinned", True, "pinned"),
            ("home", False, "home"),
        ],
    )
    def test_who_decides(self, desk: Desk, bound: str, works: bool, reason: str) -> None:
        a, b = workers_of("a", "b")
        decision = desk.dispatch.decide(question([a, b]), bound=bound, works=works)
        assert decision is not None
        assert (decision.worker, decision.policy, decision.reason) == (a, "scripted", reason)
        assert desk.asked == [], "tenants and priorities are for those that wait"
        preview = desk.dispatch.preview(question([a, b]), bound=bound, works=works)
        assert preview == Preview([Choice(a, reason)])

    async def test_those_that_wait_have_a_tenant_and_a_priority(self, desk: Desk) -> None:
        asked = question(workers_of("a"))
        desk.dispatch.wait(asked, FakeWaiter())
        assert (asked.tenant, asked.priority) == ("blue", 7)
        assert desk.asked == [ASKED]

    async def test_withdrawing(self, desk: Desk) -> None:
        waiter = desk.wait()
        assert len(desk.dispatch) == 1
        desk.dispatch.withdraw(waiter)
        assert len(desk.dispatch) == 0


class TestTime:
    def test_a_change_nobody_waits_for_needs_no_loop(self, desk: Desk) -> None:
        desk.dispatch.stir()
        assert desk.main.drains == 0

    async def test_changes_in_one_turn_are_one_look_in_the_next(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "LOOK_S", 1000.0)
        desk.wait()
        for _ in range(3):
            desk.dispatch.stir()
        assert desk.main.drains == 0
        await asyncio.sleep(0)
        assert desk.main.drains == 1
        desk.dispatch.stir()
        await asyncio.sleep(0)
        assert desk.main.drains == 2

    async def test_it_looks_every_so_often_while_somebody_waits(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "LOOK_S", 0.001)
        waiter = desk.wait()
        desk.wait()
        async with asyncio.timeout(2):
            while desk.main.drains < 5:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        desk.main.waiting.clear()
        await asyncio.sleep(0.01)
        seen = desk.main.drains
        await asyncio.sleep(0.01)
        assert desk.main.drains == seen
        assert desk.dispatch._later is None
        assert waiter.decisions == []

    async def test_one_timer_is_enough(self, desk: Desk) -> None:
        desk.wait()
        timer = desk.dispatch._later
        desk.wait()
        desk.dispatch.stir()
        await asyncio.sleep(0)
        assert desk.dispatch._later is timer is not None

    async def test_a_defect_does_not_stop_the_looking(
        self, desk: Desk, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr(module, "LOOK_S", 0.001)
        told: list[Any] = []
        asyncio.get_running_loop().set_exception_handler(lambda loop, what: told.append(what))
        desk.main.defect = True
        desk.wait()
        async with asyncio.timeout(2):
            while desk.main.drains < 3:  # noqa: ASYNC110
                await asyncio.sleep(0.001)
        assert isinstance(told[0]["exception"], ZeroDivisionError)

    async def test_keeping_turns_away_and_looks(self, desk: Desk) -> None:
        desk.wait()
        desk.dispatch.keep(5.0)
        assert desk.main.expired == [5.0]
        await asyncio.sleep(0)
        assert desk.main.drains == 1

    async def test_the_end(self, desk: Desk) -> None:
        desk.wait()
        desk.dispatch.stir()
        soon, later = desk.dispatch._soon, desk.dispatch._later
        assert soon is not None
        assert later is not None
        desk.dispatch.close(SHUTTING_DOWN)
        assert desk.main.closed == [SHUTTING_DOWN]
        assert soon.cancelled()
        assert later.cancelled()

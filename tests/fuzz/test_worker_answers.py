"""Odd answers of workers: clients get one whole answer, an error or an end, and the next request its own answer."""

import pytest

from tests.component.conftest import StartRouter
from tests.fuzz.cases import framed
from tests.fuzz.raw_worker import RawWorker, Seen, echo
from tests.fuzz.talk import Talk, talking
from tests.fuzz.worker_answers import CASES, Case

ODD, BEHIND = b"odd", b"behind"


class Odd(RawWorker):
    """Answers requests with the marker `ODD` as the case says."""

    def __init__(self) -> None:
        super().__init__(self._answer)
        self.case = CASES[0]

    def play(self, case: Case) -> None:
        """From now on."""
        self.case = case
        self.last = {ODD} if case.closes else set()

    def _answer(self, request: Seen) -> bytes:
        return self.case.raw if request.first(b"x-marker") == ODD else echo(request)


async def differences(port: int, worker: Odd, case: Case) -> list[str]:
    """What is not as the case says."""
    worker.play(case)
    async with talking(port) as talk:
        await talk.send([framed(b"X-Marker: " + ODD)])
        if case.cut:
            await talk.until_closed()
            return [f"{case.name}: {answer}" for answer in talk.answers()]
        await talk.until(1)
        answers = talk.answers()
        found = []
        if [each.status for each in answers] != [case.status]:
            found.append(f"{case.name}: {answers} instead of {case.status}")
        elif case.body is not None and answers[0].body != case.body:
            found.append(f"{case.name}: {answers[0].body!r} instead of {case.body!r}")
        if not talk.closed:
            return found + await _next(talk, case)
    async with talking(port) as talk:
        return found + await _next(talk, case)


async def _next(talk: Talk, case: Case) -> list[str]:
    before = len(talk.answers())
    await talk.send([framed(b"X-Marker: " + BEHIND)])
    await talk.until(before + 1)
    markers = [each.marker for each in talk.answers()[before:]]
    return [] if markers == [BEHIND] else [f"{case.name}: the next request got {markers}"]


async def test_answers(start_router: StartRouter) -> None:
    found = []
    async with Odd() as worker:
        router = await start_router(worker.url)
        for case in CASES:
            if not case.defect:
                found += await differences(router.port, worker, case)
        assert not worker.faults
        assert router.workers[0].up
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=pytest.mark.xfail(strict=True, reason=case.defect))
        for case in CASES
        if case.defect
    ],
)
async def test_defects(case: Case, start_router: StartRouter) -> None:
    async with Odd() as worker:
        router = await start_router(worker.url)
        assert not await differences(router.port, worker, case)

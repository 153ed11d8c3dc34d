"""Odd requests, in whatever pieces: workers get one unambiguous request or none, and connections stay in step."""

import pytest

from tests.component.conftest import StartRouter
from tests.fuzz import framing, heads
from tests.fuzz.cases import BODY, Case, framed
from tests.fuzz.raw_worker import RawWorker
from tests.fuzz.talk import talking

CASES = [*framing.CASES, *heads.CASES]
MARK = b"behind"


async def differences(port: int, worker: RawWorker, case: Case, step: int) -> list[str]:
    """What is not as the case says, when `step` bytes are written at a time."""
    worker.seen.clear()
    pieces = [case.raw[at : at + step] for at in range(0, len(case.raw), step)]
    async with talking(port) as talk:
        await talk.send(pieces)
        await talk.until(len(case.answers))
        if (got := tuple(each.status for each in talk.answers())) != case.answers:
            return [f"{case.name}: answers {got} instead of {case.answers}"]
        if case.closes:
            await talk.until_closed()
        else:
            await talk.send([framed(b"X-Marker: " + MARK)])
            await talk.until(len(case.answers) + 1)
        answers = talk.answers()
    behind = answers[len(case.answers) :]
    bodies = tuple(each.body for each in worker.seen if each.first(b"x-marker") != MARK)
    found = []
    if bodies != case.bodies:
        found.append(f"{case.name}: workers got {bodies} instead of {case.bodies}")
    if [(each.marker, each.body) for each in behind] != ([] if case.closes else [(MARK, BODY)]):
        found.append(f"{case.name}: the next request got {behind}")
    return found


def test_names_are_unique() -> None:
    names = [case.name for part in (framing.CASES, heads.CASES) for case in part]
    assert len(names) == len(set(names))


@pytest.mark.parametrize("step", [1 << 20, 7], ids=["at once", "in pieces"])
@pytest.mark.parametrize("part", [framing.CASES, heads.CASES], ids=["framing", "heads"])
async def test_requests(
    part: list[Case], step: int, raw_worker: RawWorker, start_router: StartRouter
) -> None:
    router = await start_router(raw_worker.url)
    found = []
    for case in part:
        if not case.defect and (step > 7 or len(case.raw) < 2000):
            found += await differences(router.port, raw_worker, case, step)
    assert not found, "\n".join(found)


@pytest.mark.parametrize(
    "case",
    [
        pytest.param(case, id=case.name, marks=pytest.mark.xfail(strict=True, reason=case.defect))
        for case in CASES
        if case.defect
    ],
)
async def test_defects(case: Case, raw_worker: RawWorker, start_router: StartRouter) -> None:
    router = await start_router(raw_worker.url)
    assert not await differences(router.port, raw_worker, case, 1 << 20)

"""What we take for some number of requests, nginx takes for as many, or it is known why not."""

from pathlib import Path

import pytest

from tests.component.conftest import StartRouter
from tests.fuzz import framing, heads
from tests.fuzz.cases import Case
from tests.fuzz.nginx import binary, proxying
from tests.fuzz.raw_worker import RawWorker
from tests.fuzz.talk import talking

QUIET_S = 0.1
"""When an answer has not come by then, hanging up brings it or the end."""


async def requests_seen(port: int, worker: RawWorker, case: Case) -> int:
    """How many requests reach the worker when `case` is sent to a proxy before it."""
    worker.seen.clear()
    async with talking(port) as talk:
        await talk.send([case.raw])
        await talk.until(len(case.answers))
        while await talk.read(QUIET_S):  # is there more than was to be expected?
            pass
    return len(worker.seen)


@pytest.mark.parametrize("part", [framing.CASES, heads.CASES], ids=["framing", "heads"])
async def test_as_many_requests(
    part: list[Case], raw_worker: RawWorker, start_router: StartRouter, tmp_path: Path
) -> None:
    program = binary()
    if program is None:
        pytest.skip("NGINX IS NOT COMPARED WITH: the nginx command is missing")
    router = await start_router(raw_worker.url)
    found = []
    async with RawWorker() as other, proxying(program, other.port, tmp_path) as port:
        for case in part:
            ours = await requests_seen(router.port, raw_worker, case)
            theirs = await requests_seen(port, other, case) if ours else 0
            if (ours != theirs) is not bool(case.nginx):
                found.append(f"{case.name}: {ours} requests for us, {theirs} for nginx")
    assert not found, "\n".join(found)

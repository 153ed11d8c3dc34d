"""Whatever the router itself is asked: an answer that is no error of ours."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.component.conftest import StartRouter
from tests.component.harness import RunningRouter
from tests.fuzz.cases import post
from tests.fuzz.limits import FUZZ
from tests.fuzz.mutations import mutated
from tests.fuzz.raw_worker import RawWorker
from tests.fuzz.talk import talking
from tests.fuzz.test_bodies import BITS, SEEDS

TARGETS = [
    b"/explain",
    b"/explain?endpoint=/v1/chat/completions",
    b"/explain?endpoint=/v1/completions&policy=cost",
    b"/workers",
    b"/workers/x/drain",
    b"/v1/models/m",
    b"/v1/models",
    b"/metrics",
    b"/ready",
]
WORDS = [
    *BITS,
    b"endpoint=",
    b"policy=",
    b"%00",
    b"%ff",
    b"%",
    b"/",
    b"//",
    b"..",
    b"?",
    b"&",
    b"=",
]


@pytest.fixture
async def asked(raw_worker: RawWorker, start_router: StartRouter) -> RunningRouter:
    """One router for all examples."""
    return await start_router(raw_worker.url)


@FUZZ
@given(
    method=st.sampled_from([b"POST", b"GET", b"PUT", b"DELETE", b"OPTIONS"]),
    target=mutated(TARGETS, WORDS).map(lambda data: bytes(b for b in data if 32 < b < 127)),
    body=mutated(SEEDS, BITS),
)
async def test_own_routes(
    method: bytes,
    target: bytes,
    body: bytes,
    asked: RunningRouter,
    raw_worker: RawWorker,
    caplog: pytest.LogCaptureFixture,
) -> None:
    length = b"Content-Length: %d" % len(body)
    async with talking(asked.port) as talk:
        await talk.send([post(length, body=body, method=method, target=b"/" + target.lstrip(b"/"))])
        await talk.until(1)
        answers = talk.answers()
    assert [each.status for each in answers if each.status >= 500] == []
    assert answers
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert not errors, errors
    assert not raw_worker.faults

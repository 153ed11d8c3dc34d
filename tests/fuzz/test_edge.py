"""Whatever a client sends, in whatever pieces: answers or an end, each request its own answer, nothing in the log."""

import gzip
import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.component.conftest import StartRouter
from tests.component.harness import RunningRouter
from tests.fuzz.cases import BODY, CHAT, CHUNKED, CHUNKS, HIDDEN, chunked, framed, post
from tests.fuzz.heads import UPGRADE
from tests.fuzz.limits import FUZZ
from tests.fuzz.mutations import CUTS, mutated, pieces
from tests.fuzz.raw_worker import RawWorker
from tests.fuzz.talk import talking

QUIET_S = 0.03
"""Nothing came for so long: what was sent may be only a part of a request."""

ZIPPED = gzip.compress(BODY)
SEEDS = [
    framed(b"X-Marker: odd"),
    framed(b"X-Marker: odd", target=b"http://x" + CHAT),
    framed(b"X-Marker: odd", version=b"HTTP/1.0"),
    framed(b"Expect: 100-continue"),
    framed(*UPGRADE),
    chunked(CHUNKS, *UPGRADE),
    chunked(b"6;a=b\r\n" + BODY[:6] + b"\r\n7\r\n" + BODY[6:] + b"\r\n0\r\nX: y\r\n\r\n"),
    post(method=b"GET", target=b"/v1/models"),
    post(method=b"GET", target=b"/health"),
    post(method=b"OPTIONS", target=b"*"),
    post(b"Content-Length: 2", body=b"{}", target=b"/v1/messages?beta=true"),
    post(b"Content-Encoding: gzip", b"Content-Length: %d" % len(ZIPPED), body=ZIPPED),
    framed() + HIDDEN,
]
WORDS = [
    *(b"\r\n", b"\n", b"\r", b"\0", b"\t", b" ", b":", b",", b";", b"0\r\n\r\n", b"\r\n\r\n", b"%0d%0a"),
    *(b"Content-Length: 5\r\n", b"Content-Length: 0\r\n", b"content-length: 4294967296\r\n", b"-1", b"+1"),
    *(CHUNKED + b"\r\n", b"Transfer-Encoding: gzip\r\n", b"chunked", b"ffffffffffffffff\r\n", b"5\r\n"),
    *(b"Connection: close\r\n", b"Connection: keep-alive, x-marker\r\n", b"Connection: Upgrade\r\n"),
    *(b"Upgrade: websocket\r\n", b"Expect: 100-continue\r\n", b"Host: y\r\n", b"Trailer: x\r\n"),
    *(b" HTTP/1.1\r\n", b" HTTP/1.0\r\n", b"HEAD ", b"GET ", b"CONNECT ", b"PRI * HTTP/2.0", b"/../"),
    *("é".encode(), b"\xff", b"\x7f", b"X-Router-Worker: x\r\n", b"X-Request-Id: \xff\r\n", HIDDEN),
    *(b"X-Router-Resume: on\r\n", b"X-Router-Keep-Alive: 0.01\r\n", b"Content-Encoding: deflate\r\n"),
]  # fmt: skip
VALID = [
    framed(b"X-Marker: valid-%d" % number, target=b"/v1/completions") for number in range(1, 3)
]
MARKS = [b"valid-1", b"valid-2"]


async def converse(router: RunningRouter, sent: list[bytes]) -> None:
    """Send, and judge what comes back."""
    async with talking(router.port) as talk:
        await talk.send(sent)
        while not any(answer.marker == MARKS[-1] for answer in talk.answers()):
            if not await talk.read(QUIET_S):
                talk.hang_up()
                await talk.until_closed()
                break
        marks = [answer.marker for answer in talk.answers() if answer.marker in MARKS]
        assert marks in ([], MARKS[:1], MARKS[1:], MARKS), "answers in another order"
        for answer in talk.answers():
            assert answer.marker not in MARKS or (answer.status, answer.body) == (200, BODY)


async def check(router: RunningRouter, worker: RawWorker, caplog: pytest.LogCaptureFixture) -> None:
    """Nothing was damaged."""
    assert not worker.faults, worker.faults
    worker.seen.clear()
    errors = [record.getMessage() for record in caplog.records if record.levelno >= logging.ERROR]
    assert not errors, errors
    async with talking(router.port) as talk:
        await talk.send(VALID)
        await talk.until(2)
        assert [answer.marker for answer in talk.answers()] == MARKS


@FUZZ
@given(data=mutated(SEEDS, WORDS), cuts=CUTS)
async def test_mutated_requests(
    data: bytes,
    cuts: list[int],
    raw_worker: RawWorker,
    fuzzed: RunningRouter,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await converse(fuzzed, pieces(data + b"".join(VALID), cuts))
    await check(fuzzed, raw_worker, caplog)


@FUZZ
@given(data=st.binary(max_size=200), cuts=CUTS)
async def test_noise(
    data: bytes,
    cuts: list[int],
    raw_worker: RawWorker,
    fuzzed: RunningRouter,
    caplog: pytest.LogCaptureFixture,
) -> None:
    await converse(fuzzed, pieces(data + b"".join(VALID), cuts))
    await check(fuzzed, raw_worker, caplog)


@pytest.fixture
async def fuzzed(raw_worker: RawWorker, start_router: StartRouter) -> RunningRouter:
    """One router for all examples."""
    return await start_router(raw_worker.url)

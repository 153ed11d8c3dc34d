"""However a worker's stream is cut into reads: the client gets its bytes, whole, and the next request its own."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.component.conftest import StartRouter
from tests.component.harness import RunningRouter
from tests.fuzz.cases import framed
from tests.fuzz.limits import FUZZ
from tests.fuzz.mutations import CUTS
from tests.fuzz.raw_worker import RawWorker, Seen
from tests.fuzz.talk import talking

ROLE = b'data: {"id":"chatcmpl-1","created":1,"choices":[{"delta":{"role":"assistant","content":""}}]}\n\n'
TOKEN = b'data: {"id":"chatcmpl-1","created":1,"choices":[{"delta":{"content":"a \\"usage\\": {"}}]}\n\n'
USAGE = (
    b'data: {"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2,"total_tokens":7}}\n\n'
)
DONE = b"data: [DONE]\n\n"
EVENTS = st.lists(
    st.sampled_from([ROLE, TOKEN, TOKEN, USAGE, b": keep-alive\n\n", b"event: x\ndata: {}\n\n"])
    | st.binary(min_size=1, max_size=20),
    max_size=8,
)


def stream(body: bytes, chunks: list[int]) -> bytes:
    """A chunked answer; `chunks` are the sizes of its chunks, in turn."""
    out = [
        b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
    ]
    at, turn = 0, 0
    while at < len(body):
        part = body[at : at + chunks[turn % len(chunks)]]
        out.append(b"%x\r\n%b\r\n" % (len(part), part))
        at, turn = at + len(part), turn + 1
    return b"".join((*out, b"0\r\n\r\n"))


@pytest.fixture
async def streaming(raw_worker: RawWorker, start_router: StartRouter) -> RunningRouter:
    """One router for all examples."""
    return await start_router(raw_worker.url)


@FUZZ
@given(events=EVENTS, chunks=st.lists(st.integers(1, 300), min_size=1, max_size=4), cuts=CUTS)
async def test_any_cuts(
    events: list[bytes],
    chunks: list[int],
    cuts: list[int],
    raw_worker: RawWorker,
    streaming: RunningRouter,
) -> None:
    body = b"".join((*events, DONE))

    def script(request: Seen) -> bytes:
        return stream(body, chunks)

    raw_worker.script, raw_worker.cuts = script, cuts
    async with talking(streaming.port) as talk:
        for number in range(1, 3):
            await talk.send([framed()])
            await talk.until(number)
        assert [(answer.status, answer.body) for answer in talk.answers()] == [(200, body)] * 2

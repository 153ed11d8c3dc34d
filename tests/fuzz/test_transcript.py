"""A stream that can be continued elsewhere: the client sees the same however it is cut, and nothing fails it."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.proxy.transcript import DivergedError, Transcript
from tests.fuzz.limits import FUZZ
from tests.fuzz.mutations import CUTS, mutated, pieces

FIRST = (
    b'data: {"id":"chatcmpl-1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,'
    b'"delta":{"role":"assistant","content":""},"finish_reason":null}],"prompt_token_ids":[1,2]}\n\n'
)
TOKEN = (
    b'data: {"id":"chatcmpl-1","created":1,"choices":[{"index":0,"delta":{"content":"a \\"token_ids\\":[1]"},'
    b'"finish_reason":null,"token_ids":[7]}]}\n\n'
)
SILENT = TOKEN.replace(b'"content":"a \\"token_ids\\":[1]"', b'"content":""')
LAST = TOKEN.replace(b'"finish_reason":null', b'"finish_reason":"stop"')
USAGE = b'data: {"id":"chatcmpl-1","created":1,"choices":[],"usage":{"prompt_tokens":5,"completion_tokens":2}}\n\n'
DONE = b"data: [DONE]\n\n"
WORDS = [
    *(b"\n", b"\n\n", b"\r\n\r\n", b"data: ", b": ping\n\n", b"null", b"[", b"]", b"{", b"}", b'"', b"\\", b"\xff"),
    *(b'"token_ids":[9]', b'"prompt_token_ids":[1,2]', b'"finish_reason":"stop"', b'"choices":5', b"-1"),
    *(b'"usage":{}', b'"usage":5', b'"id":"x","created":2', b'"delta":5', b"4294967295", b"true"),
]  # fmt: skip
STREAMS = st.lists(st.sampled_from([TOKEN, TOKEN, SILENT, b": ping\n\n"]), max_size=6).map(
    lambda events: b"".join((FIRST, *events, LAST, USAGE, DONE))
)


def seen(transcript: Transcript, reads: list[bytes]) -> bytes:
    """What the client gets."""
    return b"".join(transcript.take(transcript.whole(read)) for read in reads)


@FUZZ
@given(data=STREAMS, cuts=CUTS, shows=st.booleans())
def test_cuts_make_no_difference(data: bytes, cuts: list[int], shows: bool) -> None:
    one, other = Transcript(shows_ids=shows), Transcript(shows_ids=shows)
    whole, parts = seen(one, [data]), seen(other, pieces(data, cuts))
    assert whole == parts
    assert (one.ids, one.prompt_ids, one.safe) == (other.ids, other.prompt_ids, other.safe)
    assert one.done
    if shows:
        assert whole == data
    else:
        assert b'"token_ids":[7]' not in whole
        assert whole.count(b'\\"token_ids\\":[1]') == data.count(b'\\"token_ids\\":[1]')


@FUZZ
@given(
    first=mutated([FIRST + TOKEN + SILENT], WORDS),
    then=mutated([FIRST + TOKEN + LAST + USAGE + DONE, DONE], WORDS),
    cuts=CUTS,
    usage=st.booleans(),
)
def test_whatever_workers_say(first: bytes, then: bytes, cuts: list[int], usage: bool) -> None:
    transcript = Transcript(shows_ids=False)
    seen(transcript, pieces(first, cuts))
    with contextlib.suppress(DivergedError):
        _ = (transcript.obstacle(), transcript.so_far)
        transcript.ending("m", usage=usage)
        transcript.go_on()
        seen(transcript, pieces(then, cuts))
        transcript.missing_end()


@pytest.mark.parametrize(
    "odd",
    [
        TOKEN.replace(b"[7]", b"[7 8]"),
        TOKEN.replace(b"[7]", b"[4294967296]"),
        FIRST.replace(b"chatcmpl-1", b"chatcmpl-\xff"),
        FIRST.replace(b'"created":1', b'"created":' + b"1" * 5000),
    ],
    ids=["blank between ids", "large id", "bytes in the name", "long number"],
)
def test_odd_events(odd: bytes) -> None:
    transcript = Transcript(shows_ids=True)
    assert seen(transcript, [odd]) == odd
    assert transcript.obstacle()

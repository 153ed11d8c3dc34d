"""Counting events and finding ends must not depend on where reads happen to be cut."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from bench.dataplane.http1 import AnswerReader, count_events, dechunk, header_value, message_end
from bench.dataplane.mockworker import answer, chunk, token_event

STREAM_HEAD = (
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n"
)
STREAM = STREAM_HEAD + token_event("id") * 5 + chunk(b"data: [DONE]\n\n") + b"0\r\n\r\n"


def pieces(data: bytes, cuts: list[int]) -> list[bytes]:
    """`data` cut at the given places."""
    edges = sorted({0, len(data), *(cut % len(data) for cut in cuts)})
    return [data[a:b] for a, b in pairwise(edges)]


@given(st.lists(st.integers(0, 10_000), max_size=30))
def test_stream_is_followed_however_it_is_cut(cuts: list[int]) -> None:
    reader = AnswerReader()
    ends = [reader.feed(piece) for piece in pieces(STREAM, cuts)]
    assert ends == [False] * (len(ends) - 1) + [True]
    assert (reader.status, reader.events, reader.done, reader.closes) == (200, 6, True, False)


@given(st.lists(st.integers(0, 10_000), max_size=30))
def test_sized_answer_is_followed_however_it_is_cut(cuts: list[int]) -> None:
    reader = AnswerReader()
    ends = [reader.feed(piece) for piece in pieces(answer(b'{"a":"data:"}'), cuts)]
    assert ends == [False] * (len(ends) - 1) + [True]


def test_byte_by_byte_counts_each_mark_once() -> None:
    tail, total = b"", 0
    for byte in b"data: a\n\ndata: b\n\n":
        count, tail = count_events(tail, bytes([byte]))
        total += count
    assert total == 2


def test_answer_without_length_runs_to_the_end_of_its_connection() -> None:
    reader = AnswerReader()
    assert not reader.feed(b"HTTP/1.1 200 OK\r\n\r\nbody")
    assert not reader.feed(b"more")
    assert reader.closes


def test_reader_is_clean_only_between_whole_events() -> None:
    reader = AnswerReader()
    event = token_event("id")
    reader.feed(STREAM_HEAD)
    assert not reader.clean
    reader.feed(event)
    assert reader.clean
    reader.feed(event[:20])
    assert not reader.clean


def test_reset_forgets_the_last_answer() -> None:
    reader = AnswerReader()
    reader.feed(STREAM)
    reader.reset()
    assert reader.feed(answer(b"{}", b"503 Service Unavailable"))
    assert (reader.status, reader.events, reader.done) == (503, 0, False)


def test_not_http_is_an_error() -> None:
    with pytest.raises(ValueError, match="invalid literal"):
        AnswerReader().feed(b"SSH-2.0-OpenSSH_9.9\r\n\r\n")


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b"POST / HTTP/1.1\r\nContent-Le", (-1, 28)),
        (b"GET / HTTP/1.1\r\nhost: x\r\n\r\n", (23, 27)),
        (b"POST / HTTP/1.1\r\nContent-Length: 9\r\n\r\n{}", (34, 47)),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n", (43, 55)),
        (b"POST / HTTP/1.1\r\ntransfer-encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n", (43, 59)),
    ],
)
def test_message_end(data: bytes, expected: tuple[int, int]) -> None:
    assert message_end(data) == expected


def test_header_value() -> None:
    head = b"post / http/1.1\r\nx-length: 1\r\ncontent-length:  12 "
    assert header_value(head, b"content-length") == b"12"
    assert header_value(head, b"length") is None


@given(st.lists(st.binary(min_size=1, max_size=40)))
def test_dechunk_undoes_chunk(parts: list[bytes]) -> None:
    encoded = b"".join(map(chunk, parts)) + b"0\r\n\r\n"
    assert dechunk(encoded) == b"".join(parts)

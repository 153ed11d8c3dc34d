"""Which header fields cross the router."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from router.ids import Headers
from router.upstream.headers import (
    EXPLAIN,
    HOP_BY_HOP,
    RequestLine,
    named_by_connection,
    request_head,
    response_headers,
    retry_after_in,
)

LINE = RequestLine(b"POST", b"/v1/completions?x=1", b"r1")
SET_BY_THE_ROUTER = {b"host", b"content-length", b"x-request-id", b"x-router-worker"}
NOT_FOR_WORKERS = HOP_BY_HOP | SET_BY_THE_ROUTER | {b"expect", b"proxy-authorization", EXPLAIN}
EXPLANATIONS = {
    b"x-router-policy",
    b"x-router-reason",
    b"x-router-cached-tokens",
    b"x-router-predicted-ttft-ms",
    b"x-router-queue-ms",
}

names = st.sampled_from(
    [
        *sorted(HOP_BY_HOP),
        *sorted(NOT_FOR_WORKERS - HOP_BY_HOP),
        *sorted(EXPLANATIONS),
        b"authorization",
        b"content-type",
        b"x-a",
        b"x-b",
        b"traceparent",
        b"cookie",
    ]
)
values = st.sampled_from([b"", b"1", b"close", b"keep-alive", b"x-a", b"Keep-Alive, X-B , ,te"])
connections = st.tuples(st.just(b"connection"), values)
fields = st.lists(st.tuples(names, values) | connections, max_size=12)
NAMED: Headers = [
    (b"x-a", b"1"),
    (b"connection", b"close, X-A"),
    (b"x-b", b"2"),
    (b"connection", b"x-b"),
    (b"x-c", b"3"),
]


def passed_on(headers: Headers, dropped: frozenset[bytes] | set[bytes]) -> Headers:
    """The naive filter: everything, in order, but what is dropped or named by `Connection`."""
    named = {
        token.strip().lower()
        for name, value in headers
        if name == b"connection"
        for token in value.split(b",")
    }
    return [field for field in headers if field[0] not in dropped and field[0] not in named]


def parsed(head: bytes) -> tuple[bytes, Headers]:
    """A head's first line and its fields."""
    assert head.endswith(b"\r\n\r\n")
    first, *lines = head[:-4].split(b"\r\n")
    found = []
    for line in lines:
        name, _, value = line.partition(b": ")
        found.append((name, value))
    return first, found


def test_a_head_as_the_worker_gets_it() -> None:
    headers = [
        (b"host", b"router"),
        (b"content-type", b"application/json"),
        (b"content-length", b"99"),
        (b"authorization", b"Bearer t"),
        (b"x-request-id", b"client's"),
    ]
    assert request_head(LINE, b"gpu-1:8000", headers, 5) == (
        b"POST /v1/completions?x=1 HTTP/1.1\r\n"
        b"host: gpu-1:8000\r\n"
        b"content-type: application/json\r\n"
        b"authorization: Bearer t\r\n"
        b"content-length: 5\r\n"
        b"x-request-id: r1\r\n\r\n"
    )


@given(fields)
@example(NAMED)
def test_everything_else_reaches_the_worker_in_order(headers: Headers) -> None:
    first, found = parsed(request_head(LINE, b"w:1", headers, 3))
    assert first == b"POST /v1/completions?x=1 HTTP/1.1"
    assert found == [
        (b"host", b"w:1"),
        *passed_on(headers, NOT_FOR_WORKERS),
        (b"content-length", b"3"),
        (b"x-request-id", b"r1"),
    ]


def test_fields_of_the_router_s_own_are_added() -> None:
    head = request_head(LINE, b"w:1", [(b"x-a", b"1")], 3, [(b"x-own", b"2"), (b"x-b", b"3")])
    assert parsed(head)[1] == [
        (b"host", b"w:1"),
        (b"x-a", b"1"),
        (b"content-length", b"3"),
        (b"x-own", b"2"),
        (b"x-b", b"3"),
        (b"x-request-id", b"r1"),
    ]


@given(fields)
@example(NAMED)
def test_everything_else_reaches_the_client_in_order(headers: Headers) -> None:
    dropped = HOP_BY_HOP | (SET_BY_THE_ROUTER - {b"host"}) | EXPLANATIONS
    before = list(headers)
    assert response_headers(headers) == passed_on(headers, dropped)
    assert headers == before


def test_fields_that_connection_names_stay_behind() -> None:
    assert response_headers(NAMED) == [(b"x-c", b"3")]
    assert parsed(request_head(LINE, b"w", NAMED, 1))[1][1] == (b"x-c", b"3")


@pytest.mark.parametrize(
    ("method", "body", "length"),
    [
        (b"POST", 0, [b"0"]),
        (b"PUT", 0, [b"0"]),
        (b"POST", 7, [b"7"]),
        (b"GET", 0, []),
        (b"HEAD", 0, []),
        (b"DELETE", 0, []),
        (b"GET", 7, [b"7"]),
    ],
)
def test_bodies_have_a_length(method: bytes, body: int, length: list[bytes]) -> None:
    _, found = parsed(request_head(RequestLine(method, b"/", b"r"), b"w", [], body))
    assert [value for name, value in found if name == b"content-length"] == length


@pytest.mark.parametrize(
    ("value", "named"),
    [
        (b"", set()),
        (b"close", set()),
        (b"Keep-Alive, Upgrade", set()),
        (b"close, X-Hop", {b"x-hop"}),
        (b" x-a ,, x-b", {b"x-a", b"x-b"}),
    ],
)
def test_fields_that_connection_names(value: bytes, named: set[bytes]) -> None:
    assert named_by_connection(value) == named


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        (b"0", 0.0),
        (b"7", 7.0),
        (b"  120 ", 120.0),
        (b"999999", 999999.0),
        (b"1000000", None),
        (b"1.5", None),
        (b"-1", None),
        (b"", None),
        (b"Wed, 21 Oct 2026 07:28:00 GMT", None),
        (b"\xb2", None),
    ],
)
def test_how_long_a_worker_asks_to_be_left_alone(value: bytes, seconds: float | None) -> None:
    assert retry_after_in({b"retry-after": value}) == seconds


def test_one_that_does_not_ask() -> None:
    assert retry_after_in({b"content-type": b"7"}) is None


@pytest.mark.parametrize("name", [b"x-router-resume", b"x-router-keep-alive", b"x-router-explain"])
def test_what_is_said_to_the_router_stays_here(name: bytes) -> None:
    line = RequestLine(b"POST", b"/", b"r")
    assert name not in request_head(line, b"w", [(name, b"on")], 0)

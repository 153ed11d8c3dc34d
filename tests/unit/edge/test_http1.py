"""Heads and targets of HTTP/1 requests."""

import pytest

from router.edge.http1 import (
    MAX_HEAD_BYTES,
    check_fields,
    check_head,
    head_without_offer,
    origin_form,
)
from router.errors import RouterError
from router.ids import Headers


@pytest.mark.parametrize(
    ("url", "headers"),
    [
        (b"/" * MAX_HEAD_BYTES, []),
        (b"/", [(b"x", b"y" * (MAX_HEAD_BYTES - 6))]),
        (b"/", [(b"x" * (MAX_HEAD_BYTES - 6), b"y")]),
    ],
)
def test_limit_of_a_head(url: bytes, headers: Headers) -> None:
    check_head(url, headers)
    with pytest.raises(RouterError) as caught:
        check_head(url, [*headers, (b"a", b"")])
    assert (caught.value.status, caught.value.code) == (431, "request_headers_too_large")


def test_many_small_fields_count() -> None:
    with pytest.raises(RouterError):
        check_head(b"/", [(b"a", b"")] * 20_000)


@pytest.mark.parametrize(
    ("connection", "left"),
    [
        (b"Upgrade", []),
        (b"upgrade, HTTP2-Settings", []),
        (b"close, Upgrade", [b"connection: close"]),
        (b"Upgrade,x-mine ,keep-alive", [b"connection: x-mine, keep-alive"]),
        (b"", [b"connection: "]),
    ],
)
def test_only_the_offer_is_left_out(connection: bytes, left: list[bytes]) -> None:
    offered = [
        (b"host", b"h"),
        (b"connection", connection),
        (b"upgrade", b"h2c"),
        (b"http2-settings", b"AAM"),
        (b"x-empty", b""),
    ]
    head = head_without_offer(b"POST", b"/a?b", "1.0", offered)
    lines = [b"POST /a?b HTTP/1.0", b"host: h", *left, b"x-empty: "]
    assert head == b"\r\n".join([*lines, b"", b""])


@pytest.mark.parametrize(
    ("url", "path"),
    [
        (b"http://h:1/a?b=c", b"/a?b=c"),
        (b"http://h", b"/"),
        (b"*", b"*"),
        (b"", b"*"),
    ],
)
def test_origin_form(url: bytes, path: bytes) -> None:
    assert origin_form(url) == path


HOST = (b"host", b"h")


@pytest.mark.parametrize(
    ("headers", "version", "status"),
    [
        ([HOST], "1.1", None),
        ([(b"host", b"")], "1.1", None),
        ([(b"host", b"[::1]:80")], "1.1", None),
        ([], "1.0", None),
        ([], "0.9", None),
        ([], "1.1", 400),
        ([HOST, HOST], "1.1", 400),
        ([HOST, HOST], "1.0", 400),
        ([(b"host", b"h/x")], "1.1", 400),
        ([(b"host", b"a, b")], "1.1", 400),
        ([(b"host", b"u@h")], "1.1", 400),
        ([HOST, (b"transfer-encoding", b"Chunked")], "1.1", None),
        ([HOST, (b"transfer-encoding", b", chunked ,")], "1.1", None),
        ([HOST, (b"transfer-encoding", b"gzip, chunked")], "1.1", 501),
        ([HOST, (b"transfer-encoding", b"identity")], "1.1", 501),
        ([HOST, (b"transfer-encoding", b"chunked, chunked")], "1.1", 501),
        ([HOST, *[(b"transfer-encoding", b"chunked")] * 2], "1.1", 501),
    ],
)
def test_what_frames_and_addresses_is_said_once(
    headers: Headers, version: str, status: int | None
) -> None:
    if status is None:
        check_fields(headers, version)
        return
    with pytest.raises(RouterError) as caught:
        check_fields(headers, version)
    assert caught.value.status == status

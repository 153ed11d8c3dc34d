"""Which origins are granted what."""

import pytest

from router.edge.cors import Cors, is_preflight, replaced
from router.errors import RouterError

PAGE = b"https://a.example"
ASKED = {b"origin": PAGE, b"access-control-request-method": b"POST"}


def test_listed_origin() -> None:
    fields = dict(Cors(["https://b.example", PAGE.decode()]).fields(PAGE))
    assert fields[b"access-control-allow-origin"] == PAGE
    assert fields[b"access-control-allow-credentials"] == b"true"
    assert fields[b"vary"] == b"origin"


@pytest.mark.parametrize(
    "origin",
    [None, b"", b"null", b"https://a.example.evil", b"http://a.example", b"https://a.example:1"],
)
def test_another_origin(origin: bytes | None) -> None:
    """All that is said is that another would have been answered otherwise."""
    assert Cors([PAGE.decode()]).fields(origin) == [(b"vary", b"origin")]


@pytest.mark.parametrize("origins", [["*"], ["*", PAGE.decode()]])
@pytest.mark.parametrize("origin", [None, b"null", PAGE])
def test_all_origins(origins: list[str], origin: bytes | None) -> None:
    fields = dict(Cors(origins).fields(origin))
    assert fields[b"access-control-allow-origin"] == b"*"
    assert b"access-control-allow-credentials" not in fields


def test_preflight() -> None:
    cors = Cors([PAGE.decode()])
    assert b"access-control-allow-headers" not in dict(cors.preflight(ASKED))
    wanted = {b"access-control-request-headers": b"x-a,x-b"}
    assert dict(cors.preflight(ASKED | wanted))[b"access-control-allow-headers"] == b"x-a,x-b"
    with pytest.raises(RouterError) as caught:
        cors.preflight(ASKED | {b"origin": b"https://evil"})
    assert caught.value.status == 403


@pytest.mark.parametrize(
    ("method", "missing"),
    [(b"POST", b""), (b"OPTIONS", b"origin"), (b"OPTIONS", b"access-control-request-method")],
)
def test_what_is_no_preflight(method: bytes, missing: bytes) -> None:
    assert is_preflight(b"OPTIONS", ASKED)
    assert not is_preflight(method, {k: v for k, v in ASKED.items() if k != missing})


def test_fields_are_replaced() -> None:
    theirs = [
        (b"a", b"b"),
        (b"access-control-allow-origin", b"x"),
        (b"vary", b"Origin"),
        (b"access-control-max-age", b"1"),
        (b"vary", b"accept-encoding, origin"),
    ]
    assert replaced(theirs, [(b"n", b"m")]) == [
        (b"a", b"b"),
        (b"vary", b"accept-encoding, origin"),
        (b"n", b"m"),
    ]

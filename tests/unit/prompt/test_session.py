"""What ties requests together, and in which order it is looked for."""

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.ids import Headers
from router.prompt.session import SESSION_HEADERS, SessionKeys
from tests.unit.support import request


def key(
    body: dict[str, Any] | None = None,
    headers: Headers | None = None,
    names: tuple[str, ...] = SESSION_HEADERS,
) -> str | None:
    return SessionKeys(names).key(request(body or {}, headers=headers))


def test_a_request_without_any_has_none() -> None:
    assert key({"model": "m", "user": None, "metadata": {}}) is None


@pytest.mark.parametrize("name", SESSION_HEADERS)
def test_each_header_names_a_session(name: str) -> None:
    assert key(headers=[(name.encode(), b"s")]) == "s"


@pytest.mark.parametrize("name", [b"x-session-id", b"session-id", b"session_id", b"x_session_id"])
def test_dashes_and_prefixes_do_not_matter(name: bytes) -> None:
    assert key(headers=[(name, b"s")]) == "s"
    assert key(headers=[(name, b"s")], names=("Session_Id",)) == "s"


def test_headers_are_looked_for_in_the_order_given() -> None:
    headers = [(b"x-user-id", b"user"), (b"x-session-id", b"session")]
    assert key(headers=headers) == "session"
    assert key(headers=headers, names=("x-user-id", "x-session-id")) == "user"


def test_other_headers_do_not_count() -> None:
    headers = [(b"authorization", b"Bearer x"), (b"x-session-id", b"")]
    assert key(headers=headers) is None


@pytest.mark.parametrize(
    ("body", "session"),
    [
        ({"session_id": "s"}, "s"),
        ({"prompt_cache_key": "s"}, "s"),
        ({"conversation": "s"}, "s"),
        ({"user": "s"}, "s"),
        ({"user_id": "s"}, "s"),
        ({"session_params": {"session_id": "s"}}, "s"),
        ({"metadata": {"user_id": "s"}}, "s"),
        ({"session_id": "s", "user": "u"}, "s"),
        ({"session_id": 5, "user": "u"}, "u"),
        ({"session_id": "", "prompt_cache_key": "k"}, "k"),
        ({"metadata": "s"}, None),
        ({"metadata": {"user_id": 5}}, None),
        ({"session_params": []}, None),
    ],
)
def test_members_of_the_body(body: dict[str, Any], session: str | None) -> None:
    assert key(body) == session


def test_headers_win_over_the_body() -> None:
    assert key({"session_id": "body"}, [(b"x-session-id", b"header")]) == "header"


@given(st.binary(min_size=1, max_size=30))
def test_any_bytes_make_a_name(value: bytes) -> None:
    assert key(headers=[(b"x-session-id", value)]) == value.decode("latin-1")

"""Keys, and what is kept of them."""

from hashlib import sha256

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.access.keys import CREDENTIALS, digest_of, new_key, presented, read, written

DIGEST = digest_of(b"sk-1")


def test_new_keys_are_long_and_all_different() -> None:
    keys = {new_key() for _ in range(100)}
    assert len(keys) == 100
    for key in keys:
        assert key.startswith("pr-")
        assert len(key) >= 3 + 43, "32 bytes in base64"
        assert set(key) <= set("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_")


@given(st.binary(max_size=80))
def test_what_is_written_can_be_read(key: bytes) -> None:
    text = written(digest_of(key))
    assert text == f"sha256:{sha256(key).hexdigest()}"
    assert read(text) == read(f" {text.upper().replace('SHA256', 'sha256')}\n") == digest_of(key)


@pytest.mark.parametrize(
    "text", ["", "pr-secret-key", "sha256:", written(DIGEST)[:-1], written(DIGEST) + "0", "md5:00"]
)
def test_anything_else_is_refused_and_not_repeated(text: str) -> None:
    with pytest.raises(ValueError, match="64 hexadecimal digits") as caught:
        read(text)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("fields", "keys"),
    [
        ({}, []),
        ({b"authorization": b"Bearer k"}, [b"k"]),
        ({b"authorization": b"bearer   k "}, [b"k"]),
        ({b"authorization": b"Basic k"}, []),
        ({b"authorization": b"Bearer"}, []),
        ({b"authorization": b"Bearer  "}, []),
        ({b"x-api-key": b"k"}, [b"k"]),
        ({b"api-key": b" k"}, [b"k"]),
        ({b"x-api-key": b""}, []),
        ({b"api-key": b"3", b"x-api-key": b"2", b"authorization": b"Bearer 1"}, [b"1", b"2", b"3"]),
    ],
)
def test_where_requests_show_them(fields: dict[bytes, bytes], keys: list[bytes]) -> None:
    assert list(presented(fields)) == keys
    assert fields.keys() <= CREDENTIALS

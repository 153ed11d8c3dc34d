"""Who asks, and how urgent it is."""

from typing import Any

import pytest

from router.ids import Headers
from router.prompt.caller import Callers
from tests.unit.support import chat, request

KEY = (b"authorization", b"Bearer sk-secret")


def tenant(headers: Headers, header: str | None = "x-tenant-id") -> str:
    return Callers(header)(request(chat("q"), headers=headers))[0]


class TestTenant:
    def test_a_header_names_it(self) -> None:
        assert tenant([(b"x-tenant-id", b"blue"), KEY]) == "blue"

    def test_another_header_may(self) -> None:
        headers = [(b"x-team", b"red"), (b"x-tenant-id", b"blue")]
        assert tenant(headers, "X-Team") == "red"

    def test_bytes_that_are_no_text_name_one_too(self) -> None:
        assert tenant([(b"x-tenant-id", b"\xff\xfe")]) == "ÿþ"

    @pytest.mark.parametrize("name", [b"authorization", b"x-api-key"])
    def test_without_it_the_key_does(self, name: bytes) -> None:
        one, other = tenant([(name, b"sk-1")]), tenant([(name, b"sk-2")])
        assert one != other
        assert one == tenant([(name, b"sk-1"), (b"x-tenant-id", b"")])
        assert "sk-1" not in one

    def test_no_header_may_name_it(self) -> None:
        assert tenant([(b"x-tenant-id", b"blue"), KEY], None) == tenant([KEY])
        assert tenant([(b"", b"blue"), KEY], None) == tenant([KEY])

    def test_those_without_any_are_one(self) -> None:
        assert tenant([]) == tenant([(b"authorization", b"")]) == ""


@pytest.mark.parametrize(
    ("header", "body", "priority"),
    [
        (None, None, 0),
        (None, 5, 5),
        (None, -7, -7),
        (b"-2", 5, -2),
        (b" 3 ", None, 3),
        (b"0", 5, 0),
        (b"soon", 5, 0),
        (b"", 5, 0),
        (b"1.5", None, 0),
        (None, "1", 0),
        (None, True, 0),
        (None, [1], 0),
        (None, 10**40, 0),
        (b"9" * 5000, None, 0),
        (b"\xff", None, 0),
    ],
)
def test_priority(header: bytes | None, body: Any, priority: int) -> None:
    headers = [] if header is None else [(b"x-vllm-priority", header)]
    fields = {} if body is None else {"priority": body}
    assert Callers(None)(request(chat("q", **fields), headers=headers))[1] == priority

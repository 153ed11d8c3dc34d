"""Who asks, and how urgent it is."""

from typing import Any

import pytest

from router.access.tenant import Tenant
from router.access.terms import Terms
from router.ids import Headers
from router.prompt.caller import Callers, priority, tell_worker
from router.prompt.request import Request
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
    ("header", "body", "expected"),
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
def test_priority(header: bytes | None, body: Any, expected: int) -> None:
    headers = [] if header is None else [(b"x-vllm-priority", header)]
    fields = {} if body is None else {"priority": body}
    asked = request(chat("q", **fields), headers=headers)
    tell_worker(asked)
    assert Callers(None)(asked)[1] == expected
    assert asked.incoming.headers == headers, "as it came"


class TestOfTenants:
    """Where clients have keys."""

    @staticmethod
    def asked(headers: Headers, body: Any = None, **terms: Any) -> Request:
        fields = {} if body is None else {"priority": body}
        asked = request(chat("q", **fields), headers=headers)
        asked.incoming.tenant = Tenant("acme", Terms(**terms), 0.0)
        return asked

    def test_the_key_says_whose_it_is(self) -> None:
        asked = self.asked([(b"x-tenant-id", b"blue"), KEY])
        assert Callers("x-tenant-id")(asked) == ("acme", 0)

    def test_one_that_is_trusted_may_speak_for_others_but_not_for_other_tenants(self) -> None:
        callers = Callers("x-tenant-id")
        asked = self.asked([(b"x-tenant-id", b"beta")], trusted=True)
        assert callers(asked)[0] == "acme/beta"
        assert callers(self.asked([], trusted=True))[0] == "acme"
        assert Callers(None)(asked)[0] == "acme"

    @pytest.mark.parametrize(
        ("header", "body", "terms", "granted", "told"),
        [
            (None, None, {}, 0, None),
            (b"5", None, {}, 5, b"5"),
            (b"-5", None, {}, 0, b"0"),
            (None, 5, {}, 5, b"5"),
            (None, -5, {}, 0, b"0"),
            (b"soon", -5, {}, 0, b"0"),
            (None, None, {"priority": 3}, 3, b"3"),
            (b"-9", None, {"priority": 3}, 3, b"3"),
            (b"2", None, {"priority": 3}, 5, b"5"),
            (b"2", None, {"priority": -3}, -1, b"-1"),
            (b"-5", None, {"trusted": True}, -5, b"-5"),
            (None, -5, {"trusted": True, "priority": 2}, -3, b"-3"),
        ],
    )
    def test_nobody_goes_before_what_the_tenant_may(
        self,
        header: bytes | None,
        body: Any,
        terms: dict[str, Any],
        granted: int,
        told: bytes | None,
    ) -> None:
        """Here, and at the worker: its header wins over the body that is passed on as it came."""
        headers = [] if header is None else [(b"x-vllm-priority", header)]
        asked = self.asked([(b"a", b"b"), *headers], body, **terms)
        for _ in range(2):
            tell_worker(asked)
            assert priority(asked) == granted
            fields = [(b"a", b"b")] if told is None else [(b"a", b"b"), (b"x-vllm-priority", told)]
            assert asked.incoming.headers == fields

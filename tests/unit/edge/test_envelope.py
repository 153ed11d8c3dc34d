"""The same error in each API family's words."""

import json

import pytest

from router import errors
from router.edge.envelope import error_body, error_headers, stream_event
from router.prompt.endpoints import Family

NOT_FOUND = errors.model_not_found("x", ["m"])
LOST = errors.worker_lost("w", "early")


@pytest.mark.parametrize("family", [Family.OPENAI, Family.RESPONSES])
def test_openai_s_body(family: Family) -> None:
    assert json.loads(error_body(NOT_FOUND, family)) == {
        "error": {
            "message": NOT_FOUND.message,
            "type": "invalid_request_error",
            "param": "model",
            "code": "model_not_found",
        }
    }
    assert json.loads(error_body(LOST, family))["error"]["type"] == "server_error"


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (NOT_FOUND, "not_found_error"),
        (errors.unknown_worker("w"), "invalid_request_error"),
        (errors.body_too_large(1), "request_too_large"),
        (errors.no_worker("none"), "overloaded_error"),
        (errors.RouterError(429, "x", "slow down"), "rate_limit_error"),
        (LOST, "api_error"),
        (errors.INTERNAL_ERROR, "api_error"),
    ],
)
def test_anthropic_s_body(error: errors.RouterError, kind: str) -> None:
    assert json.loads(error_body(error, Family.ANTHROPIC)) == {
        "type": "error",
        "error": {"type": kind, "message": error.message},
    }


def test_headers() -> None:
    assert error_headers(LOST, b"r1") == [
        (b"content-type", b"application/json"),
        (b"x-request-id", b"r1"),
    ]
    assert (b"retry-after", b"1") in error_headers(errors.no_worker("none"), b"r1")


def events(data: bytes) -> list[tuple[str | None, dict[str, object]]]:
    """The events of a stream, as a client reads them."""
    found = []
    for block in data.decode().split("\n\n"):
        lines = dict(line.split(": ", 1) for line in block.splitlines() if ": " in line)
        if "data" in lines:
            found.append((lines.get("event"), json.loads(lines["data"])))
    return found


@pytest.mark.parametrize("family", Family)
def test_an_event_ends_a_stream_even_when_it_was_cut_in_an_event(family: Family) -> None:
    event = stream_event(LOST, family)
    assert event.startswith(b"\n\n")
    assert event.endswith(b"\n\n")
    assert b"[DONE]" not in event
    ((_, document),) = events(event)
    assert LOST.message in json.dumps(document)


def test_each_family_has_its_event() -> None:
    assert events(stream_event(LOST, Family.OPENAI)) == [
        (None, json.loads(error_body(LOST, Family.OPENAI)))
    ]
    assert events(stream_event(LOST, Family.ANTHROPIC)) == [
        ("error", json.loads(error_body(LOST, Family.ANTHROPIC)))
    ]
    assert events(stream_event(NOT_FOUND, Family.RESPONSES)) == [
        (
            "error",
            {
                "type": "error",
                "code": "model_not_found",
                "message": NOT_FOUND.message,
                "param": "model",
            },
        )
    ]

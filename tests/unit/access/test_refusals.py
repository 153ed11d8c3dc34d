"""What clients are told that may not, as their libraries read it."""

import pytest

from router.access import refusals
from router.errors import RouterError, Source


@pytest.mark.parametrize("error", [refusals.no_key(), refusals.wrong_key()])
def test_without_a_key(error: RouterError) -> None:
    assert (error.status, error.code, error.source) == (401, "invalid_api_key", Source.CLIENT)
    assert error.fields == ((b"www-authenticate", b"Bearer"),)
    assert "API key" in error.message


def test_a_model_that_is_not_allowed_is_one_that_does_not_exist() -> None:
    error = refusals.model_not_allowed("x")
    assert (error.status, error.code, error.param) == (404, "model_not_found", "model")
    assert "`x` does not exist or you do not have access to it" in error.message


def test_a_model_must_be_named() -> None:
    error = refusals.model_needed()
    assert (error.status, error.param, error.source) == (400, "model", Source.CLIENT)


@pytest.mark.parametrize(("wait_s", "told"), [(0.0, 1), (0.2, 1), (1.0, 1), (1.1, 2), (90.0, 90)])
def test_a_quota(wait_s: float, told: int) -> None:
    fields = [(b"x-ratelimit-limit-requests", b"5")]
    error = refusals.rate_limited("requests", "5 requests per minute", wait_s, fields)
    assert (error.status, error.code, error.kind) == (429, "rate_limit_exceeded", "requests")
    assert error.retry_after_s == told
    assert error.message == f"Rate limit reached: 5 requests per minute. Try again in {told} s."
    assert error.fields == tuple(fields)
    assert not error.retryable, "no worker is at fault"

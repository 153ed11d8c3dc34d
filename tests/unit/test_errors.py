"""What each failure says of itself."""

import pytest

from router import errors
from router.errors import RouterError, Source


@pytest.mark.parametrize(
    ("error", "status", "source", "retryable"),
    [
        (errors.model_not_found("x", ["m"]), 404, Source.CLIENT, False),
        (errors.no_worker("none"), 503, Source.ROUTER, False),
        (errors.unknown_worker("x"), 400, Source.CLIENT, False),
        (errors.body_too_large(10), 413, Source.CLIENT, False),
        (errors.connect_failed("w", "refused"), 502, Source.UPSTREAM, True),
        (errors.stale_connection("w"), 502, Source.UPSTREAM, True),
        (errors.worker_lost("w", "early"), 502, Source.UPSTREAM, False),
        (errors.bad_response("w", "garbage"), 502, Source.UPSTREAM, False),
        (errors.INTERNAL_ERROR, 500, Source.ROUTER, False),
        (errors.SHUTTING_DOWN, 503, Source.ROUTER, False),
    ],
)
def test_the_answer_that_each_deserves(
    error: RouterError, status: int, source: Source, retryable: bool
) -> None:
    assert (error.status, error.source, error.retryable) == (status, source, retryable)
    assert str(error) == error.message
    assert error.message.endswith(".") or error.message == "none"
    assert error.code.replace("_", "").isalpha()


@pytest.mark.parametrize(
    "error", [errors.model_not_found("x" * 9999, ["m"]), errors.unknown_worker("x" * 9999)]
)
def test_what_a_client_says_is_not_repeated_at_length(error: RouterError) -> None:
    assert len(error.message) < 400
    assert "xx…" in error.message


@pytest.mark.parametrize(("length", "kept"), [(0, 0), (256, 256), (257, 256), (9999, 256)])
def test_texts_are_cut(length: int, kept: int) -> None:
    text = errors.shortened("x" * length)
    assert len(text) == kept
    assert text.endswith("…") is (length > kept)


def test_codes_are_not_shared() -> None:
    made = [
        errors.model_not_found("x", []),
        errors.no_worker("none"),
        errors.unknown_worker("x"),
        errors.body_too_large(10),
        errors.connect_failed("w", "x"),
        errors.stale_connection("w"),
        errors.worker_lost("w", "x"),
        errors.bad_response("w", "x"),
        errors.INTERNAL_ERROR,
        errors.SHUTTING_DOWN,
    ]
    assert len({error.code for error in made}) == len(made)


def test_a_missing_model_is_answered_with_those_there_are() -> None:
    assert errors.model_not_found("x", ["a", "b"]).message == (
        "The model `x` does not exist. Models served here: `a`, `b`."
    )
    assert "none yet" in errors.model_not_found("x", []).message
    many = errors.model_not_found("x", [f"m{n}" for n in range(1000)])
    assert len(many.message) < 500


def test_errors_are_compared_by_identity() -> None:
    assert errors.stale_connection("w") != errors.stale_connection("w")
    assert len({errors.INTERNAL_ERROR, errors.SHUTTING_DOWN}) == 2

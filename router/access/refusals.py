"""What a client is told that may not, in the words of OpenAI's API. No key is ever repeated."""

from math import ceil

from router.errors import RouterError, Source, shortened
from router.ids import Headers

_CHALLENGE = ((b"www-authenticate", b"Bearer"),)


def no_key() -> RouterError:
    """The request shows no key."""
    return RouterError(
        401,
        "invalid_api_key",
        "You didn't provide an API key. Send it as `Authorization: Bearer KEY`, `x-api-key: KEY` or `api-key: KEY`.",
        source=Source.CLIENT,
        fields=_CHALLENGE,
    )


def wrong_key() -> RouterError:
    """Nobody has the key that the request shows."""
    return RouterError(
        401,
        "invalid_api_key",
        "Incorrect API key provided. Ask whoever runs this router for one.",
        source=Source.CLIENT,
        fields=_CHALLENGE,
    )


def model_not_allowed(model: str) -> RouterError:
    """As if it did not exist: whether it does is not for this client to know."""
    return RouterError(
        404,
        "model_not_found",
        f"The model `{shortened(model)}` does not exist or you do not have access to it. "
        "GET /v1/models lists those that you have access to.",
        source=Source.CLIENT,
        param="model",
    )


def model_needed() -> RouterError:
    """A worker would take any model of its own."""
    return RouterError(
        400,
        "model_required",
        "Your API key is good for certain models only: name one of them in `model`. "
        "GET /v1/models lists them.",
        source=Source.CLIENT,
        param="model",
    )


def rate_limited(kind: str, limit: str, wait_s: float, fields: Headers) -> RouterError:
    """A quota is used up. `kind`: of what; `limit`: how much of it there is, in words."""
    seconds = max(1, ceil(wait_s))
    return RouterError(
        429,
        "rate_limit_exceeded",
        f"Rate limit reached: {limit}. Try again in {seconds} s.",
        source=Source.CLIENT,
        kind=kind,
        retry_after_s=seconds,
        fields=tuple(fields),
    )

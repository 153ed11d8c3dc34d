"""API keys: made, hashed, and found in a request (pure but for the dice). A key is only ever kept as its SHA-256.

Keys are random and long, so that their hash needs no salt and no slowness.
"""

import re
import secrets
from collections.abc import Iterator, Mapping
from hashlib import sha256

_PREFIX = "pr-"
_RANDOM_BYTES = 32
_WRITTEN = re.compile(r"sha256:([0-9a-f]{64})", re.IGNORECASE)
_BEARER = b"bearer "

CREDENTIALS = frozenset((b"authorization", b"x-api-key", b"api-key"))
"""Header fields that a client's key may come in, by whichever client library."""


def new_key() -> str:
    """A key that nobody has had."""
    return _PREFIX + secrets.token_urlsafe(_RANDOM_BYTES)


def digest_of(key: bytes) -> bytes:
    """What is kept of a key."""
    return sha256(key).digest()


def written(digest: bytes) -> str:
    """A digest as configuration files have it."""
    return f"sha256:{digest.hex()}"


def read(text: str) -> bytes:
    """The digest that `written` wrote. Raises ValueError, which does not repeat the text: it may be a key."""
    match = _WRITTEN.fullmatch(text.strip())
    if match is None:
        raise ValueError(
            "must be `sha256:` and 64 hexadecimal digits, as `prefix-router keys hash` prints them; "
            "the key itself does not belong here"
        )
    return bytes.fromhex(match[1])


def presented(fields: Mapping[bytes, bytes]) -> Iterator[bytes]:
    """The keys that a request shows, by its header fields."""
    bearer = fields.get(b"authorization", b"")
    if bearer[: len(_BEARER)].lower() == _BEARER and (key := bearer[len(_BEARER) :].strip()):
        yield key
    for name in (b"x-api-key", b"api-key"):
        if key := fields.get(name, b"").strip():
            yield key

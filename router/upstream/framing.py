"""What a worker's answer must be like for its end to be known for sure (pure)."""

from router.ids import Headers

HEAD_BYTES = 65_536
"""What an answer may have beside its body: its head, interim answers before it, trailers behind it."""

_CODING = b"transfer-encoding"


class BadAnswerError(Exception):
    """The answer cannot be taken; says why."""


def framing(headers: Headers) -> tuple[int | None, bool]:
    """(content length, chunked) of an answer; the parser has rejected what contradicts itself.

    Raises `BadAnswerError` for another transfer coding than `chunked`: none is asked for.
    """
    fields = dict(headers)
    coding = fields.get(_CODING)
    if coding is not None:
        if coding != b"chunked" or len(fields) != len(headers):
            _check_codings(headers)
        return None, True
    length = fields.get(b"content-length", b"")
    return (int(length) if length.isdigit() else None), False


def _check_codings(headers: Headers) -> None:
    values = [value for name, value in headers if name == _CODING]
    for coding in b",".join(values).lower().split(b","):
        if coding.strip(b" ") != b"chunked":  # a tab behind it would hide it from the parser
            shown = coding[:40].decode("latin-1")
            raise BadAnswerError(f"it has a transfer coding that was not asked for, {shown!r}")


def check_size(size: int) -> None:
    """Raise `BadAnswerError` when an answer has `size` bytes beside its body, and that is too much."""
    if size > HEAD_BYTES:
        raise BadAnswerError(f"its head and trailers have more than {HEAD_BYTES} bytes")

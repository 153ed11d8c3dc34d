"""How long an answer is, and which ones are not taken."""

import pytest

from router.upstream.framing import HEAD_BYTES, BadAnswerError, check_size, framing

TE = b"transfer-encoding"


@pytest.mark.parametrize(
    ("headers", "found"),
    [
        ([], (None, False)),
        ([(b"content-length", b"5")], (5, False)),
        ([(b"content-length", b"0")], (0, False)),
        ([(b"content-length", b"x")], (None, False)),
        ([(TE, b"chunked")], (None, True)),
        ([(TE, b"Chunked ")], (None, True)),
        ([(b"te", b"gzip"), (TE, b"chunked")], (None, True)),
        ([(TE, b"chunked"), (TE, b"chunked")], (None, True)),
    ],
)
def test_lengths(headers: list[tuple[bytes, bytes]], found: tuple[int | None, bool]) -> None:
    assert framing(headers) == found


@pytest.mark.parametrize(
    "values",
    [
        [b"gzip"],
        [b"gzip, chunked"],
        [b"gzip", b"chunked"],
        [b"chunked", b"gzip"],
        [b"identity"],
        [b"xchunked"],
        [b"chunked;a=b"],
        [b"chunked,"],
        [b"chunked\t"],
        [b"\xff" * 1000],
    ],
)
def test_codings_that_were_not_asked_for(values: list[bytes]) -> None:
    with pytest.raises(BadAnswerError, match="transfer coding that was not asked for") as caught:
        framing([(TE, value) for value in values])
    assert len(str(caught.value)) < 300


def test_sizes() -> None:
    check_size(HEAD_BYTES)
    with pytest.raises(BadAnswerError, match="65536 bytes"):
        check_size(HEAD_BYTES + 1)

"""Compressed bodies: any pieces decode to the same, anything else is a client's mistake, and no bomb goes off."""

import gzip
import zlib
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.edge.decoding import decoder
from router.errors import RouterError
from tests.fuzz.limits import FUZZ
from tests.fuzz.mutations import CUTS, mutated, pieces

LIMIT = 10_000
MAKERS: dict[bytes, Callable[[bytes], bytes]] = {b"gzip": gzip.compress, b"deflate": zlib.compress}


def _more() -> Iterator[tuple[bytes, Callable[[bytes], bytes]]]:
    brotli: Any = pytest.importorskip("brotli")
    zstd: Any = pytest.importorskip("backports.zstd")
    yield b"br", brotli.compress
    yield b"zstd", zstd.compress


MAKERS |= dict(_more())
CODINGS = st.sampled_from(sorted(MAKERS))
PLAIN = b'{"model":"m","messages":[]}' * 20
SEEDS = [make(PLAIN) for make in MAKERS.values()] + [MAKERS[b"gzip"](b"a") * 3]
WORDS = [b"\0", b"\xff\xff\xff\xff", b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", *SEEDS]


def decoded(coding: bytes, reads: list[bytes], limit: int = LIMIT) -> bytes:
    """The body, or `RouterError`."""
    made = decoder([(b"content-encoding", coding)], limit)
    assert made is not None
    out = b"".join(part for read in reads for part in made.feed(read))
    made.finish()
    return out


@FUZZ
@given(body=st.binary(max_size=2000), coding=CODINGS, cuts=CUTS, twice=st.integers(1, 3))
def test_any_pieces(body: bytes, coding: bytes, cuts: list[int], twice: int) -> None:
    data = MAKERS[coding](body * twice)
    assert decoded(coding, pieces(data, cuts)) == body * twice


@FUZZ
@given(data=mutated(SEEDS, WORDS), coding=CODINGS, cuts=CUTS)
def test_mutated_bodies(data: bytes, coding: bytes, cuts: list[int]) -> None:
    status = 200
    try:
        assert len(decoded(coding, pieces(data, cuts))) <= LIMIT
    except RouterError as error:
        status = error.status
    assert status in (200, 400, 413)


@pytest.mark.parametrize("coding", sorted(MAKERS))
def test_bombs(coding: bytes) -> None:
    bomb = MAKERS[coding](bytes(20_000_000))
    with pytest.raises(RouterError) as raised:
        decoded(coding, [bomb])
    assert raised.value.status == 413

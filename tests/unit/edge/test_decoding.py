"""Codings of request bodies, in any pieces."""

import gzip
import zlib
from collections.abc import Callable
from contextlib import suppress

import brotli
import pytest
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from router.edge import decoding
from router.edge.decoding import Decoder, decoder, without_coding
from router.errors import RouterError

PACK: dict[bytes, Callable[[bytes], bytes]] = {
    b"gzip": gzip.compress,
    b"deflate": zlib.compress,
    b"zstd": zstd.compress,
    b"br": brotli.compress,
}
CODINGS = st.sampled_from(sorted(PACK))


def made(coding: bytes, limit: int = 10_000_000) -> Decoder:
    found = decoder([(b"content-encoding", coding)], limit)
    assert found is not None
    return found


def unpacked(coding: bytes, pieces: list[bytes]) -> bytes:
    one = made(coding)
    parts = [part for piece in pieces for part in one.feed(piece)]
    one.finish()
    return b"".join(parts)


def cut(data: bytes, size: int) -> list[bytes]:
    return [data[at : at + size] for at in range(0, len(data), size)]


@given(CODINGS, st.binary(max_size=3000), st.integers(1, 200))
def test_in_any_pieces(coding: bytes, data: bytes, size: int) -> None:
    assert unpacked(coding, cut(PACK[coding](data), size)) == data


@pytest.mark.parametrize("coding", PACK)
@pytest.mark.parametrize("size", [0, 1, 1 << 18, (1 << 18) + 1, 1 << 19, 3_000_001])
def test_sizes_around_those_of_pieces(coding: bytes, size: int) -> None:
    for data in (b"\0" * size, bytes(range(256)) * (size // 256)):
        packed = PACK[coding](data)
        assert unpacked(coding, [packed]) == data
        assert unpacked(coding, [packed[:-1], packed[-1:]]) == data


@pytest.mark.parametrize("coding", [b"gzip", b"zstd"])
def test_members_follow_one_another(coding: bytes) -> None:
    pack = PACK[coding]
    both = pack(b"one,") + pack(b"") + pack(b"two")
    for size in (1, 7, len(both)):
        assert unpacked(coding, cut(both, size)) == b"one,two"


@given(CODINGS, st.binary(min_size=1, max_size=500), st.data())
def test_what_is_cut_off_is_corrupt(coding: bytes, data: bytes, draw: st.DataObject) -> None:
    packed = PACK[coding](data)
    part = packed[: draw.draw(st.integers(1, len(packed) - 1))]
    with pytest.raises(RouterError) as caught:
        unpacked(coding, [part])
    assert (caught.value.status, caught.value.code) == (400, "invalid_content_encoding")


@given(CODINGS, st.lists(st.binary(max_size=300), max_size=4))
def test_any_bytes_are_decoded_or_corrupt(coding: bytes, pieces: list[bytes]) -> None:
    with suppress(RouterError):
        unpacked(coding, pieces)


@pytest.mark.parametrize("coding", PACK)
def test_limit(coding: bytes) -> None:
    packed = PACK[coding](b"\0" * 1000)
    assert b"".join(made(coding, 1000).feed(packed)) == b"\0" * 1000
    with pytest.raises(RouterError) as caught:
        made(coding, 999).feed(packed)
    assert (caught.value.status, caught.value.code) == (413, "request_too_large")


def test_a_frame_cannot_demand_a_huge_window() -> None:
    """Of 128 MiB, for a few bytes."""
    options = {zstd.CompressionParameter.window_log: 27}
    packed = zstd.ZstdCompressor(options=options)
    data = packed.compress(b"a" * 100) + packed.flush()
    with pytest.raises(RouterError) as caught:
        unpacked(b"zstd", [data])
    assert caught.value.status == 400


@pytest.mark.parametrize("values", [[], [b""], [b"identity"], [b"Identity, "], [b"identity", b""]])
def test_no_coding(values: list[bytes]) -> None:
    assert decoder([(b"content-encoding", value) for value in values], 1) is None


@pytest.mark.parametrize(
    "values", [[b"x"], [b"gzip", b"br"], [b"gzip, gzip"], [b"gzip;q=1"], [b"gz\xff"]]
)
def test_unknown(values: list[bytes]) -> None:
    with pytest.raises(RouterError) as caught:
        decoder([(b"content-encoding", value) for value in values], 1)
    assert (caught.value.status, caught.value.code) == (415, "unsupported_content_encoding")


@pytest.mark.parametrize("value", [b"GZIP", b" gzip ", b"x-gzip", b"identity, gzip"])
def test_spellings(value: bytes) -> None:
    assert unpacked(value, [gzip.compress(b"x")]) == b"x"


def test_codings_without_their_library(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(decoding._CODECS, b"br")
    with pytest.raises(RouterError, match="deflate, gzip, x-gzip, zstd"):
        made(b"br")


def test_without_coding() -> None:
    kept = [(b"a", b"b"), (b"c", b"d")]
    assert without_coding([kept[0], (b"content-encoding", b"gzip"), kept[1]]) == kept

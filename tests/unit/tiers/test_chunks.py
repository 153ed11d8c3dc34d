"""LMCache's names for chunks, against values that LMCache 0.5.6 itself gave."""

import builtins
from array import array
from typing import Any

import pytest
from blake3 import blake3
from hypothesis import given
from hypothesis import strategies as st

from router.tiers.chunks import Chunker, Chunks, kv_ranks, store_key

MODEL = "/models/tiny"

# From LMCache's `TokenHasher(chunk_size).compute_chunk_hashes(ids)`.
KNOWN = [
    (
        64,
        list(range(200)),
        [
            "212cc546dc3e675c64b9a45dcda6b7d4199bf566a899087e7fae1df46f5b1d70",
            "e6fae3af8ae3e63ce485b81a552f7364531f859121f944dbfc939ba75a6b483d",
            "4b70a70273243ca8e27a806c98ac5cb168bc7a6da19db7188d0ebe71506f16c6",
        ],
    ),
    (
        256,
        [151643] * 300,
        ["1924f476fc1e1ec64624883273fb992008216fc59a1197179f147edd23f3b076"],
    ),
    (
        16,
        [0, 1, 2**32 - 1, 65536] * 8,
        [
            "5a25df3039f50ec4cbadfbaf997ebdaa64e23a7f8a72c7ea843015e0c0f01a57",
            "263a39fc0df4e3797fb0222bdb81371e95dfde58a4e2ee8a24b25b6aa3eb9cfe",
        ],
    ),
]


@pytest.mark.parametrize(("size", "ids", "hashes"), KNOWN)
@pytest.mark.parametrize("kind", [list, lambda ids: array("I", ids)])
def test_the_hashes_are_lmcaches(size: int, ids: list[int], hashes: list[str], kind: Any) -> None:
    chunks = Chunker(size).chunks(kind(ids), MODEL)
    assert [each.hex() for each in chunks.hashes] == hashes
    assert (chunks.size, chunks.model, chunks.salt) == (size, MODEL, "")


def naive(ids: list[int], size: int) -> list[bytes]:
    previous = blake3((0).to_bytes(8, "big", signed=True) + (0).to_bytes(4, "big")).digest()
    found = []
    for start in range(0, len(ids) - size + 1, size):
        data = b"".join(token.to_bytes(4, "big") for token in ids[start : start + size])
        found.append(previous := blake3(previous + data).digest())
    return found


@given(st.lists(st.integers(0, 2**32 - 1), max_size=70), st.integers(1, 20))
def test_any_prompt_is_cut_into_full_chunks(ids: list[int], size: int) -> None:
    assert Chunker(size).chunks(ids, MODEL).hashes == naive(ids, size)


def test_the_callers_tokens_are_left_as_they_are() -> None:
    ids = array("I", range(32))
    Chunker(16).chunks(ids, MODEL)
    assert ids == array("I", range(32))


def test_what_comes_after_the_limit_is_left_out() -> None:
    ids = list(range(100))
    assert Chunker(16, limit=40).chunks(ids, MODEL).hashes == naive(ids, 16)[:2]


def test_a_salt_does_not_change_the_hashes() -> None:
    ids = list(range(32))
    assert Chunker(16).chunks(ids, MODEL, "tenant").hashes == Chunker(16).chunks(ids, MODEL).hashes


@pytest.mark.parametrize(
    ("model", "salt"),
    [
        ("a@b", ""),
        (MODEL, "a@b"),
        (MODEL, "a/b"),
        (MODEL, "a\\b"),
        (MODEL, "a\0b"),
        (MODEL, "s" * 129),
    ],
)
def test_what_lmcache_refuses_to_store_has_no_chunks(model: str, salt: str) -> None:
    ids = list(range(32))
    assert Chunker(16).chunks(ids, model, salt).hashes == []
    assert Chunker(16).chunks(ids, MODEL, "s" * 128).hashes != []


@pytest.mark.parametrize(
    ("world", "rank", "salt", "key"),
    [
        (1, 0, "", "/models/a@01000100@0@01010101"),
        (4, 3, "t", "/models/a@04030403@0@01010101@t"),
    ],
)
def test_keys_are_lmcaches(world: int, rank: int, salt: str, key: str) -> None:
    chunks = Chunks(16, [b"\x01" * 4], "/models/a", salt)
    assert store_key(chunks, 0, kv_ranks(world)[rank]) == key


def test_without_blake3_it_is_said_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def absent(name: str, *arguments: Any, **options: Any) -> Any:
        if name == "blake3":
            raise ModuleNotFoundError(name)
        return real(name, *arguments, **options)

    monkeypatch.setattr(builtins, "__import__", absent)
    with pytest.raises(ImportError, match=r"pip install 'prefix-router\[lmcache\]'"):
        Chunker()

"""Block hashes are those of vLLM 0.32."""

from router.simworker.hashing import ChainKey, event_id, extend_chain

# Published by vLLM 0.32.0 (block size 32, defaults) as BlockStored for these tokens.
VLLM_TOKENS = [
    1, 1479, 2393, 357, 14, 426, 568, 524, 2770, 3218, 752, 85, 409, 658, 91, 2132, 2687, 380, 317, 309, 2976, 2330,
    384, 2989, 362, 658, 81, 1095, 85, 591, 375, 1901,
]  # fmt: skip
VLLM_HASH = 14314494774151844774


def chain(tokens: list[int], size: int = 4, key: ChainKey = ChainKey()) -> list[bytes]:  # noqa: B008
    hashes: list[bytes] = []
    extend_chain(hashes, tokens, size, key)
    return hashes


def test_hash_equals_the_one_that_vllm_published() -> None:
    assert [event_id(digest) for digest in chain(VLLM_TOKENS, 32)] == [VLLM_HASH]


def test_only_full_blocks_are_hashed() -> None:
    assert len(chain(list(range(11)))) == 2


def test_extending_gives_the_same_as_hashing_at_once() -> None:
    hashes = chain(list(range(9)))
    extend_chain(hashes, list(range(17)), 4, ChainKey())
    assert hashes == chain(list(range(17)))


def test_a_block_depends_on_everything_before_it() -> None:
    assert chain([1, 2, 3, 4, 5, 6, 7, 8])[1] != chain([0, 2, 3, 4, 5, 6, 7, 8])[1]


def test_salt_is_in_the_first_block_and_adapter_in_every_block() -> None:
    key = ChainKey("alpha", "/models/alpha", "salt")
    assert key.block_extra(0) == (("lora", "alpha", "/models/alpha"), ("cache_salt", "salt"))
    assert key.block_extra(1) == (("lora", "alpha", "/models/alpha"),)
    assert key.event_extra(0) == ["alpha", "salt"]
    assert ChainKey().block_extra(0) is None
    tokens = list(range(8))
    assert not set(chain(tokens)) & set(chain(tokens, key=ChainKey(cache_salt="salt")))

"""Bytes, exactly: against published figures, against vLLM itself, and in general."""

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.sizing.gpus import GIB, GPUS
from router.sizing.memory import (
    at_once,
    kv_blocks,
    kv_heads_per_gpu,
    kv_tokens,
    memory,
    request_bytes,
    reserve,
    token_bytes,
    weight_bytes,
    weights_per_gpu,
    windowed_token_bytes,
)
from tests.unit.sizing.questions import NAMES, model

KEEPING = [name for name in NAMES if name != "bge-m3"]
SEEN = Path(__file__).parent / "vllm_cache_config.txt"


@pytest.mark.parametrize(
    ("name", "size"),
    [
        ("llama-3.1-8b", 131_072),
        ("llama-3.3-70b", 327_680),
        ("qwen2.5-7b", 57_344),
        ("qwen3-30b-a3b", 98_304),
        ("deepseek-v3", 61 * (512 + 64) * 2),
        ("gpt-oss-20b", 12 * 2 * 8 * 64 * 2),
        ("jamba-mini", 4 * 2 * 8 * 128 * 2),
        ("mistral-7b", 0),
        ("gemma-4-e4b", 4 * 2 * 2 * 512 * 2),  # of 7 layers 3 share another's
        ("kimi-linear-48b", 7 * (512 + 64) * 2),
        ("falcon-h1-34b", 72 * 2 * 4 * 128 * 2),
        ("bge-m3", 0),
    ],
)
def test_kv_bytes_per_token(name: str, size: int) -> None:
    assert token_bytes(model(name)) == size


def test_vllm_counts_the_same() -> None:
    """Its own words for tiny-qwen3 with 64 MiB: `vllm:cache_config_info` of vLLM 0.32.0."""
    said = {name: int(value) for name, value in re.findall(r'(\w+)="(\d+)"', SEEN.read_text())}
    made = model("tiny-qwen3")
    assert said["kv_cache_memory_bytes"] == said["kv_cache_size_tokens"] * token_bytes(made)
    kept = kv_tokens(made, 1, said["kv_cache_memory_bytes"], 1000)
    assert kept == said["kv_cache_size_tokens"] == said["num_gpu_blocks"] * said["block_size"]


@pytest.mark.parametrize(
    ("name", "gib", "within"),
    [
        ("llama-3.1-8b", 14.96, 0.001),
        ("gpt-oss-20b", 12.8, 0.01),  # as its model card says
        ("gpt-oss-120b", 60.8, 0.01),
        ("deepseek-v3", 626.0, 0.01),
    ],
)
def test_checkpoints(name: str, gib: float, within: float) -> None:
    assert weight_bytes(model(name)) / GIB == pytest.approx(gib, rel=within)


def test_quantizing_leaves_embeddings_alone() -> None:
    made = model().stored("fp8", None)
    parts = made.parameters
    assert weight_bytes(made) == 2 * (parts.embedding + parts.head) + parts.dense


def test_kv_heads_are_copied_where_there_are_too_few() -> None:
    made = model("qwen2.5-7b")  # four of them
    assert [kv_heads_per_gpu(made, tp) for tp in (1, 2, 4, 8)] == [4, 2, 1, 1]
    assert weights_per_gpu(made, 8) * 8 > weight_bytes(made)
    assert weights_per_gpu(made, 4) * 4 == weight_bytes(made)


def test_a_latent_is_held_by_every_gpu() -> None:
    made = model("deepseek-v3")
    assert token_bytes(made, 8) == token_bytes(made, 1)
    assert weights_per_gpu(made, 8) * 8 > weight_bytes(made)


def test_a_window_caps_what_a_request_keeps() -> None:
    made = model("gpt-oss-20b")
    assert windowed_token_bytes(made) == token_bytes(made)
    kept = request_bytes(made, 1, 16_000)
    assert kept == token_bytes(made) * 16_000 + windowed_token_bytes(made) * (128 + 16)
    assert request_bytes(made, 1, 32) == 2 * token_bytes(made) * 32


def test_blocks_are_whole() -> None:
    made = model()
    assert request_bytes(made, 1, 17) == request_bytes(made, 1, 32)
    assert kv_blocks(made, 1, 3.9 * 16 * 131_072, 100) == 3
    assert kv_tokens(made, 1, 3.9 * 16 * 131_072, 100) == 48


def test_an_encoder_keeps_nothing() -> None:
    made = model("bge-m3")
    assert kv_tokens(made, 1, GIB, 512) == 0
    assert at_once(made, 1, GIB, 512) is None


def test_a_gpu_s_memory_is_shared_out() -> None:
    room = memory(model(), GPUS["l40s"], 1, 0.9)
    assert room.kv == room.usable - room.weights - room.reserve
    assert memory(model("llama-3.3-70b"), GPUS["l4"], 1, 0.9).kv == 0


def test_the_reserve_is_near_what_vllm_says_for_8b_on_an_h100() -> None:
    """1.2 GiB of activations, about as much for graphs and CUDA."""
    assert 1.5 * GIB < reserve(model(), GPUS["h100"], 1) < 3 * GIB


@given(
    name=st.sampled_from(KEEPING),
    tp=st.sampled_from([1, 2, 4, 8]),
    kv=st.integers(0, 2**37),
    more=st.integers(0, 2**36),
    tokens=st.integers(1, 200_000),
    longer=st.integers(0, 50_000),
)
def test_more_memory_never_holds_less_and_longer_requests_are_never_more(
    name: str, tp: int, kv: int, more: int, tokens: int, longer: int
) -> None:
    made = model(name)
    assert kv_tokens(made, tp, kv + more, tokens) >= kv_tokens(made, tp, kv, tokens)
    few, many = at_once(made, tp, kv, tokens + longer), at_once(made, tp, kv, tokens)
    assert few is not None
    assert many is not None
    assert few <= many
    assert many * request_bytes(made, tp, tokens) <= kv


@given(name=st.sampled_from(NAMES), tp=st.sampled_from([1, 2, 4]), tokens=st.integers(1, 100_000))
def test_more_gpus_never_hold_more_each(name: str, tp: int, tokens: int) -> None:
    made = model(name)
    assert weights_per_gpu(made, 2 * tp) <= weights_per_gpu(made, tp)
    assert request_bytes(made, 2 * tp, tokens) <= request_bytes(made, tp, tokens)
    assert 2 * tp * weights_per_gpu(made, 2 * tp) >= weight_bytes(made) * (1 - 1e-12)


@given(
    low=st.floats(0.1, 1.0),
    high=st.floats(0.1, 1.0),
    gpu=st.sampled_from(sorted(GPUS)),
    tp=st.sampled_from([1, 8]),
)
def test_a_higher_utilization_never_leaves_less(low: float, high: float, gpu: str, tp: int) -> None:
    low, high = sorted((low, high))
    made = model()
    assert memory(made, GPUS[gpu], tp, low).kv <= memory(made, GPUS[gpu], tp, high).kv


def test_kv_heads_of_full_and_windowed_layers_are_copied_by_their_own_number() -> None:
    """MiMo-V2-Flash: four heads where everything is seen, eight within the windows."""
    made = model("mimo-v2-flash")
    assert token_bytes(made, 8) == 9 * 1 * (192 + 128) * 2
    assert windowed_token_bytes(made, 8) == 39 * 1 * (192 + 128) * 2
    extra = weights_per_gpu(made, 8) * 8 - weight_bytes(made)
    assert extra == pytest.approx(
        9 * 4096 * 4 * (192 + 128)
    )  # in fp8; the windowed ones are not copied

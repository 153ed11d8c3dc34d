"""Rooflines: alike to the simulator's hardware, and sane in general."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.simulate.hardware import PRESETS
from router.sizing.gpus import GPUS, LINKS
from router.sizing.layers import EVERYTHING, WINDOWED
from router.sizing.memory import token_bytes
from router.sizing.speed import BANDWIDTH, STEP_S, Speed
from tests.unit.sizing.questions import NAMES, model, speed


@pytest.mark.parametrize(
    ("preset", "name", "gpu", "tp"),
    [("h100-8b", "llama-3.1-8b", "h100", 1), ("h100x4-70b", "llama-3.3-70b", "h100", 4)],
)
def test_it_agrees_with_the_simulator(preset: str, name: str, gpu: str, tp: int) -> None:
    """Both are estimates: within a fifth."""
    told, made = PRESETS[preset], speed(name, gpu, tp)
    token_s = (made.linear_s(81_920) + made.reduce_s(81_920)) / 81_920
    assert token_s == pytest.approx(told.token_s, rel=0.2)
    assert made.read_s(1) == pytest.approx(told.weights_s, rel=0.2)
    kv_s = token_bytes(made.model, tp) / (made.gpu.bandwidth * BANDWIDTH)
    assert kv_s == pytest.approx(told.kv_s, rel=0.2)
    assert made.attention_s(2000) / (2000 * 1000) == pytest.approx(told.attention_s, rel=0.2)


def test_a_cached_prompt_takes_a_step() -> None:
    assert speed().prefill_s(1000, 1000) == STEP_S


def test_one_gpu_has_nobody_to_talk_to() -> None:
    assert speed(tp=1).reduce_s(1000) == 0
    assert speed(tp=1).reduce_bytes(1000) == 0


def test_an_all_reduce_sends_a_ring_s_share() -> None:
    assert speed(tp=4).reduce_bytes(1000) == 1000 * 4096 * 2 * 2 * 3 / 4


def test_pcie_makes_wide_workers_pay() -> None:
    """Four L40S spend most of a prefill talking; four H100 little."""
    slow, fast = speed(gpu="l40s", tp=4), speed(gpu="h100", tp=4)
    assert slow.reduce_s(20_000) > 0.4 * slow.prefill_s(20_000)
    assert fast.reduce_s(20_000) < 0.25 * fast.prefill_s(20_000)


def test_a_step_reads_only_the_experts_that_are_used() -> None:
    made = speed("deepseek-v3", "h200", 8)
    one, many = made.read_bytes(1), made.read_bytes(10_000)
    assert one < 0.08 * many
    assert one == pytest.approx(made.model.parameters.active, rel=0.05)  # one byte each


def test_a_window_saves_attention() -> None:
    made = speed("mistral-7b")
    assert made.attention_s(40_000) < 2.5 * made.attention_s(20_000)
    assert speed().attention_s(40_000) == pytest.approx(4 * speed().attention_s(20_000))


def test_an_encoder_s_tokens_see_what_follows_too() -> None:
    made = speed("bge-m3")
    assert made.attention_s(512) == pytest.approx(
        made.model.pair_flop * 24 * 512**2 / (362e12 * 0.4)
    )


def test_what_moves_of_a_latent_moves_once() -> None:
    assert speed("deepseek-v3", "h200", 8).moved_bytes(1600) == 70_272 * 1600
    assert speed(gpu="h200", tp=8).moved_bytes(1600) == 131_072 * 1600


@given(
    name=st.sampled_from(NAMES),
    gpu=st.sampled_from(["l4", "l40s", "h100"]),
    tp=st.sampled_from([1, 2, 8]),
    tokens=st.integers(1, 100_000),
    cached=st.integers(0, 100_000),
    requests=st.integers(1, 500),
)
def test_more_to_do_never_takes_less(
    name: str, gpu: str, tp: int, tokens: int, cached: int, requests: int
) -> None:
    made, cached = speed(name, gpu, tp), min(cached, tokens)
    assert 0 < made.prefill_s(tokens, cached) <= made.prefill_s(tokens) * (1 + 1e-9)
    assert made.prefill_s(tokens) <= made.prefill_s(tokens + 1000)
    assert made.step_s(requests, tokens) <= made.step_s(requests + 1, tokens)
    assert made.step_s(requests, tokens) <= made.mixed_step_s(requests, tokens)


def test_heads_within_a_window_do_their_own_arithmetic() -> None:
    made = speed("gemma-4-31b", "h200")
    alone = 50 * 20_000 * 1024 * made.model.windowed.pair_flop / (989e12 * 0.4)
    everything = 10 * 20_000**2 / 2 * made.model.full.pair_flop / (989e12 * 0.4)
    assert made.model.full.pair_flop == 2 * made.model.windowed.pair_flop
    assert made.attention_s(20_000) == pytest.approx(alone + everything)


def test_a_layer_that_shares_a_cache_attends_all_the_same() -> None:
    made = speed("gemma-4-e4b", "h200").model
    assert made.count(*EVERYTHING) == 7
    assert made.count(*WINDOWED) == 35


def test_nvfp4_prefills_faster_than_fp8_where_there_is_arithmetic_for_it() -> None:
    there, not_there = GPUS["b200"], GPUS["h200"]
    four, eight = (model().stored(weights, None) for weights in ("nvfp4", "fp8"))
    link = LINKS["nvlink5"]
    fast, slower = Speed(four, there, link, 1), Speed(eight, there, link, 1)
    assert fast.linear_s(8192) == pytest.approx(slower.linear_s(8192) / 2, rel=0.01)
    fast, slower = Speed(four, not_there, link, 1), Speed(eight, not_there, link, 1)
    assert fast.linear_s(8192) > slower.linear_s(8192)


def test_weights_alone_in_8_bits_prefill_as_slowly_as_bf16() -> None:
    both, alone, full = (
        Speed(model().stored(name, None), GPUS["l40s"], LINKS["pcie4"], 1)
        for name in ("int8", "w8a16", "bf16")
    )
    assert both.linear_s(8192) < alone.linear_s(8192) == full.linear_s(8192)

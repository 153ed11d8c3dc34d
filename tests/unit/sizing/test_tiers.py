"""When LMCache and separate prefills pay."""

from dataclasses import replace

import pytest

from router.sizing.fleet import Load, load
from router.sizing.tiers import Disaggregation, Tier, disaggregation, tier
from router.sizing.worker import Worker
from tests.unit.sizing.questions import worker


def made(worker_: Worker, gib: float = 64) -> Tier:
    found = tier(worker_, gib)
    assert found is not None
    return found


def test_it_pays_where_the_gpus_hold_too_little() -> None:
    found = made(worker())
    assert found.pays
    assert found.load_per_s > 10 * found.compute_per_s
    assert found.tokens == 64 * 2**30 // 131_072


@pytest.mark.parametrize(
    ("wanted", "gib", "why"),
    [
        ({"prefixes": 2, "concurrency": 1}, 64, "hold all 2 prefixes already"),
        ({"shared": 0.0}, 64, "share nothing"),
        ({}, 1, "not even one prefix"),
    ],
)
def test_and_where_not(wanted: dict[str, float], gib: float, why: str) -> None:
    found = made(worker(**wanted), gib)
    assert not found.pays
    assert why in found.why


def test_a_model_that_computes_faster_than_it_loads_does_without() -> None:
    """A cache of 128 KiB per token over PCIe 4, at an imaginary GPU's speed."""
    here = worker("llama-3.1-8b")
    gpu = replace(here.speed.gpu, bf16=1e17, bandwidth=1e14)
    found = made(replace(here, speed=replace(here.speed, gpu=gpu)))
    assert not found.pays
    assert "about as fast" in found.why


def test_workers_share_the_machine_s_memory() -> None:
    assert made(worker(gpus=4)).cpu_gib == 16


def test_without_memory_or_cache_there_is_no_tier() -> None:
    assert tier(worker(), 0) is None
    assert tier(worker("bge-m3", context=512, output=0, shared=0.0), 64) is None


def separate(worker_: Worker, gbit: float, **load_changes: float) -> Disaggregation:
    now: Load = load(worker_, 2, 0.1, by_prefix=True)
    return disaggregation(worker_, replace(now, **load_changes), gbit)  # type: ignore[arg-type]


def test_separate_prefills_pay_on_a_fast_network() -> None:
    found = separate(worker("llama-3.3-70b", "h100", 4, 8), 400, prefill=0.5)
    assert found.pays, found.why
    assert found.transfer_s < 0.2 * found.prefill_s
    assert found.mixed_step_s > 0.05 > found.step_s


@pytest.mark.parametrize(
    ("gbit", "prefill", "gpus", "why"),
    [
        (1, 0.5, 8, "moving takes"),
        (400, 0.1, 8, "--max-num-batched-tokens"),
    ],
)
def test_and_where_they_do_not(gbit: float, prefill: float, gpus: int, why: str) -> None:
    found = separate(worker("llama-3.3-70b", "h100", 4, gpus), gbit, prefill=prefill)
    assert not found.pays
    assert why in found.why


def test_one_worker_cannot_be_two() -> None:
    here = worker("llama-3.3-70b", "h100", 4)
    now = replace(load(here, 1, 0.1, by_prefix=True), prefill=0.5)
    assert "at least two" in disaggregation(here, now, 400).why


def test_steps_that_meet_the_objective_anyway_are_left_alone() -> None:
    found = separate(worker("llama-3.3-70b", "h100", 4, 8, tpot_s=10.0), 400, prefill=0.5)
    assert "meet the TPOT objective" in found.why


def test_an_encoder_has_nothing_to_move() -> None:
    found = separate(worker("bge-m3", context=512, output=0, shared=0.0), 100)
    assert "no KV cache" in found.why


@pytest.mark.parametrize(
    ("name", "gpu", "said"),
    [
        ("gpt-oss-20b", "l40s", "windowed layers keep every token: 48 KiB per token"),
        ("gemma-3-27b", "h200", "windowed layers keep every token"),
        ("jamba-mini", "h200", "vLLM does not start"),
        ("qwen3-next-80b", "b200", "vLLM does not start"),
        ("llama-3.1-8b", "l40s", None),
        ("mistral-7b", "l40s", None),
    ],
)
def test_what_lmcache_within_the_worker_does_to_unlike_layers(
    name: str, gpu: str, said: str | None
) -> None:
    """Its connector switches vLLM's hybrid manager off; layers that are all alike need none."""
    found = made(worker(name, gpu)).in_process
    assert found is None if said is None else said in str(found)

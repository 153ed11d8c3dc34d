"""The tables fit together."""

import pytest

from router.sizing.gpus import GPUS, INSTANCES, LINKS, network_gbit


@pytest.mark.parametrize("name", GPUS)
def test_every_gpu_has_its_links(name: str) -> None:
    assert GPUS[name].link in LINKS
    assert GPUS[name].host in LINKS


@pytest.mark.parametrize("name", INSTANCES)
def test_every_instance_has_a_known_gpu(name: str) -> None:
    assert INSTANCES[name].gpu in GPUS
    assert name not in GPUS


def test_what_a_gpu_cannot_do_it_does_in_bf16() -> None:
    assert GPUS["a100-80"].flop_per_s("fp8") == GPUS["a100-80"].bf16
    assert GPUS["l40s"].flop_per_s("fp8") == 733e12
    assert GPUS["a100-80"].flop_per_s("int8") == 624e12


@pytest.mark.parametrize(
    ("name", "tokens"),
    [
        ("l4", 2048),
        ("l40s", 2048),
        ("a100-80", 2048),
        ("h100", 8192),
        ("h200", 8192),
        ("b200", 16_384),
        ("mi300x", 16_384),
    ],
)
def test_steps_are_as_large_as_vllm_makes_them(name: str, tokens: int) -> None:
    assert GPUS[name].step_tokens == tokens


@pytest.mark.parametrize(
    ("name", "requests"),
    [("l40s", 256), ("a100-80", 256), ("h100", 1024), ("b200", 1024), ("mi300x", 1024)],
)
def test_so_many_requests_run_at_once_at_most(name: str, requests: int) -> None:
    assert GPUS[name].max_requests == requests


def test_blackwell_multiplies_4_bits_twice_as_fast_as_8() -> None:
    assert GPUS["b200"].flop_per_s("fp4") == 2 * GPUS["b200"].flop_per_s("fp8")
    assert GPUS["rtx-pro-6000"].flop_per_s("fp4") > GPUS["rtx-pro-6000"].fp8
    assert GPUS["h200"].flop_per_s("fp4") == GPUS["h200"].bf16


def test_network() -> None:
    assert network_gbit("l40s", INSTANCES["g6e.12xlarge"]) == 25
    assert network_gbit("h200", None) == 400
    assert network_gbit("mi300x", None) == 100

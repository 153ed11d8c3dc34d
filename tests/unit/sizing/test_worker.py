"""What one worker can do."""

from hypothesis import given
from hypothesis import strategies as st

from tests.unit.sizing.questions import NAMES, worker


def test_8b_on_one_l40s() -> None:
    made = worker()
    assert made.fits
    assert 180_000 < made.kv_tokens < 220_000
    assert made.at_once == made.kv_tokens // 20_512
    assert made.kv_tokens == 16 * made.kv_blocks


def test_requests_are_shared_out_over_the_workers() -> None:
    assert worker(gpus=8).alongside == 4
    assert worker(gpus=1).alongside == worker().at_once  # no more than fit
    assert worker(gpus=8, concurrency=9).alongside == 2


def test_a_shared_beginning_is_held_once() -> None:
    made = worker(prefixes=1)
    assert made.at_once is not None
    assert made.at_once_shared is not None
    assert made.at_once_shared > 2 * made.at_once
    assert worker(shared=0.0).at_once_shared == worker().at_once


def test_prefixes_stay_beside_what_runs() -> None:
    assert worker(concurrency=1).prefixes > worker(concurrency=8).prefixes
    assert worker(shared=0.0).prefixes == 0


def test_what_misses_the_objectives() -> None:
    assert worker(context=1000, concurrency=1).misses() == []
    assert worker(context=1000, concurrency=10_000).misses() == ["TPOT", "concurrency"]
    assert worker(context=200_000, concurrency=1).misses()[0] == "TTFT"


def test_a_cached_prefix_shortens_the_wait() -> None:
    assert worker().warm_s < 0.6 * worker().cold_s
    assert worker(shared=0.0).warm_s == worker().cold_s


def test_70b_does_not_fit_one_l40s() -> None:
    made = worker("llama-3.3-70b")
    assert not made.fits
    assert made.at_once == 0
    assert worker("llama-3.3-70b", tp=4).fits


def test_an_encoder_fits_without_a_cache() -> None:
    made = worker("bge-m3", context=512, output=0, shared=0.0)
    assert made.fits
    assert made.at_once is None
    assert made.room == 32
    assert made.misses() == []


@given(
    name=st.sampled_from([name for name in NAMES if name != "tiny-qwen3"]),  # smaller than NCCL
    context=st.integers(16, 100_000),
    longer=st.integers(0, 100_000),
    tp=st.sampled_from([1, 2, 4]),
)
def test_longer_prompts_are_never_more_and_wider_workers_never_hold_less(
    name: str, context: int, longer: int, tp: int
) -> None:
    here, there = (
        worker(name, tp=tp, context=context),
        worker(name, tp=tp, context=context + longer),
    )
    assert (here.at_once is None) is (there.at_once is None)
    if here.at_once is not None and there.at_once is not None:
        assert there.at_once <= here.at_once
    wider = worker(name, tp=2 * tp, context=context)
    if here.fits and here.at_once is not None and wider.at_once is not None:
        assert wider.fits
        assert wider.at_once >= here.at_once


def test_no_more_run_at_once_than_vllm_lets() -> None:
    made = worker("llama-3.1-8b", "h200", context=100, output=20, concurrency=2000)
    assert made.at_once is not None
    assert made.at_once > 2000
    assert made.room == made.speed.gpu.max_requests
    assert made.misses() == ["concurrency"]

"""Whatever a worker says of itself: it is understood, passed over or refused as a bad answer."""

import contextlib

import pytest
from hypothesis import given

from router.engines.vllm import cache_size_in, gauges_in, models_in, ranks_in, started_at_in
from router.errors import RouterError
from tests.fuzz.limits import FUZZ
from tests.fuzz.mutations import mutated

MODELS = [
    b'{"object":"list","data":[{"id":"m","object":"model","root":"m","parent":null,"max_model_len":8}]}',
    b'{"data":[{"id":"a","parent":"m"},{"id":5}]}',
    b'{"data":{"id":1}}',
]
METRICS = [
    b'vllm:num_requests_running{engine="0",model_name="m"} 1.0\n'
    b'vllm:num_requests_waiting{engine="0",model_name="m"} 2.0\n'
    b'vllm:kv_cache_usage_perc{engine="0",model_name="m"} 0.5\n'
    b'vllm:cache_config_info{block_size="32",engine="0",num_gpu_blocks="60"} 1.0\n',
    b"process_start_time_seconds 1.8e+09\n"
    b'# HELP x y\nvllm:num_requests_running{model_name="a\\"} 1"} 3\n',
]
WORDS = [
    *(b"\n", b"\\", b'"', b"{", b"}", b",", b" ", b"1e999", b"NaN", b"-1", b"inf", b"\xff"),
    *(b"\\ud800", b"null", b"1.2.3", b"1e", b"+", b"\xd9\xa1", b'engine="1"', b"\0"),
]  # fmt: skip


@FUZZ
@given(mutated(MODELS, WORDS))
def test_models(body: bytes) -> None:
    with contextlib.suppress(RouterError):
        assert all(isinstance(name, str) for name in models_in(body))


@FUZZ
@given(mutated(METRICS, WORDS))
def test_metrics(page: bytes) -> None:
    gauges_in(page)
    ranks_in(page)
    cache_size_in(page)
    started_at_in(page)


def test_models_too_deep() -> None:
    with pytest.raises(RouterError):
        models_in(b'{"data":' + b"[" * 5000)


@pytest.mark.parametrize("value", [b"1.2.3", b"e", b"1.8+09", b".", b"1e999"])
def test_a_start_that_is_no_number(value: bytes) -> None:
    assert started_at_in(b"process_start_time_seconds " + value + b"\n") is None


def test_a_cache_of_too_many_digits() -> None:
    digits = b"9" * 5000
    labels = b'block_size="%b",num_gpu_blocks="%b"' % (digits, digits)
    assert cache_size_in(b"vllm:cache_config_info{%b} 1.0\n" % labels) == (None, None)

"""Heads of layers that differ within a model."""

import pytest

from router.sizing.attention import Heads, attention_parameters, heads, kv_heads
from router.sizing.fields import ConfigError, Fields
from router.sizing.layers import Mixer
from router.sizing.memory import token_bytes, windowed_token_bytes
from tests.unit.sizing.questions import config, model


def of(name: str, mixer: Mixer) -> Heads:
    return heads(Fields(config(name)), mixer)


def test_mimo_has_other_heads_within_its_windows_and_smaller_values() -> None:
    assert of("mimo-v2-flash", Mixer.FULL) == Heads(64, 4, 192, 128)
    assert of("mimo-v2-flash", Mixer.SLIDING) == Heads(64, 8, 192, 128)
    made = model("mimo-v2-flash")
    assert token_bytes(made) == 9 * 4 * (192 + 128) * 2 == 22.5 * 1024
    assert windowed_token_bytes(made) == 39 * 8 * (192 + 128) * 2


def test_gemma_4_sees_everything_with_fewer_and_larger_heads() -> None:
    assert of("gemma-4-31b", Mixer.FULL) == Heads(32, 4, 512, 512, shared=True)
    assert of("gemma-4-31b", Mixer.SLIDING) == Heads(32, 16, 256, 256)
    assert token_bytes(model("gemma-4-31b")) == 10 * 4 * 2 * 512 * 2 == 80 * 1024
    assert windowed_token_bytes(model("gemma-4-31b")) == 50 * 16 * 2 * 256 * 2


def test_without_shared_keys_gemma_4_has_the_usual_number_of_them() -> None:
    fields = Fields({**config("gemma-4-31b")["text_config"], "attention_k_eq_v": False})
    assert heads(fields) == Heads(32, 16, 512, 512)


def test_other_models_have_one_kind() -> None:
    for name in ("llama-3.1-8b", "gpt-oss-20b", "gemma-3-27b"):
        assert of(name, Mixer.FULL) == of(name, Mixer.SLIDING)


def test_falcon_7b_has_one_kv_head() -> None:
    fields = {"num_attention_heads": 71, "hidden_size": 4544, "multi_query": True}
    assert kv_heads(Fields(fields)) == 1
    newer = {"new_decoder_architecture": True, "num_kv_heads": 8, "num_attention_heads": 128}
    assert kv_heads(Fields({**fields, **newer})) == 8


def test_more_kv_heads_within_the_window_than_heads_are_refused() -> None:
    with pytest.raises(ConfigError, match="more KV heads"):
        model("mimo-v2-flash", swa_num_key_value_heads=128)


def test_qwen_3_5_has_a_gate_as_wide_as_its_queries() -> None:
    fields = Fields(config("qwen3.5-27b"))
    query, kv, size, hidden = 24, 4, 256, 5120
    expected = hidden * (2 * query + 2 * kv) * size + query * size * hidden
    assert attention_parameters(fields, Mixer.FULL) == expected

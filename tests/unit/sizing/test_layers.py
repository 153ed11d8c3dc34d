"""Which layers of which family do what."""

from collections import Counter
from typing import Any

import pytest

from router.sizing.fields import ConfigError, Fields
from router.sizing.layers import Layer, Mixer, Mlp, layers, window
from tests.unit.sizing.questions import config


def mixers(name: str) -> dict[Mixer, int]:
    return dict(Counter(layer.mixer for layer in layers(Fields(config(name)))))


def stack(**fields: Any) -> tuple[Layer, ...]:
    return layers(Fields(fields))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("llama-3.1-8b", {Mixer.FULL: 32}),
        ("qwen2.5-7b", {Mixer.FULL: 28}),
        ("mistral-7b", {Mixer.SLIDING: 32}),
        ("gpt-oss-20b", {Mixer.SLIDING: 12, Mixer.FULL: 12}),
        ("gemma-3-27b", {Mixer.SLIDING: 52, Mixer.FULL: 10}),
        ("llama-4-scout", {Mixer.SLIDING: 36, Mixer.FULL: 12}),
        ("qwen3-next-80b", {Mixer.LINEAR: 36, Mixer.FULL: 12}),
        ("jamba-mini", {Mixer.MAMBA: 28, Mixer.FULL: 4}),
        ("nemotron-h-8b", {Mixer.MAMBA2: 24, Mixer.NONE: 24, Mixer.FULL: 4}),
        ("bge-m3", {Mixer.ENCODER: 24}),
        ("mimo-v2-flash", {Mixer.FULL: 9, Mixer.SLIDING: 39}),
        ("kimi-linear-48b", {Mixer.KDA: 20, Mixer.FULL: 7}),
        ("falcon-h1-34b", {Mixer.BESIDE: 72}),
        ("gemma-4-31b", {Mixer.SLIDING: 50, Mixer.FULL: 10}),
        (
            "gemma-4-e4b",
            {Mixer.SLIDING: 20, Mixer.FULL: 4, Mixer.SHARED_SLIDING: 15, Mixer.SHARED: 3},
        ),
        ("qwen3.5-35b-a3b", {Mixer.LINEAR: 30, Mixer.FULL: 10}),
    ],
)
def test_families(name: str, expected: dict[Mixer, int]) -> None:
    assert mixers(name) == expected


def test_gpt_oss_alternates_where_its_config_does_not_say() -> None:
    made = stack(model_type="gpt_oss", num_hidden_layers=4, sliding_window=128)
    assert [layer.mixer for layer in made] == [Mixer.SLIDING, Mixer.FULL] * 2


def test_qwen_2_slides_from_a_layer_on() -> None:
    made = stack(
        model_type="qwen2",
        num_hidden_layers=3,
        sliding_window=9,
        use_sliding_window=True,
        max_window_layers=2,
    )
    assert [layer.mixer for layer in made] == [Mixer.FULL, Mixer.FULL, Mixer.SLIDING]


def test_mamba_layers_with_heads_are_mamba_2() -> None:
    made = stack(num_hidden_layers=2, layer_types=["mamba", "attention"], mamba_n_heads=8)
    assert [layer.mixer for layer in made] == [Mixer.MAMBA2, Mixer.FULL]


@pytest.mark.parametrize(
    ("fields", "dense"),
    [
        ({"first_k_dense_replace": 2}, [0, 1]),
        ({"mlp_only_layers": [3]}, [3]),
        ({"decoder_sparse_step": 2}, [0, 2]),
        ({"interleave_moe_layer_step": 2}, [0, 2]),
        ({"expert_layer_period": 2, "expert_layer_offset": 1}, [0, 2]),
        ({"moe_layer_freq": [0, 1, 0, 1]}, [0, 2]),
        ({"mlp_layer_types": ["dense", "sparse", "dense", "sparse"]}, [0, 2]),
        ({"moe_layer_start_index": 1}, [0]),
        ({"moe_layer_interval": 2}, [0, 2]),
    ],
)
def test_each_family_says_in_its_way_which_layers_have_experts(
    fields: dict[str, Any], dense: list[int]
) -> None:
    made = stack(num_hidden_layers=4, num_experts=8, **fields)
    assert [at for at, layer in enumerate(made) if layer.mlp is Mlp.DENSE] == dense


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"layer_types": ["full_attention"]}, "names 1 layers of 2"),
        ({"layer_types": "full"}, "not a list"),
        ({"layer_types": [1, 2]}, "has 1, of which"),
        ({"num_hidden_layers": 10**9}, "more than any model"),
        ({"layer_types": ["full_attention", "telepathy"]}, "'telepathy'"),
        ({"layer_types": ["full_attention", "sliding_attention"]}, "`sliding_window` is missing"),
        ({"hybrid_override_pattern": "MX"}, "hybrid_override_pattern"),
        ({"hybrid_override_pattern": "M"}, "hybrid_override_pattern"),
        ({"model_type": "gemma4_text", "num_kv_shared_layers": 2}, "no layer to share with"),
        ({"hybrid_layer_pattern": [0]}, "does not name 2 layers by 0 or 1"),
        ({"hybrid_layer_pattern": [0, 2]}, "does not name 2 layers by 0 or 1"),
        ({"hybrid_layer_pattern": [0, 1]}, "`sliding_window` is missing"),
        ({"linear_attn_config": {"kda_layers": [1]}}, "lacks `full_attn_layers`"),
        ({"linear_attn_config": {"kda_layers": [1], "full_attn_layers": [1]}}, "each of 2 layers"),
        ({"linear_attn_config": {"kda_layers": [0], "full_attn_layers": [1]}}, "each of 2 layers"),
        ({"attn_type_list": [0, 1]}, "lightning attention"),
        ({"attn_layer_indices": [2]}, "`attn_layer_indices`"),
    ],
)
def test_what_does_not_add_up_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        stack(**{"num_hidden_layers": 2, **fields})


def test_llama_4_calls_its_window_a_chunk() -> None:
    assert window(Fields(config("llama-4-scout"))) == 8192
    assert window(Fields(config("llama-3.1-8b"))) == 0


def test_bamba_says_which_layers_attend() -> None:
    made = stack(num_hidden_layers=3, attn_layer_indices=[1])
    assert [layer.mixer for layer in made] == [Mixer.MAMBA2, Mixer.FULL, Mixer.MAMBA2]


def test_layers_are_what_their_fields_say_when_families_call_them_alike() -> None:
    names = {"num_hidden_layers": 1, "layer_types": ["linear_attention"]}
    assert stack(**names, linear_num_value_heads=4)[0].mixer is Mixer.LINEAR
    assert stack(**names, linear_num_heads=4)[0].mixer is Mixer.KDA
    assert stack(**names, mamba_n_heads=4)[0].mixer is Mixer.MAMBA2


def test_minimax_m2_has_full_attention_everywhere() -> None:
    assert stack(num_hidden_layers=1, attn_type_list=[1])[0].mixer is Mixer.FULL

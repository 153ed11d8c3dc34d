"""What is not understood is said, or refused."""

from typing import Any

import pytest

from router.sizing.fields import ConfigError
from router.sizing.figures import figures
from router.sizing.table import table
from tests.unit.sizing.questions import NAMES, answered, model


@pytest.mark.parametrize("name", NAMES)
def test_published_configs_are_understood(name: str) -> None:
    assert model(name).not_understood == ()


@pytest.mark.parametrize(
    "field",
    [
        {"layer_block_pattern": "LLLG"},
        {"cross_attention_layers": [3, 8]},
        {"num_kv_shared_layers": 18},
        {"lru_width": 2560, "block_types": ["recurrent", "attention"]},
        {"block_configs": [{"attention": None}]},
        {"compress_ratios": [4, 128]},
        {"hidden_size_per_layer_input": 256},
        {"global_attn_every_n_layers": 4},
        {"full_attn_idxs": [2, 5]},
    ],
    ids=lambda field: next(iter(field)),
)
def test_a_field_that_shapes_the_cache_is_refused_where_nothing_reads_it(
    field: dict[str, Any],
) -> None:
    with pytest.raises(ConfigError, match=f"`{next(iter(field))}`.* may decide which layers keep"):
        model(**field)


def test_what_layer_types_has_said_is_no_surprise() -> None:
    layers = ["full_attention"] * 32
    assert not model(layer_types=layers, global_attn_every_n_layers=4).not_understood


@pytest.mark.parametrize(
    "field", [{"zero_expert_num": 256}, {"index_head_dim": 128}, {"adapter_hidden_dims": [4]}]
)
def test_any_other_is_warned_of_and_nothing_looks_exact(field: dict[str, Any]) -> None:
    made = model(**field)
    (name,) = field
    assert made.not_understood == (f"`{name}`",)
    answer = answered(made)
    shown = table(answer, [])
    assert f"Warning: not understood: `{name}`. Figures may be off." in shown
    for line in ("parameters             ~ 8.03 B", "KV cache per token   ~ 128 KiB"):
        assert line.split("~")[0].strip() + " ~" in " ".join(shown.split())
    found = figures(answer, [])
    assert found["exact"] == ["hardware", "asked", "memory.usable_bytes"]
    assert found["model"]["not_understood"] == [f"`{name}`"]
    assert found["warnings"] == [f"not understood: `{name}`. Figures may be off"]


@pytest.mark.parametrize(
    "field",
    [
        {"attention_dropout": 0.1},
        {"use_cache": True},
        {"num_nextn_predict_layers": 1},
        {"mtp_transformer_layers": 1},
        {"window_size": None},
        {"attn_implementation": "flash_attention_2"},
        {"ep_size": 1, "num_nextn_predict_layers": 1, "aux_loss_alpha": 1},  # DeepSeek-V3
        {"mlp_expansion_factor": 8, "attention_in_multiplier": 1},  # Falcon-H1
        {"rotary_dim": 64, "num_mtp_modules": 3, "shared_moe_mode": "sigmoid"},  # MiniMax-M2
        {"layer_switch": 4, "order_of_interleaved_layers": "local_attn_first"},  # Command R7B
        {"attn_temperature_tuning": 4, "no_rope_layers": [1, 0], "moe_layers": [1]},  # Llama 4
        {"moe_capacity": [64, 64], "moe_gate": "topk"},  # ERNIE 4.5
        {"vision_feature_layer": -2, "image_token_index": 9},
    ],
    ids=lambda field: next(iter(field)),
)
def test_what_decides_nothing_is_let_be(field: dict[str, Any]) -> None:
    assert not model(**field).not_understood


def test_an_encoder_keeps_no_cache_that_could_be_wrong() -> None:
    """ModernBERT: its windows shorten attention only; that its count is off is said."""
    made = model(model_type="modernbert", global_attn_every_n_layers=3, local_attention=128)
    assert "`global_attn_every_n_layers`, `local_attention`" in made.not_understood

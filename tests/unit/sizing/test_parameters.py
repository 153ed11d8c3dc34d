"""Counted parameters against what the models' makers publish."""

import pytest

from router.sizing.fields import Fields
from router.sizing.layers import layers
from router.sizing.parameters import Parameters, count
from tests.unit.sizing.questions import config


def counted(name: str) -> Parameters:
    fields = Fields(config(name))
    return count(fields, layers(fields))


@pytest.mark.parametrize(
    ("name", "billions", "within"),
    [
        ("llama-3.1-8b", 8.03, 0.001),
        ("llama-3.3-70b", 70.55, 0.001),
        ("qwen2.5-7b", 7.62, 0.001),
        ("mistral-7b", 7.24, 0.001),
        ("mixtral-8x7b", 46.7, 0.001),
        ("qwen3-30b-a3b", 30.53, 0.001),
        ("deepseek-v3", 671.0, 0.001),
        ("deepseek-v2-lite", 15.7, 0.001),
        ("gpt-oss-20b", 20.91, 0.001),
        ("gpt-oss-120b", 116.83, 0.001),
        ("gemma-3-27b", 27.0, 0.01),
        ("qwen3-next-80b", 80.0, 0.01),
        ("jamba-mini", 51.6, 0.002),
        ("llama-4-scout", 108.0, 0.01),  # 109 with its tower for images
        ("nemotron-h-8b", 8.1, 0.01),
        ("bge-m3", 0.568, 0.01),
        ("qwen3.5-35b-a3b", 34.66, 0.001),  # from here on as transformers builds it
        ("qwen3.5-27b", 26.90, 0.001),
        ("gemma-4-26b-a4b", 25.23, 0.001),
        ("gemma-4-31b", 30.70, 0.001),
        ("gemma-4-e4b", 7.463, 0.001),
        ("ernie-4.5-21b", 21.83, 0.001),
        ("mimo-v2-flash", 308.78, 0.001),
        ("kimi-linear-48b", 49.13, 0.001),
        ("falcon-h1-34b", 33.64, 0.001),
        ("command-r7b", 8.03, 0.001),
    ],
)
def test_totals(name: str, billions: float, within: float) -> None:
    assert counted(name).total / 1e9 == pytest.approx(billions, rel=within)


@pytest.mark.parametrize(
    ("name", "billions", "with_embedding"),
    [
        ("mixtral-8x7b", 12.9, True),
        ("qwen3-30b-a3b", 3.3, True),
        ("deepseek-v3", 37.0, True),
        ("gpt-oss-20b", 3.61, False),
        ("gpt-oss-120b", 5.13, False),
        ("jamba-mini", 12.0, True),
        ("llama-4-scout", 17.0, True),
    ],
)
def test_what_one_token_uses(name: str, billions: float, with_embedding: bool) -> None:
    parts = counted(name)
    used = parts.active + parts.embedding * with_embedding
    assert used / 1e9 == pytest.approx(billions, rel=0.02)


def test_one_table_for_input_and_output_counts_once() -> None:
    parts = counted("gemma-3-27b")
    assert parts.tied
    assert parts.head == 0
    assert parts.output == parts.embedding


def test_a_dense_model_uses_all_but_the_input_table() -> None:
    parts = counted("llama-3.1-8b")
    assert parts.active == parts.total - parts.embedding


GLM = {
    "moe_intermediate_size": 1536,
    "n_routed_experts": 160,
    "n_shared_experts": 1,
    "num_experts_per_tok": 8,
}
KIMI = {
    "n_routed_experts": 384,
    "num_attention_heads": 64,
    "first_k_dense_replace": 1,
    "vocab_size": 163_840,
}


@pytest.mark.parametrize(
    ("base", "changes", "billions"),
    [
        ("deepseek-v3", KIMI, 1026),  # Kimi K2
        (  # GLM 4.5
            "llama-3.1-8b",
            GLM
            | {
                "hidden_size": 5120,
                "intermediate_size": 12_288,
                "num_hidden_layers": 92,
                "head_dim": 128,
            }
            | {"num_attention_heads": 96, "first_k_dense_replace": 3, "vocab_size": 151_552},
            353,
        ),
        (  # Gemma 2 9B
            "gemma-3-27b",
            {
                "model_type": "gemma2",
                "text_config": None,
                "hidden_size": 3584,
                "intermediate_size": 14_336,
            }
            | {
                "num_hidden_layers": 42,
                "num_attention_heads": 16,
                "num_key_value_heads": 8,
                "vocab_size": 256_000,
            },
            9.24,
        ),
        (  # Llama 3.2 1B
            "llama-3.1-8b",
            {
                "hidden_size": 2048,
                "intermediate_size": 8192,
                "num_hidden_layers": 16,
                "head_dim": 64,
            }
            | {"tie_word_embeddings": True},
            1.236,
        ),
        (  # GPT-2
            "llama-3.1-8b",
            {
                "model_type": "gpt2",
                "hidden_size": 768,
                "intermediate_size": None,
                "num_hidden_layers": 12,
            }
            | {"num_attention_heads": 12, "num_key_value_heads": None, "vocab_size": 50_257}
            | {"max_position_embeddings": 1024, "tie_word_embeddings": True},
            0.124,
        ),
    ],
)
def test_relatives(base: str, changes: dict[str, object], billions: float) -> None:
    fields = Fields(config(base) | changes)
    assert count(fields, layers(fields)).total / 1e9 == pytest.approx(billions, rel=0.005)


@pytest.mark.parametrize("kind", ["cohere", "cohere2", "gpt2", "starcoder2", "falcon", "smollm3"])
def test_families_that_share_one_table_unless_they_say_otherwise(kind: str) -> None:
    fields = Fields({**config("llama-3.1-8b"), "model_type": kind, "tie_word_embeddings": None})
    assert count(fields, layers(fields)).tied
    assert f"`tie_word_embeddings` is true: transformers' default for {kind}" in fields.assumed
    fields = Fields({**config("llama-3.1-8b"), "model_type": kind, "tie_word_embeddings": False})
    assert not count(fields, layers(fields)).tied


def test_falcon_7b_leaves_out_how_wide_its_mlps_are() -> None:
    fields = Fields(
        {"model_type": "falcon", "hidden_size": 4544, "num_hidden_layers": 32, "vocab_size": 65_024}
        | {"num_attention_heads": 71, "multi_query": True}
    )
    assert count(fields, layers(fields)).total / 1e9 == pytest.approx(6.92, abs=0.01)


def test_granite_4_without_experts_has_a_shared_mlp_only() -> None:
    changes = {"model_type": "granitemoehybrid", "shared_intermediate_size": 4096}
    fields = Fields({**config("llama-3.1-8b"), **changes})
    other = Fields({**config("llama-3.1-8b"), "intermediate_size": 4096})
    assert count(fields, layers(fields)) == count(other, layers(other))


def test_gemma_4_e4b_has_a_table_per_layer_that_no_token_is_multiplied_with() -> None:
    parts = counted("gemma-4-e4b")
    assert parts.looked_up == 262_144 * 42 * 256
    assert parts.output == parts.embedding == 262_144 * 2560
    assert parts.active == parts.total - parts.looked_up


def test_gemma_4_e2b_has_mlps_twice_as_wide_where_it_shares_a_cache() -> None:
    """As transformers builds it: 15 layers of their own, 20 that share."""
    changes = {
        "hidden_size": 1536,
        "intermediate_size": 6144,
        "num_hidden_layers": 35,
        "num_key_value_heads": 1,
        "num_kv_shared_layers": 20,
        "use_double_wide_mlp": True,
        "layer_types": (["sliding_attention"] * 4 + ["full_attention"]) * 7,
    }
    fields = Fields(config("gemma-4-e4b")["text_config"] | changes)
    assert count(fields, layers(fields)).total == pytest.approx(4_628_569_344, rel=1e-4)

"""A model from its config."""

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from router.sizing.fields import ConfigError
from router.sizing.gpus import GPUS, LINKS
from router.sizing.layers import Mixer
from router.sizing.memory import memory
from router.sizing.model import read_model
from router.sizing.speed import Speed
from router.sizing.worker import build
from tests.unit.sizing.questions import NAMES, WANTED, config, model


@pytest.mark.parametrize("name", NAMES)
def test_every_config_is_read(name: str) -> None:
    made = model(name)
    assert made.parameters.total >= made.parameters.active > 0


@pytest.mark.parametrize(
    "field",
    ["hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size", "vocab_size"],
)
def test_a_needed_field_that_is_missing_is_named(field: str) -> None:
    fields = config("llama-3.1-8b")
    del fields[field]
    with pytest.raises(ConfigError, match=f"`{field}` is missing"):
        read_model(fields)


@pytest.mark.parametrize("field", ["qk_rope_head_dim", "v_head_dim", "num_experts_per_tok"])
def test_so_it_is_in_a_latent_attention_with_experts(field: str) -> None:
    fields = config("deepseek-v3")
    del fields[field]
    with pytest.raises(ConfigError, match=f"`{field}` is missing"):
        read_model(fields)


def test_more_experts_than_there_are_cannot_be_used() -> None:
    with pytest.raises(ConfigError, match="more than the 8 experts"):
        model("mixtral-8x7b", num_experts_per_tok=9)


def test_an_unknown_family_is_said_to_be_taken_for_a_llama() -> None:
    made = model(model_type="novel")
    said = "the family novel, taken for a Llama where its config says nothing else"
    assert made.not_understood == (said,)
    assert made.unsure
    assert made.parameters == model().parameters


def test_without_kv_heads_there_are_as_many_as_heads() -> None:
    made = model(num_key_value_heads=None)
    assert made.full.kv == 32
    assert "num_key_value_heads" in made.assumed[0]


def test_what_is_not_counted_is_said() -> None:
    assert "the towers for images and sound are not counted" in model("gemma-3-27b").assumed


def test_a_model_can_be_stored_otherwise() -> None:
    made = model().stored("int4", "fp8")
    assert (made.weights.name, made.kv) == ("int4", "fp8")
    assert model().stored(None, None) == model()


def test_the_latent_of_mla() -> None:
    assert model("deepseek-v3").latent == 512 + 64
    assert model().latent == 0


@pytest.mark.parametrize(
    ("name", "mib"),
    [("qwen3-next-80b", 73.7), ("jamba-mini", 15.3), ("nemotron-h-8b", 97.4), ("llama-3.1-8b", 0)],
)
def test_states_of_hybrid_models(name: str, mib: float) -> None:
    made = model(name)
    assert made.state_bytes / 2**20 == pytest.approx(mib, abs=0.1)
    assert any("state" in each for each in made.assumed) is bool(mib)


def test_layers_by_kind() -> None:
    made = model("gpt-oss-20b")
    assert made.count(Mixer.FULL) == 12
    assert made.count(Mixer.FULL, Mixer.SLIDING) == 24
    assert made.kinds == {Mixer.SLIDING: 12, Mixer.FULL: 12}


@pytest.mark.parametrize("value", [None, "7", [], {}])
def test_wrong_types_are_errors_of_the_config(value: Any) -> None:
    with pytest.raises(ConfigError):
        model(hidden_size=value)


VALUES = (
    st.none()
    | st.booleans()
    | st.integers(-1, 300)
    | st.floats(0, 9)
    | st.just("x")
    | st.just([1])
    | st.just({})
)


@settings(max_examples=200)
@given(data=st.data(), name=st.sampled_from(NAMES), value=VALUES)
def test_whatever_a_field_says_there_is_an_answer_or_an_error_that_names_it(
    data: st.DataObject, name: str, value: Any
) -> None:
    fields = config(name)
    inner = fields.get("text_config", fields)
    inner[data.draw(st.sampled_from(sorted(inner)))] = value
    try:
        made = read_model(fields)
    except ConfigError:
        return
    worker = build(
        Speed(made, GPUS["h200"], LINKS["nvlink4"], 1),
        memory(made, GPUS["h200"], 1, 0.9),
        1,
        WANTED,
    )
    assert worker.kv_tokens >= 0
    assert 0 < worker.warm_s <= worker.cold_s
    assert worker.tpot_s > 0


@pytest.mark.parametrize(
    ("scaling", "longest"),
    [
        ({"type": "yarn", "factor": 4.0}, 131_072),
        ({"rope_type": "llama3", "factor": 8.0}, 131_072),
        ({"rope_type": "linear", "factor": 4.0}, 524_288),
        ({"rope_type": "dynamic", "factor": 2}, 262_144),
        ({"rope_type": "linear", "factor": "4"}, 131_072),
        (None, 131_072),
    ],
)
def test_the_longest_context_is_scaled_as_vllm_does(scaling: Any, longest: int) -> None:
    """Read from vLLM 0.32's own ModelConfig: YaRN's factor is in `max_position_embeddings` already."""
    assert model(rope_scaling=scaling, max_position_embeddings=131_072).context == longest

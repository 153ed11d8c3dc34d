"""Fields of a config.json under their names."""

import pytest

from router.sizing.fields import ConfigError, Fields


def test_a_field_has_several_names() -> None:
    assert Fields({"n_embd": 768}).number("hidden_size") == 768
    assert Fields({"n_routed_experts": 256}).number("num_experts") == 256


def test_the_language_model_of_a_multimodal_one_counts() -> None:
    fields = Fields(
        {"model_type": "gemma3", "text_config": {"model_type": "gemma3_text", "x": 1}, "y": 2}
    )
    assert (fields.kind, fields.number("x"), fields.number("y")) == ("gemma3_text", 1, 2)


def test_a_missing_field_is_named() -> None:
    with pytest.raises(ConfigError, match="`hidden_size` is missing"):
        Fields({}).number("hidden_size")


@pytest.mark.parametrize("value", ["4096", 4096.0, True, -1, [1]])
def test_what_is_no_number_is_named(value: object) -> None:
    with pytest.raises(ConfigError, match="`hidden_size` is"):
        Fields({"hidden_size": value}).number("hidden_size")


def test_zero_is_refused_where_it_cannot_be() -> None:
    with pytest.raises(ConfigError, match="is 0"):
        Fields({"hidden_size": 0}).positive("hidden_size")


def test_a_default_that_is_taken_is_said() -> None:
    fields = Fields({"model_type": "gemma3_text"})
    assert fields.number("vocab_size") == fields.number("vocab_size") == 262_208
    assert fields.assumed == ["vocab_size is 262,208: transformers' default for gemma3_text"]

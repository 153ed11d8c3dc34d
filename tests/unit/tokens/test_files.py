"""A model's directory, as vLLM reads it."""

import json
from pathlib import Path
from typing import Any

import pytest

from router.tokens.files import ModelFiles, TokenizerFilesError, load
from tests.unit.tokens.models import SPECIAL_TOKENS, TEMPLATES, tokenizer_of, write_model

TOKEN = {
    "lstrip": False,
    "rstrip": False,
    "normalized": False,
    "single_word": False,
    "special": True,
}


def loaded(directory: Path, template: Any = "T", **config: Any) -> ModelFiles:
    return load(write_model(directory, template, **config))


def added(files: ModelFiles) -> list[str]:
    """Tokens added beside those of tokenizer.json, by id."""
    own = tokenizer_of().get_added_tokens_decoder()
    now = files.tokenizer.get_added_tokens_decoder()
    return [now[place].content for place in sorted(now.keys() - own.keys())]


def test_one_template_serves_chats_with_and_without_tools(tmp_path: Path) -> None:
    files = loaded(tmp_path)
    assert (files.template, files.tool_template) == ("T", "T")
    assert files.special_tokens == SPECIAL_TOKENS


def test_a_template_may_be_for_tools(tmp_path: Path) -> None:
    named = [{"name": "default", "template": "D"}, {"name": "tool_use", "template": "U"}]
    files = loaded(tmp_path, named)
    assert (files.template, files.tool_template) == ("D", "U")


def test_templates_in_files_of_their_own_win(tmp_path: Path) -> None:
    write_model(tmp_path)
    (tmp_path / "chat_template.jinja").write_text("J")
    assert load(tmp_path).tool_template == "J"
    (tmp_path / "additional_chat_templates").mkdir()
    (tmp_path / "additional_chat_templates/tool_use.jinja").write_text("U")
    files = load(tmp_path)
    assert (files.template, files.tool_template) == ("J", "U")


def test_a_processors_template_serves_chats_without_tools(tmp_path: Path) -> None:
    write_model(tmp_path, "T")
    (tmp_path / "chat_template.json").write_text(json.dumps({"chat_template": "P"}))
    files = load(tmp_path)
    assert (files.template, files.tool_template) == ("P", "T")


def test_a_model_may_have_no_template(tmp_path: Path) -> None:
    files = loaded(tmp_path, None)
    assert (files.template, files.tool_template) == (None, None)


def test_special_tokens_may_be_objects(tmp_path: Path) -> None:
    files = loaded(tmp_path, bos_token={"content": "<s>", **TOKEN}, eos_token=None)
    assert files.special_tokens == {"bos_token": "<s>", "pad_token": "<|endoftext|>"}


def test_an_older_file_of_special_tokens_is_read_too(tmp_path: Path) -> None:
    write_model(tmp_path)
    (tmp_path / "special_tokens_map.json").write_text(json.dumps({"bos_token": "<|im_start|>"}))
    assert load(tmp_path).special_tokens["bos_token"] == "<|im_start|>"
    write_model(tmp_path, added_tokens_decoder={})
    assert load(tmp_path).special_tokens["bos_token"] == "<s>"


def test_tokens_that_only_the_configuration_names_are_added_in_transformers_order(
    tmp_path: Path,
) -> None:
    files = loaded(
        tmp_path,
        added_tokens_decoder={
            "990": {"content": "<b>", **TOKEN},
            "989": {"content": "<a>", **TOKEN},
            "1": {"content": "<s>", **TOKEN},
        },
        image_token="<image>",
        unk_token="<unk>",
        additional_special_tokens=["<x>", "<a>"],
    )
    assert added(files) == ["<a>", "<b>", "<unk>", "<image>", "<x>"]


def test_further_special_tokens_may_have_names(tmp_path: Path) -> None:
    assert added(loaded(tmp_path, extra_special_tokens={"eye_token": "<eye>"})) == ["<eye>"]


def test_special_tokens_may_be_declared_text(tmp_path: Path) -> None:
    assert loaded(tmp_path, split_special_tokens=True).tokenizer.encode_special_tokens
    assert not loaded(tmp_path).tokenizer.encode_special_tokens


@pytest.mark.parametrize(
    ("file", "text", "complaint"),
    [
        ("tokenizer.json", "{}", "cannot be read"),
        ("tokenizer_config.json", "{", "cannot be read"),
        ("tokenizer_config.json", '{"auto_map": {"AutoTokenizer": ["x.Y", null]}}', "code of its"),
        ("config.json", '{"architectures": ["GptOssForCausalLM"]}', "without a chat template"),
    ],
)
def test_files_that_would_not_give_the_engines_prompts_are_refused(
    tmp_path: Path, file: str, text: str, complaint: str
) -> None:
    write_model(tmp_path, TEMPLATES["chatml"])
    (tmp_path / file).write_text(text)
    with pytest.raises(TokenizerFilesError, match=complaint):
        load(tmp_path)


def test_mistrals_own_format_is_refused(tmp_path: Path) -> None:
    write_model(tmp_path)
    (tmp_path / "tekken.json").write_text("{}")
    load(tmp_path)  # not yet: vLLM takes it for Mistral's by its parameters
    (tmp_path / "params.json").write_text("{}")
    with pytest.raises(TokenizerFilesError, match="mistral-common"):
        load(tmp_path)


def test_what_is_missing_is_said(tmp_path: Path) -> None:
    with pytest.raises(TokenizerFilesError, match="not a directory"):
        load(tmp_path / "nowhere")
    with pytest.raises(TokenizerFilesError, match=r"no tokenizer\.json"):
        load(tmp_path)

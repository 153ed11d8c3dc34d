"""Prompts to token ids by a model's own files."""

from pathlib import Path
from typing import Any

import pytest

from router.tokens.body import read
from router.tokens.local import LocalTokenizer
from router.tokens.prompt import IdsPrompt, Inexact, Reason
from router.tokens.segments import SegmentCache
from tests.unit.support import chat, request
from tests.unit.tokens.models import local_model, tokenizer_of, write_model

TOOLS = [{"type": "function", "function": {"name": "f"}}]


def text_of(model: LocalTokenizer, body: dict[str, Any], path: str = "/v1/chat/completions") -> str:
    prompt = read(request(body, path=path))
    assert not isinstance(prompt, IdsPrompt)
    return tokenizer_of().decode(list(model.ids_now(prompt)), skip_special_tokens=False)


def test_a_chat_is_rendered_and_encoded(tmp_path: Path) -> None:
    written = text_of(local_model(tmp_path), chat("hi"))
    assert written == "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"


def test_a_text_is_encoded_with_what_belongs_around_it(tmp_path: Path) -> None:
    model = local_model(tmp_path)
    assert text_of(model, {"prompt": "hi"}, "/v1/completions") == "<s>hi"
    plain = {"prompt": "hi", "add_special_tokens": False}
    assert text_of(model, plain, "/v1/completions") == "hi"


def test_tools_may_have_a_template_of_their_own(tmp_path: Path) -> None:
    named = [{"name": "default", "template": "plain"}, {"name": "tool_use", "template": "tools"}]
    model = local_model(tmp_path, named)
    assert text_of(model, chat("hi")) == "plain"
    assert text_of(model, chat("hi", tools=TOOLS)) == "tools"


def test_the_workers_own_template_and_defaults_are_used(tmp_path: Path) -> None:
    cache = SegmentCache(1_000)
    model = LocalTokenizer.load(
        write_model(tmp_path), cache, template="{{ mood }}", defaults={"mood": "fox"}
    )
    assert text_of(model, chat("hi", tools=TOOLS)) == "fox"


def test_a_chat_without_a_template_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Inexact) as raised:
        text_of(local_model(tmp_path, None), chat("hi"))
    assert raised.value.reason is Reason.RENDER


def test_a_broken_template_is_said_at_once(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="chat template"):
        local_model(tmp_path, "{% if %}")

"""Chats as text. `vllm_chats.json` holds what vLLM 0.32 itself made of such chats with the templates beside it."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest

from router.tokens.body import read
from router.tokens.prompt import ChatPrompt, Inexact, Reason
from router.tokens.render import ChatTemplate
from tests.unit.support import chat, request
from tests.unit.tokens.models import SPECIAL_TOKENS, TEMPLATES

CHATS: list[dict[str, Any]] = json.loads(Path(__file__).with_name("vllm_chats.json").read_text())


def rendered(source: str, body: dict[str, Any], **rest: Any) -> str:
    prompt = read(request({"model": "m", **body}))
    assert isinstance(prompt, ChatPrompt)
    return ChatTemplate(source, SPECIAL_TOKENS, **rest).render(prompt)


def written(source: str, *turns: str, **fields: Any) -> str:
    return rendered(source, chat(*(turns or ("hi",)), **fields))


@pytest.mark.parametrize("case", [chat for chat in CHATS if chat["text"] is not None])
def test_a_chat_is_written_as_vllm_writes_it(case: dict[str, Any]) -> None:
    assert rendered(TEMPLATES[case["template"]], case["body"]) == case["text"]


@pytest.mark.parametrize("case", [chat for chat in CHATS if chat["text"] is None])
def test_a_chat_that_vllm_refuses_is_refused(case: dict[str, Any]) -> None:
    with pytest.raises(Inexact):
        rendered(TEMPLATES[case["template"]], case["body"])


def test_the_chats_are_of_every_template() -> None:
    assert {case["template"] for case in CHATS} == TEMPLATES.keys()


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{{ bos_token }}{{ messages[0].content }}{{ eos_token }}", "<s>hi</s>"),
        ("{{ {'b': '<é>', 'a': [1.0, none]} | tojson }}", '{"b": "<é>", "a": [1.0, null]}'),
        ("{{ {'b': 1} | tojson(indent=2) }}", '{\n  "b": 1\n}'),
        ("{{ tools is none }} {{ documents is none }}", "True True"),
        ("{% for i in [1, 2, 3] %}{% if i == 2 %}{% break %}{% endif %}{{ i }}{% endfor %}", "1"),
        ("{% generation %}x{% endgeneration %}", "x"),
        ("  {% if true %}\n  x\n  {% endif %}\n", "  x\n"),
        ("{{ unknown }}|{{ add_generation_prompt }}", "|True"),
    ],
)
def test_a_template_has_to_work_with_what_transformers_gives_it(source: str, text: str) -> None:
    assert written(source) == text


def test_the_date_is_todays() -> None:
    assert written("{{ strftime_now('%Y') }}") == f"{datetime.now():%Y}"  # noqa: DTZ005


@pytest.mark.parametrize(
    "source",
    [
        "{{ raise_exception('no') }}",
        "{{ messages[5].content }}",
        "{{ 1 / 0 }}",
        "{{ ''.__class__.__mro__ }}",
        "{{ messages.append(1) }}",
        "{% for i in range(10 ** 9) %}{% endfor %}",
    ],
)
def test_a_template_that_fails_or_reaches_too_far_writes_nothing(source: str) -> None:
    with pytest.raises(Inexact) as raised:
        written(source)
    assert raised.value.reason is Reason.RENDER


def test_what_is_no_template_is_said_at_once() -> None:
    with pytest.raises(ValueError, match="cannot be read"):
        ChatTemplate("{% for %}")


def test_the_requests_arguments_win_over_the_workers_defaults() -> None:
    source, defaults = "{{ a }}{{ b }}", {"a": 1, "b": 2}
    asked = chat("hi", chat_template_kwargs={"b": 3, "a": None})
    assert rendered(source, asked, defaults=defaults) == "13"


def test_arguments_that_the_template_does_not_ask_for_do_not_reach_it() -> None:
    source = "{% if x is defined %}{{ x }}{% endif %}{% set y = 1 %}{{ y }}"
    assert written(source, chat_template_kwargs={"y": 5, "x": 4}) == "41"


FINAL = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b  "}]
GO_ON = {"messages": FINAL, "continue_final_message": True, "add_generation_prompt": False}


@pytest.mark.parametrize(
    ("source", "text"),
    [
        ("{% for m in messages %}[{{ m.content }}]{% endfor %}", "[a][b  "),
        ("{% for m in messages %}[{{ m.content | trim }}]{% endfor %}", "[a][b"),
        (
            "{% for m in messages %}{% for p in m.content %}[{{ p.text }}]{% endfor %}{% endfor %}",
            "[a][b  ",
        ),
    ],
)
def test_a_final_message_is_left_open(source: str, text: str) -> None:
    assert rendered(source, GO_ON) == text


@pytest.mark.parametrize("source", ["{{ messages[0].content }}", "{{ messages | length }}"])
def test_a_final_message_that_is_not_written_cannot_be_gone_on_with(source: str) -> None:
    with pytest.raises(Inexact):
        rendered(source, GO_ON)


def test_a_final_message_without_text_cannot_be_gone_on_with() -> None:
    empty = {**GO_ON, "messages": [{"role": "assistant", "content": []}]}
    with pytest.raises(Inexact):
        rendered(TEMPLATES["parts"], empty)

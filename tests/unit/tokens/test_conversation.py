"""Messages as vLLM hands them to a template. (What it does with whole chats: test_render.)"""

import json
from typing import Any

import pytest

from router.tokens.conversation import Message, conversation, without_developer
from router.tokens.prompt import Inexact, Reason


def one(message: Message, *, parts: bool = False) -> Message:
    (turn,) = conversation([message], parts=parts)
    return turn


def content(*pieces: Any, parts: bool = False, role: str = "user") -> Any:
    return one({"role": role, "content": list(pieces)}, parts=parts)["content"]


def text(words: str, **more: Any) -> Message:
    return {"type": "text", "text": words, **more}


def test_parts_are_lines_of_one_text() -> None:
    assert content(text("a"), "b", {"type": "refusal", "refusal": "c"}) == "a\nb\nc"
    assert content({"type": "thinking", "thinking": "hm", "closed": True}, text("")) == "hm\n"


def test_a_template_that_takes_parts_gets_them_with_what_only_it_may_know() -> None:
    piece = {"cache_control": {"type": "ephemeral"}, "text": "a", "type": "text", "closed": True}
    assert content(piece, "b", parts=True) == [
        text("a", cache_control={"type": "ephemeral"}),
        text("b"),
    ]
    assert one({"role": "user", "content": "a"}, parts=True)["content"] == [text("a")]


@pytest.mark.parametrize(("parts", "empty"), [(False, ""), (True, [])])
def test_no_content_is_an_empty_one(parts: bool, empty: Any) -> None:
    assert one({"role": "assistant", "content": None}, parts=parts)["content"] == empty
    assert one({"role": "assistant"}, parts=parts)["content"] == empty


@pytest.mark.parametrize(
    ("piece", "reason"),
    [
        ({"type": "image_url", "image_url": {"url": "x"}}, Reason.MEDIA),
        ({"type": "input_audio", "input_audio": {}}, Reason.MEDIA),
        ({"image_url": "x"}, Reason.MEDIA),
        (text("x", uuid="1"), Reason.MEDIA),
        ({"type": "text", "text": 5}, Reason.UNREADABLE),
        ({"type": "input_text"}, Reason.UNREADABLE),
        (5, Reason.UNREADABLE),
    ],
)
@pytest.mark.parametrize("parts", [False, True])
def test_what_is_not_text_is_refused(piece: Any, reason: Reason, parts: bool) -> None:
    with pytest.raises(Inexact) as raised:
        content(text("a"), piece, parts=parts)
    assert raised.value.reason is reason


@pytest.mark.parametrize("message", [{}, {"role": 1}, {"role": "user", "content": 5}])
def test_what_is_no_message_is_refused(message: Message) -> None:
    with pytest.raises(Inexact):
        one(message)


def test_a_part_without_text_is_left_out() -> None:
    assert content(text("a"), {"type": "text", "text": None}, {"type": "refusal"}) == "a"


def test_the_billing_line_is_taken_out_of_system_messages_only() -> None:
    line = "x-anthropic-billing-header: cch=1"
    assert content(text(line), text(f"{line}\nrest"), f"{line}\n", role="system") == "rest"
    assert content(text(line)) == line


def test_an_answer_keeps_its_thoughts_under_both_names() -> None:
    turn = one({"role": "assistant", "content": "a", "reasoning_content": "hm"})
    assert turn["reasoning"] == turn["reasoning_content"] == "hm"
    turn = one({"role": "assistant", "reasoning": "new", "reasoning_content": "old"})
    assert turn["reasoning_content"] == "new"
    assert "reasoning" not in one({"role": "user", "content": "a", "reasoning": "hm"})


def call(arguments: Any = "{}", **more: Any) -> Message:
    return {"function": {"name": "f", "arguments": arguments}, "type": "function", "id": "1"} | more


def calls(*given: Any) -> Any:
    return one({"role": "assistant", "tool_calls": list(given)}).get("tool_calls")


def test_a_tool_calls_members_stand_in_the_engines_order() -> None:
    (turned,) = calls({"index": 0, **call('{"b": 1, "a": 2}')})
    assert json.dumps(turned) == (
        '{"id": "1", "function": {"arguments": {"b": 1, "a": 2}, "name": "f"}, "type": "function", "index": 0}'
    )


@pytest.mark.parametrize("arguments", ["", "{}", "no", "[1]", "null", "7"])
def test_arguments_that_are_no_object_are_an_empty_one(arguments: str) -> None:
    assert calls(call(arguments))[0]["function"]["arguments"] == {}


def test_the_request_itself_is_not_changed() -> None:
    given = {"role": "assistant", "tool_calls": [call('{"a": 1}')], "content": [text("a")]}
    before = json.dumps(given)
    conversation([given], parts=True)
    assert json.dumps(given) == before


def test_no_tool_calls_are_no_member() -> None:
    assert calls() is None
    assert "tool_calls" not in one({"role": "assistant", "tool_calls": None})
    assert "tool_calls" not in one({"role": "user", "tool_calls": [call()], "content": ""})


@pytest.mark.parametrize(
    "wrong",
    [
        5,
        {},
        {"id": "1", "type": "function"},
        call(type="custom"),
        call(id=None),
        call({"a": 1}),
        call("[" * 100_000),
    ],
)
def test_a_tool_call_that_the_worker_will_refuse_is_refused(wrong: Any) -> None:
    with pytest.raises(Inexact):
        calls(wrong)


def test_a_tools_result_is_one_text_even_for_templates_that_take_parts() -> None:
    result = {"role": "tool", "tool_call_id": "1", "content": [text("a"), text("b")]}
    assert one(result, parts=True) == {"role": "tool", "content": "a\nb", "tool_call_id": "1"}


def test_references_to_tools_stay_parts() -> None:
    piece = {"type": "tool_reference", "name": "f"}
    result = {"role": "tool", "tool_call_id": "1", "content": [text("a"), piece]}
    assert one(result, parts=True)["content"] == [text("a"), piece]
    assert one(result)["content"] == "a\nf"


def test_names_and_tasks_are_passed_on_when_they_are_texts() -> None:
    turn = one({"role": "user", "content": "a", "name": "bob", "task": 5, "other": 1})
    assert turn == {"role": "user", "content": "a", "name": "bob"}


def test_a_developers_tools_are_not_rendered() -> None:
    assert one({"role": "developer", "content": "a"})["tools"] is None
    with pytest.raises(Inexact):
        one({"role": "developer", "content": "a", "tools": [{}]})


def turns(*roles: str, parts: bool = False) -> list[Message]:
    return conversation([{"role": role, "content": role} for role in roles], parts=parts)


def test_a_developer_is_the_system_where_the_template_knows_no_developer() -> None:
    assert without_developer(turns("developer", "user")) == [
        {"role": "system", "content": "developer"},
        {"role": "user", "content": "user"},
    ]


@pytest.mark.parametrize("parts", [False, True])
def test_several_system_messages_become_the_first(parts: bool) -> None:
    given = turns("system", "user", "developer", "assistant", parts=parts)
    result = without_developer(given)
    assert [turn["role"] for turn in result] == ["system", "user", "assistant"]
    assert result[0]["content"] == "system\n\ndeveloper"


def test_system_messages_alone_stay_where_they_are() -> None:
    given = turns("user", "system")
    assert without_developer(given) is given

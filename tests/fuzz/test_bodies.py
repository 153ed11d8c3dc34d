"""Whatever a request's body holds: it is read or refused as inexact, and never an error of ours."""

import contextlib
import json
from typing import Any

import msgspec
from hypothesis import event, given
from hypothesis import strategies as st

from router.prompt.caller import Callers
from router.prompt.identity import TextIdentity
from router.prompt.session import SessionKeys
from router.tokens.body import read
from router.tokens.extras import extras_of
from router.tokens.prompt import ChatPrompt, Inexact, TextPrompt
from router.tokens.remote import tokenize_body
from router.tokens.render import ChatTemplate
from tests.fuzz.limits import FUZZ
from tests.fuzz.mutations import mutated
from tests.unit.support import request

PATHS = ["/v1/chat/completions", "/v1/completions", "/inference/v1/generate", "/v1/messages"]
TEMPLATE = ChatTemplate(
    "{%- for message in messages -%}{{ '<' + message.role + '>' }}"
    "{%- if message.content is string -%}{{ message.content }}{%- endif -%}"
    "{%- for call in message.tool_calls or [] -%}{{ call.function | tojson }}{%- endfor -%}"
    "{%- endfor -%}{%- if add_generation_prompt -%}<assistant>{%- endif -%}"
)
NAMES = (
    *("model", "messages", "role", "content", "type", "text", "tools", "function", "name", "arguments"),
    *("tool_calls", "tool_call_id", "id", "refusal", "thinking", "reasoning", "reasoning_effort"),
    *("continue_final_message", "add_generation_prompt", "add_special_tokens", "truncation_side"),
    *("chat_template_kwargs", "documents", "prompt", "token_ids", "stream", "priority", "cache_salt"),
    *("truncate_prompt_tokens", "metadata", "user_id", "session_params", "session_id", "tool_reference"),
    *("image_url", "url", "parameters", "description", "strict", "prompt_logprobs", "echo", "logprobs"),
)  # fmt: skip
WORDS = (
    "user",
    "assistant",
    "system",
    "tool",
    "developer",
    "text",
    "function",
    "auto",
    "left",
    "m",
    "",
)
SCALARS = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(2**70), 2**70)
    | st.floats()
    | st.sampled_from(WORDS)
    | st.text(max_size=20)
)
VALUES: st.SearchStrategy[Any] = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=5)
    ),
    max_leaves=20,
)
PARTS = st.fixed_dictionaries(
    {"type": st.sampled_from(["text", "input_text", "refusal", "thinking", "image_url"])},
    optional={"text": SCALARS, "refusal": SCALARS, "thinking": SCALARS, "uuid": SCALARS},
)
CALLS = st.fixed_dictionaries(
    {"function": st.fixed_dictionaries({}, optional={"name": SCALARS, "arguments": VALUES})},
    optional={"id": SCALARS, "type": SCALARS},
)
MESSAGES = st.fixed_dictionaries(
    {"role": st.sampled_from(WORDS[:5])},
    optional={
        "content": SCALARS | st.lists(PARTS | SCALARS, max_size=3),
        "tool_calls": st.lists(CALLS | SCALARS, max_size=2),
        "tool_call_id": SCALARS,
        "name": SCALARS,
        "reasoning": SCALARS,
    },
)
CHATS = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGES, max_size=4)},
    optional=dict.fromkeys(("tools", "chat_template_kwargs", "documents", "model"), VALUES)
    | dict.fromkeys(("continue_final_message", "add_generation_prompt", "cache_salt"), SCALARS),
)
SEEDS = [
    b'{"model":"m","messages":[{"role":"user","content":"hi"}],"stream":true,"cache_salt":"s"}',
    b'{"model":"m","messages":[{"role":"assistant","content":[{"type":"text","text":"a"}]}],'
    b'"continue_final_message":true,"add_generation_prompt":false}',
    b'{"prompt":[1,2,3],"truncate_prompt_tokens":2,"priority":-1,"metadata":{"user_id":"u"}}',
    b'{"prompt":["a"],"echo":true,"logprobs":1}',
    b'{"token_ids":[1,2],"model":"m"}',
]
BITS = [
    *(b"\\ud800", b"\\udc00", b"\\u0000", b"\\", b'"', b"[", b"]", b"{", b"}", b",", b":", b"\xff", b"\xed\xa0\x80"),
    *(b"1e999", b"-0", b"1e-999", b"NaN", b"9" * 5000, b"null", b"true", b"[" * 2000, b'{"a":' * 2000),
    *(b'"messages":', b'"prompt":', b'"tools":[]', b'"model":1', b"\r\n", b"\0", b" "),
]  # fmt: skip


def use(body: bytes, path: str) -> None:
    """All that routing asks of a request."""
    asked = request(body, path=path)
    _ = (asked.separators, asked.audits, asked.previous_response_id, asked.stream)
    SessionKeys().key(asked)
    Callers("x-tenant")(asked)
    text = TextIdentity()
    text.learn(asked, text.identify(asked), 10)
    with contextlib.suppress(Inexact):
        extras_of(asked, None)
        prompt = read(asked)
        event(type(prompt).__name__)
        if isinstance(prompt, ChatPrompt | TextPrompt):
            msgspec.json.encode(prompt)
            tokenize_body(prompt)
        if isinstance(prompt, ChatPrompt):
            TEMPLATE.render(prompt)
            event("rendered")


@FUZZ
@given(body=VALUES, path=st.sampled_from(PATHS))
def test_any_json(body: Any, path: str) -> None:
    use(json.dumps(body).encode(), path)


@FUZZ
@given(body=CHATS)
def test_any_chat(body: dict[str, Any]) -> None:
    use(json.dumps(body).encode(), PATHS[0])


@FUZZ
@given(body=mutated(SEEDS, BITS), path=st.sampled_from(PATHS))
def test_mutated_json(body: bytes, path: str) -> None:
    use(body, path)

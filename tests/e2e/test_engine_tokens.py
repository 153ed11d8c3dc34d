"""Token ids that the router finds are those of the worker: by the model's files, and by the worker's `/tokenize`."""

import asyncio
from types import ModuleType
from typing import Any

import pytest

from router.tokens.audit import Counted, TokenAudit
from router.tokens.local import LocalTokenizer
from router.tokens.remote import RemoteTokenizer
from router.tokens.segments import SegmentCache
from router.tokens.service import TokenPrompt, TokenService
from tests.e2e.harness import MODEL, Answer, ask
from tests.unit.support import request

pytestmark = pytest.mark.engine

CHAT, TEXT = "/v1/chat/completions", "/v1/completions"
TOOL = {
    "type": "function",
    "function": {
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
        "name": "weather",
        "description": "The <weather> in a city, in °C.",
    },
}
CALL = {
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city": "Zürich", "days": 2}'},
    "id": "call_1",
}
SYSTEM = {"role": "system", "content": "Be brief."}
USER = {"role": "user", "content": "Is it warm in Zürich? 😀 <|im_end|>"}
ANSWER = {"role": "assistant", "content": "It is\n"}
TALK = [
    SYSTEM,
    USER,
    {"role": "assistant", "content": None, "tool_calls": [CALL]},
    {
        "role": "tool",
        "tool_call_id": "call_1",
        "content": [{"type": "text", "text": "21"}, {"type": "text", "text": "22"}],
    },
]
BODIES: dict[str, tuple[str, dict[str, Any]]] = {
    "a chat": (CHAT, {"messages": [SYSTEM, USER]}),
    "parts": (
        CHAT,
        {"messages": [{"role": "user", "content": [{"type": "text", "text": "a"}, "b"]}]},
    ),
    "tools": (CHAT, {"messages": TALK, "tools": [TOOL], "tool_choice": "none"}),
    "no prompt to answer": (CHAT, {"messages": [USER], "add_generation_prompt": False}),
    "a message to go on with": (
        CHAT,
        {
            "messages": [USER, ANSWER],
            "add_generation_prompt": False,
            "continue_final_message": True,
        },
    ),
    "developer": (CHAT, {"messages": [{"role": "developer", "content": "d"}, USER, SYSTEM]}),
    "a truncated chat": (CHAT, {"messages": TALK, "truncate_prompt_tokens": 9}),
    "a long chat": (CHAT, {"messages": [SYSTEM, USER, ANSWER] * 40 + [USER]}),
    "a salted chat": (CHAT, {"messages": [USER], "cache_salt": "s"}),
    "a text": (TEXT, {"prompt": "def main() -> None:\n    pass  # ü"}),
    "a list of one text": (TEXT, {"prompt": ["once upon a time"], "echo": True}),
    "token ids": (TEXT, {"prompt": [5, 6, 7]}),
}


def answered(engine_workers: list[Any], path: str, body: dict[str, Any]) -> Answer:
    answer = ask(engine_workers[0].url, path, body)
    assert answer.status == 200, answer.body
    return answer


def prompt_ids(answer: Answer) -> list[int]:
    """What the worker itself took the prompt for."""
    said = answer.json()
    ids: list[int] = said.get("prompt_token_ids") or said["choices"][0]["prompt_token_ids"]
    return ids


def found(service: TokenService, path: str, body: dict[str, Any]) -> TokenPrompt:
    async def look() -> TokenPrompt | None:
        return await service.tokens(request(body, path=path))

    prompt = asyncio.run(look())
    assert prompt is not None, service.inexact
    return prompt


@pytest.mark.parametrize("name", BODIES)
@pytest.mark.parametrize("source", ["files", "worker"])
def test_token_ids_are_the_workers(
    engine: ModuleType, engine_workers: list[Any], name: str, source: str
) -> None:
    async def post(body: bytes) -> tuple[int, bytes]:
        answer = await asyncio.to_thread(ask, engine_workers[0].url, "/tokenize", body)
        return answer.status, answer.body

    cache = SegmentCache(1_000_000)
    directory = engine.engine_dir() / "model" / engine.WorkerSpec(port=0).model
    tokenizer = (
        LocalTokenizer.load(directory, cache) if source == "files" else RemoteTokenizer(post, cache)
    )
    service = TokenService({MODEL: tokenizer}, deadline_s=30.0)
    path, fields = BODIES[name]
    body = {"model": MODEL, "max_tokens": 1, "return_token_ids": True, **fields}
    answer = answered(engine_workers, path, body)
    try:
        prompt = found(service, path, body)
        assert list(prompt.ids) == prompt_ids(answer)
    finally:
        service.close()
    audit = TokenAudit()
    audit.observe(Counted(MODEL, prompt.chat, len(prompt.ids), answer.usage["prompt_tokens"]))
    assert audit.disagreements == 0

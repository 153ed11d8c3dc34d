"""POST /v1/completions."""

from dataclasses import dataclass, field
from typing import Any

from router.simworker.config import FINGERPRINT
from router.simworker.fields import (
    integer,
    pick_model,
    response_id,
    sampling,
    stream_options,
    unix_now,
)
from router.simworker.generate import Generation
from router.simworker.http import Reply, Request, bad_request, invalid
from router.simworker.tokens import decode, encode
from router.simworker.usage import chunk_usage, completion_logprobs, final_usage, running_usage
from router.simworker.worker import Worker

_DEFAULT_MAX_TOKENS = 16  # OpenAI's default, which vLLM keeps for this route only


def prompts_of(value: Any, name: str = "prompt") -> list[list[int]]:
    """Token ids of a prompt field: a text, texts, token ids, or lists of token ids."""
    if value is None or value == "":
        message = (
            "Either prompt or prompt_embeds must be provided and non-empty. (parameter=prompt)"
        )
        raise bad_request(message, "prompt")
    if isinstance(value, str):
        return [encode(value)]
    if not isinstance(value, list):
        raise invalid("string_type", f"body.{name}", "Input should be a valid string", str(value))
    if not value:
        raise bad_request("You must pass at least one prompt")
    if all(isinstance(item, str) for item in value):
        return [encode(item) for item in value]
    if all(isinstance(item, int) for item in value):
        return [value]
    if all(
        isinstance(item, list) and all(isinstance(part, int) for part in item) for item in value
    ):
        return value
    raise invalid("list_type", f"body.{name}", "Input should be a valid list", "mixed")


@dataclass(slots=True)
class _Completion:
    """What the parts of one answer have in common."""

    head: dict[str, Any]
    options: dict[str, Any]
    prompts: list[list[int]]
    copies: int
    echo: bool
    logprobs: int | None
    token_ids: bool
    lengths: dict[int, int] = field(default_factory=dict)

    def prefix(self, index: int) -> list[int]:
        """Tokens that `echo` puts before a choice's first output."""
        return self.prompts[index // self.copies] if self.echo and index not in self.lengths else []

    def choice(self, index: int, tokens: list[int], reason: str | None) -> dict[str, Any]:
        """New tokens of one choice."""
        shown = self.prefix(index) + tokens
        text = decode(shown)
        offset = self.lengths.get(index, 0)
        self.lengths[index] = offset + len(text)
        return {
            "index": index,
            "text": text,
            "logprobs": None if self.logprobs is None else completion_logprobs(shown, offset),
            "finish_reason": reason,
            "stop_reason": None,
        }


async def completions(worker: Worker, request: Request, reply: Reply) -> None:
    """Continue one or several prompts."""
    body = request.json()
    prompts = prompts_of(body.get("prompt"))
    model = pick_model(worker.config, body)
    if body.get("max_tokens") is None:
        body["max_tokens"] = _DEFAULT_MAX_TOKENS
    how = sampling(body, ("max_tokens",))
    head = {
        "id": response_id(request, "cmpl-"),
        "object": "text_completion",
        "created": unix_now(),
        "model": model,
    }
    answer = _Completion(
        head,
        stream_options(body),
        prompts,
        how.n,
        bool(body.get("echo")),
        integer(body, "logprobs"),
        bool(body.get("return_token_ids")),
    )
    async with worker.generator(request).start(prompts, model, how) as generation:
        if body.get("stream"):
            await _stream(answer, generation, reply)
        else:
            await reply.json(await _whole(answer, generation))


async def _whole(answer: _Completion, generation: Generation) -> dict[str, Any]:
    choices = []
    for index, (tokens, reason) in enumerate(await generation.finish()):
        prompt = answer.prompts[index // answer.copies]
        extra = {
            "token_ids": tokens if answer.token_ids else None,
            "prompt_logprobs": None,
            "prompt_token_ids": prompt if answer.token_ids else None,
            "routed_experts": None,
        }
        choices.append(answer.choice(index, tokens, reason) | extra)
    return {
        **answer.head,
        "choices": choices,
        "service_tier": None,
        "system_fingerprint": FINGERPRINT,
        "usage": final_usage(generation, created=False),
        "kv_transfer_params": None,
        "ec_transfer_params": None,
        "metrics": None,
    }


async def _stream(answer: _Completion, generation: Generation, reply: Reply) -> None:
    continuous = bool(answer.options.get("continuous_usage_stats"))
    async for delta in generation.deltas():
        if not reply.started:
            await reply.start_events()
        ids = answer.token_ids
        first = ids and delta.index not in answer.lengths
        choice = answer.choice(delta.index, delta.tokens, delta.finish_reason) | {
            "prompt_token_ids": answer.prompts[delta.index // answer.copies] if first else None,
            "token_ids": delta.tokens if ids else None,
        }
        usage = {"usage": running_usage(generation)} if continuous else {}
        await reply.event({**answer.head, "choices": [choice], **usage})
    if answer.options.get("include_usage") or continuous:
        usage = chunk_usage(generation, created=False)
        last = {"choices": [], "usage": usage, "system_fingerprint": FINGERPRINT}
        await reply.event({**answer.head, **last})
    await reply.end(b"data: [DONE]\n\n")

"""Usage objects and log probabilities in vLLM's shapes."""

from collections.abc import Sequence
from typing import Any

from router.simworker.generate import Generation
from router.simworker.tokens import token_text

_LOGPROB = -0.5


def counts(generation: Generation) -> dict[str, Any]:
    """The three numbers that every usage object has."""
    prompt, completion = generation.prompt_tokens, generation.completion_tokens
    return {
        "prompt_tokens": prompt,
        "total_tokens": prompt + completion,
        "completion_tokens": completion,
    }


def final_usage(generation: Generation, *, created: bool) -> dict[str, Any]:
    """Usage of a whole answer; `created` adds the tokens newly cached (chat only in vLLM)."""
    details = {
        "cached_tokens": generation.cached_tokens,
        "created_cache_tokens": generation.created_tokens if created else None,
        "multimodal_tokens": None,
    }
    return {
        **counts(generation),
        "prompt_tokens_details": details,
        "completion_tokens_details": None,
    }


def chunk_usage(generation: Generation, *, created: bool) -> dict[str, Any]:
    """Usage of the last chunk of a stream, which leaves out what is null."""
    details: dict[str, Any] = {"cached_tokens": generation.cached_tokens}
    if created:
        details["created_cache_tokens"] = generation.created_tokens
    return {**counts(generation), "prompt_tokens_details": details}


def running_usage(generation: Generation) -> dict[str, Any]:
    """Usage of every chunk under `continuous_usage_stats`."""
    return {**counts(generation), "completion_tokens_details": None}


def chat_logprobs(tokens: Sequence[int], top: int) -> dict[str, Any]:
    """Log probabilities of chat tokens with `top` alternatives each (they are made up)."""
    content = []
    for token in tokens:
        text = token_text(token)
        entry = {"token": text, "logprob": _LOGPROB, "bytes": list(text.encode())}
        content.append({**entry, "top_logprobs": [entry] * min(top, 1)})
    return {"content": content}


def completion_logprobs(tokens: Sequence[int], offset: int) -> dict[str, Any]:
    """Log probabilities of completion tokens whose text begins at `offset` characters."""
    texts = [token_text(token) for token in tokens]
    offsets = []
    for text in texts:
        offsets.append(offset)
        offset += len(text)
    return {
        "text_offset": offsets,
        "token_logprobs": [_LOGPROB] * len(texts),
        "tokens": texts,
        "top_logprobs": [{text: _LOGPROB} for text in texts],
    }

"""POST /v1/embeddings."""

import base64
import math
from array import array
from collections.abc import Sequence
from typing import Any

import xxhash

from router.simworker.completions import prompts_of
from router.simworker.fields import integer, pick_model, require, response_id, unix_now
from router.simworker.http import Reply, Request
from router.simworker.worker import Worker

_DIMENSIONS = 64


def vector(tokens: Sequence[int], dimensions: int) -> list[float]:
    """A unit vector that follows from the tokens: the normalised sum of one direction per token."""
    total = [0.0] * dimensions
    for token in set(tokens):
        seed = token & 0xFFFFFFFF
        for axis in range(dimensions):
            total[axis] += xxhash.xxh32_intdigest(axis.to_bytes(4, "big"), seed) / 2**31 - 1.0
    norm = math.sqrt(math.fsum(value * value for value in total)) or 1.0
    return [value / norm for value in total]


def _encoded(values: list[float], encoding: Any) -> list[float] | str:
    if encoding == "base64":
        return base64.b64encode(array("f", values).tobytes()).decode()
    return values


async def create(worker: Worker, request: Request, reply: Reply) -> None:
    """Vectors of one or several inputs."""
    body = request.json()
    prompts = prompts_of(require(body, "input"), "input")
    model = pick_model(worker.config, body)
    dimensions = integer(body, "dimensions") or _DIMENSIONS
    async with worker.generator(request).embed(prompts, model) as generation:
        await generation.finish()
    encoding = body.get("encoding_format")
    vectors = [_encoded(vector(prompt, dimensions), encoding) for prompt in prompts]
    data = [
        {"index": index, "object": "embedding", "embedding": embedding}
        for index, embedding in enumerate(vectors)
    ]
    total = sum(map(len, prompts))
    usage = {
        "prompt_tokens": total,
        "total_tokens": total,
        "completion_tokens": 0,
        "prompt_tokens_details": None,
    }
    head = {
        "id": response_id(request, "embd-"),
        "object": "list",
        "created": unix_now(),
        "model": model,
    }
    await reply.json({**head, "data": data, "usage": usage})

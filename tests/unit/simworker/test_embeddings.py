"""Embeddings: all inputs, both encodings, deterministic unit vectors."""

import base64
import math
from array import array
from typing import Any

import pytest

from router.simworker.embeddings import vector


def test_vectors_are_deterministic_and_of_length_one() -> None:
    assert vector([1, 2], 8) == vector([2, 1], 8) != vector([1, 3], 8)
    assert math.hypot(*vector([1, 2], 8)) == pytest.approx(1)


@pytest.mark.parametrize(
    ("given", "count"), [("one", 1), (["one", "two"], 2), ([1, 2], 1), ([[1], [2]], 2)]
)
async def test_inputs(local: Any, given: Any, count: int) -> None:
    async with local() as worker:
        body = (await worker.post("/v1/embeddings", {"input": given, "dimensions": 5})).json()
        assert worker.worker.engine.stats.generated_tokens == 0
    assert [len(entry["embedding"]) for entry in body["data"]] == [5] * count
    assert body["usage"]["prompt_tokens"] == body["usage"]["total_tokens"] > 0


async def test_base64_holds_the_same_numbers(local: Any) -> None:
    async with local() as worker:
        plain, packed = [
            (await worker.post("/v1/embeddings", {"input": "x", "encoding_format": form})).json()
            for form in ("float", "base64")
        ]
    values = array("f", base64.b64decode(packed["data"][0]["embedding"]))
    assert list(values) == pytest.approx(plain["data"][0]["embedding"])

"""Requests of one group share what they should and differ in 16 bytes."""

import json

import pytest

from bench.dataplane.prompts import Shape, templates, text


@pytest.mark.parametrize("size", [0, 1, 16, 700, 25_000])
def test_text_has_its_size_in_json(size: int) -> None:
    assert len(json.dumps(text(size, 3))) - 2 == size


def test_request_is_whole_and_sized() -> None:
    raw = templates(Shape(1024, stream=True, tokens=128), "h:1")[0].request(7)
    head, _, payload = raw.partition(b"\r\n\r\n")
    assert int(head.rpartition(b"Content-Length: ")[2]) == len(payload)
    data = json.loads(payload)
    assert data["stream"] is True
    assert data["stream_options"] == {"include_usage": True}
    assert data["max_tokens"] == 128
    prompt = "".join(json.dumps(m["content"])[1:-1] for m in data["messages"])
    assert len(prompt) == 1024


def test_members_of_a_group_differ_in_their_unique_bytes_only() -> None:
    made = templates(Shape(1024, stream=False, tokens=16, groups=2, share=0.5), "h:1")
    first, second = made[0].request(1), made[0].request(2)
    different = [i for i, (a, b) in enumerate(zip(first, second, strict=True)) if a != b]
    assert different
    assert different[-1] - different[0] < 16
    system = [json.loads(t.request(1).partition(b"\r\n\r\n")[2])["messages"][0] for t in made]
    assert len(system[0]["content"]) > 490
    assert system[0] != system[1]


def test_numbers_give_distinct_requests() -> None:
    template = templates(Shape(64, stream=False, tokens=1, groups=1), "h:1")[0]
    assert len({template.request(n) for n in range(1000)}) == 1000

"""Recorded traces become workloads; what cannot be one says where it goes wrong."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.simulate.text import Text
from router.simulate.traces import TraceError, load_trace
from router.simulate.workload import Call, Workload
from tests.unit.simulate import invariants

Load = Callable[..., Workload]


def written(path: Path, rows: list[dict[str, Any]]) -> Path:
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def load(tmp_path: Path) -> Load:
    return lambda *rows: load_trace(written(tmp_path / "some.trace.jsonl", list(rows)))


def request(
    ids: list[int], at_ms: float = 0, tokens: int | None = None, out: int = 1
) -> dict[str, Any]:
    """A request that ends in the middle of the last of its blocks."""
    length = len(ids) * 512 - 256 if tokens is None else tokens
    return {"timestamp": at_ms, "input_length": length, "output_length": out, "hash_ids": ids}


def turn(session: str, t: float, ids: list[int], **fields: Any) -> dict[str, Any]:
    return {
        "session": session,
        "t": t,
        "in": len(ids) * 64 + 32,
        "out": 200,
        "think": 0.0,
        "h": ids,
    } | fields


def only_calls(workload: Workload) -> list[Call]:
    return list(workload.calls())


def starts(workload: Workload) -> list[float]:
    return [session.start_s for session in workload.sessions]


def answers(workload: Workload) -> list[list[int]]:
    return [call.answer_blocks for call in workload.calls()]


# Mooncake


def test_a_request_is_a_session_of_one_call(load: Load) -> None:
    workload = load(request([1, 2, 3], at_ms=0, out=7), request([4], at_ms=1500))
    assert (workload.name, workload.block_tokens, workload.workers) == ("some", 512, 8)
    assert starts(workload) == [0, 1.5]
    assert only_calls(workload) == [Call(1280, 7, [1, 2], []), Call(256, 1, [], [])]
    invariants.check(workload)


def test_a_last_block_that_is_full_counts(load: Load) -> None:
    assert only_calls(load(request([1, 2], tokens=1024)))[0].blocks == [1, 2]


def test_an_answer_has_at_least_one_token(load: Load) -> None:
    assert only_calls(load(request([1], out=0)))[0].output_tokens == 1


def test_arrivals_at_the_same_time_are_spread_up_to_the_next(load: Load) -> None:
    times = [500, 500, 500, 3500, 3500, 9500]
    assert starts(load(*(request([1], at_ms=time) for time in times))) == [0, 1, 2, 3, 6, 9]


def test_the_last_arrivals_are_spread_like_those_before(load: Load) -> None:
    assert starts(load(*(request([1], at_ms=time) for time in (0, 3000, 3000, 3000)))) == [
        0,
        3,
        4,
        5,
    ]


def test_requests_of_one_moment_stay_together(load: Load) -> None:
    assert starts(load(request([1], at_ms=7), request([1], at_ms=7))) == [0, 0]


def test_requests_are_taken_in_order_of_time(load: Load) -> None:
    workload = load(request([3, 4, 5], at_ms=2000), request([3, 9], at_ms=1000, out=600))
    assert starts(workload) == [0, 1]
    assert answers(workload) == [[4], []]


def test_an_answer_is_in_the_request_that_extends_it(load: Load) -> None:
    workload = load(
        request([1, 2, 9], out=1200),
        request([7, 8]),
        request([1, 2, 3, 4, 5, 6]),
        request([1, 2, 33, 44]),
    )
    assert answers(workload)[0] == [3, 4], "1280 prompt tokens and 1200 more fill 4 blocks"


def test_the_same_prompt_again_does_not_answer(load: Load) -> None:
    first, again, extended = (
        request([1, 2, 9], out=600),
        request([1, 2, 9], out=600),
        request([1, 2, 3, 4]),
    )
    assert answers(load(first, again)) == [[], []]
    assert answers(load(first, again, extended)) == [[3], [3], []]


def test_an_answer_too_short_to_fill_a_block_has_none(load: Load) -> None:
    assert answers(load(request([1, 9], out=255), request([1, 2, 3])))[0] == []
    assert answers(load(request([1, 9], out=256), request([1, 2, 3])))[0] == [2]


def test_a_prompt_of_less_than_a_block_is_not_extended(load: Load) -> None:
    assert answers(load(request([9], out=5000), request([1, 2, 3]))) == [[], []]


def test_sessions_are_requests_that_share_a_block(load: Load) -> None:
    workload = load(request([1, 2, 9]), request([5, 6, 9]), request([1, 2, 3, 4]), request([7]))
    one, two, same, alone = (session.name for session in workload.sessions)
    assert one == same
    assert len({one, two, alone}) == 3


def test_a_block_common_to_all_is_nobodys(load: Load) -> None:
    """A system prompt joins no sessions, and whoever comes next with it is no answer to a prompt that ends in it."""
    rows = [request([0, number, -number]) for number in range(1, 120)]
    workload = load(request([0, -1], out=800), *rows, request([0, 5, 777, -777]))
    names = [session.name for session in workload.sessions]
    assert answers(workload)[0] == []
    assert len(set(names)) == 120
    assert names[5] == names[-1]


def test_a_block_of_half_the_requests_of_a_small_trace_is_a_sessions(load: Load) -> None:
    workload = load(*(request([0, number, -number]) for number in range(1, 90)))
    assert len({session.name for session in workload.sessions}) == 1


# Sessions


def test_a_session_is_a_chain_of_turns(load: Load) -> None:
    workload = load(turn("a", 5, [1, 2]), turn("a", 9, [1, 2, 3, 4, 5, 6], think=2.5))
    (session,) = workload.sessions
    assert (workload.block_tokens, workload.workers) == (64, 4)
    assert (session.name, session.start_s) == ("a", 0)
    assert [step.think_s for step in session.steps] == [0, 2.5]
    assert [len(step.calls) for step in session.steps] == [1, 1]
    assert answers(workload) == [[3, 4, 5], []], "160 prompt tokens and 200 more fill 5 blocks"
    invariants.check(workload)


def test_sessions_start_one_after_the_other_in_the_order_of_the_file(load: Load) -> None:
    workload = load(
        turn("b", 5, [1]), turn("a", 900, [2]), turn("b", 950, [1, 3]), turn("c", 901, [4])
    )
    assert [(s.name, s.start_s, len(s.steps)) for s in workload.sessions] == [
        ("b", 0, 2),
        ("a", 12, 1),
        ("c", 24, 1),
    ]


@pytest.mark.parametrize(("think", "expected"), [(59.0, 59), (61.0, 60), (None, 30), (-1.0, 0)])
def test_pauses_are_bounded(load: Load, think: float | None, expected: float) -> None:
    workload = load(turn("a", 10, [1], think=99.0), turn("a", 40, [1, 2], think=think))
    assert [step.think_s for step in workload.sessions[0].steps] == [0, expected]


def test_the_first_turn_does_not_wait(load: Load) -> None:
    assert load(turn("a", 0, [1], think=9.0)).sessions[0].steps[0].think_s == 0


def test_lanes_run_beside_each_other(load: Load) -> None:
    workload = load(
        turn("a", 5, [1], lane=0),
        turn("a", 12, [1, 2], lane=1),
        turn("a", 13, [1, 3], lane=0),
        turn("a", 900, [1, 4], lane="late"),
        turn("b", 901, [7], lane=0),
    )
    assert [(s.name, s.start_s, len(s.steps)) for s in workload.sessions] == [
        ("a", 0, 2),
        ("a", 7, 1),
        ("b", 12, 1),
        ("a", 60, 1),
    ]
    invariants.check(workload)


# Files


def test_a_packed_file_is_known_by_its_content(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    plain = load_trace(written(path, [request([1, 2])]))
    path.write_bytes(gzip.compress(path.read_bytes()))
    assert load_trace(path) == plain


def test_blank_lines_are_skipped_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "some.jsonl"
    path.write_text(f"\n{json.dumps(request([1, 2]))}\n\n")
    assert len(load_trace(path).sessions) == 1
    path.write_text(f"\n{json.dumps(request([1, 2]))}\n\nnothing\n")
    with pytest.raises(TraceError, match=r"some\.jsonl:4: "):
        load_trace(path)


MALFORMED = {
    "no JSON": b'{"timestamp": 1,',
    "not an object": b"[1]",
    "no UTF-8": b'{"session": "\xff"}',
    "another format": json.dumps(turn("a", 0, [1])).encode(),
    "no ids": b'{"timestamp": 1, "input_length": 5, "output_length": 5}',
    "a length that is no number": json.dumps(request([1]) | {"input_length": "5"}).encode(),
    "no prompt": json.dumps(request([], tokens=0)).encode(),
    "a negative answer": json.dumps(request([1], out=-1)).encode(),
    "too few ids": json.dumps(request([1], tokens=1024)).encode(),
    "too many ids": json.dumps(request([1, 2, 3], tokens=512)).encode(),
}


@pytest.mark.parametrize("line", MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_line_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "some.jsonl"
    path.write_bytes(json.dumps(request([1, 2])).encode() + b"\n" + line + b"\n")
    with pytest.raises(TraceError, match=r"some\.jsonl:2: ") as raised:
        load_trace(path)
    assert isinstance(raised.value, ValueError)


@pytest.mark.parametrize("line", [b"nothing", b"[]", b"{}", b'{"text": "a"}'])
def test_an_unknown_format_is_named(tmp_path: Path, line: bytes) -> None:
    path = tmp_path / "some.jsonl"
    path.write_bytes(line)
    with pytest.raises(TraceError, match=r"some\.jsonl:1: "):
        load_trace(path)


@pytest.mark.parametrize("content", [b"", b"\n\n"])
def test_an_empty_file_is_no_trace(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "some.jsonl"
    path.write_bytes(content)
    with pytest.raises(TraceError, match=r"some\.jsonl: no requests"):
        load_trace(path)


@pytest.mark.parametrize("broken", [slice(0, -9), slice(0, 15)])
def test_a_packed_file_that_breaks_off_is_named(tmp_path: Path, broken: slice) -> None:
    path = tmp_path / "some.jsonl.gz"
    whole = "".join(json.dumps(request([number])) + "\n" for number in range(50))
    path.write_bytes(gzip.compress(whole.encode())[broken])
    with pytest.raises(TraceError, match=r"some\.jsonl\.gz: broken gzip"):
        load_trace(path)


def test_a_missing_file_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        load_trace(tmp_path / "none.jsonl")


@given(
    turns=st.lists(
        st.tuples(st.integers(0, 30), st.integers(1, 60), st.integers(0, 60), st.integers(0, 3)),
        min_size=1,
    )
)
def test_any_tree_of_conversations_is_read_back(
    tmp_path_factory: pytest.TempPathFactory, turns: list[tuple[int, int, int, int]]
) -> None:
    """Each turn goes on from an earlier one, or from nothing."""
    texts = [Text(16)]
    calls, rows = [], []
    for place, (parent, question, answer, pause) in enumerate(turns):
        text = texts[parent % len(texts)].fork().grow(question)
        call = text.ask(answer)
        texts.append(text)
        calls.append(call)
        partial = [10**9 + place] if call.prompt_tokens % 16 else []
        row = request(call.blocks + partial, tokens=call.prompt_tokens, out=answer)
        rows.append(row | {"timestamp": (rows[-1]["timestamp"] if rows else 0) + pause})
    path = written(tmp_path_factory.getbasetemp() / "tree.jsonl", rows)
    workload = load_trace(path, block_tokens=16)
    invariants.check(workload)
    loaded = only_calls(workload)
    assert [call.blocks for call in loaded] == [call.blocks for call in calls]
    assert [call.prompt_tokens for call in loaded] == [call.prompt_tokens for call in calls]

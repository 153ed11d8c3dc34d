"""What vLLM 0.32 really sends, what older releases sent, and what nobody should."""

from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.events.wire import AllBlocksCleared, BlockRemoved, BlockStored, decode
from tests.unit.events.support import recorded_frames

encode = msgspec.msgpack.encode
REMOVED = {"type": "BlockRemoved", "block_hashes": [7], "medium": "GPU", "group_idx": 0}


def events(*raw: Any) -> Any:
    batch = decode(encode([1.0, list(raw), 0]))
    assert batch is not None
    return batch


def test_a_recorded_store_is_read_whole() -> None:
    _, number, payload = recorded_frames()[1]
    batch = decode(payload)
    assert batch is not None
    [event] = batch.events
    assert (int.from_bytes(number, "big"), batch.rank, batch.unknown) == (1, 0, 0)
    assert batch.timestamp == pytest.approx(1795577193.0014548)
    assert isinstance(event, BlockStored)
    assert event.block_hashes == [9909889232505406878]
    assert (event.parent_block_hash, event.block_size, len(event.token_ids)) == (None, 32, 32)
    assert (event.medium, event.group_idx, event.extra_keys) == ("GPU", 0, [None])
    assert (event.kv_cache_spec_kind, event.session_id) == ("full_attention", None)


@pytest.mark.parametrize("frames", recorded_frames(), ids=range(7))
def test_every_recorded_batch_is_understood(frames: list[bytes]) -> None:
    batch = decode(frames[2])
    assert batch is not None
    assert batch.events
    assert batch.unknown == 0


def test_recorded_hashes_are_wider_than_63_bits_or_are_bytes() -> None:
    stores = [
        event
        for _, _, payload in recorded_frames()
        for event in decode(payload).events  # type: ignore[union-attr]
        if isinstance(event, BlockStored)
    ]
    assert any(isinstance(name, int) and name > 2**63 for name in stores[0].block_hashes)
    assert {len(name) for name in stores[-1].block_hashes if isinstance(name, bytes)} == {32}


def test_older_releases_send_arrays_by_position() -> None:
    batch = events(
        ["BlockStored", [1, 2], None, [5, 6, 7, 8], 2, None],
        ["BlockStored", [b"xy"], 2, [9, 9], 2, None, "CPU", "alpha"],
        ["BlockRemoved", [1]],
        ["AllBlocksCleared"],
    )
    one, two, gone, cleared = batch.events
    assert (one.block_hashes, one.parent_block_hash, one.medium) == ([1, 2], None, None)
    assert (two.parent_block_hash, two.medium, two.lora_name) == (2, "CPU", "alpha")
    assert isinstance(gone, BlockRemoved)
    assert isinstance(cleared, AllBlocksCleared)
    assert batch.unknown == 0


def test_fields_that_are_new_are_skipped() -> None:
    batch = events({**REMOVED, "reason": "a field of next year"})
    assert (len(batch.events), batch.unknown) == (1, 0)
    assert decode(encode([1.0, [REMOVED], 0, {"more": 1}])) is not None


@pytest.mark.parametrize(
    "odd",
    [
        {"type": "BlockMoved", "block_hashes": [1]},
        {"type": "BlockRemoved"},
        {"type": "BlockRemoved", "block_hashes": ["text"]},
        {"type": "BlockStored", "block_hashes": [1], "token_ids": "none"},
        ["BlockMoved", 1],
        [],
        {},
        None,
        7,
    ],
    ids=str,
)
def test_an_odd_event_is_counted_and_spoils_no_other(odd: Any) -> None:
    batch = events(REMOVED, odd, {"type": "AllBlocksCleared"})
    assert [type(event) for event in batch.events] == [BlockRemoved, AllBlocksCleared]
    assert batch.unknown == 1


@pytest.mark.parametrize(
    "payload", [b"", b"\xc1", encode({}), encode([]), encode([1.0]), encode(["x", []]), b"\x93\xcb"]
)
def test_what_is_no_batch_is_none(payload: bytes) -> None:
    assert decode(payload) is None


@given(st.binary(max_size=60))
def test_no_bytes_make_it_fail(noise: bytes) -> None:
    decode(noise)
    decode(b"\x93\xcb" + bytes(8) + b"\x91" + noise + b"\x00")

"""How things are named in the store: keys survive, and a segment stays in one slot of a cluster."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from router.ids import BlockKey
from router.prompt.segments import by_place
from router.prompt.token_blocks import token_keys
from router.shared.names import Names, packed, runs, segments, slot

KEYS = st.lists(st.integers(0, 2**64 - 1), max_size=80)
CHAINS = st.one_of(
    KEYS.map(by_place),
    st.lists(st.integers(0, 2**32 - 1), max_size=200).map(lambda ids: token_keys(ids, 2)),
)
"""Keys as prompts have them, by text and by tokens."""


def block_name(prefix: bytes, key: BlockKey) -> bytes:
    """As the scripts write it."""
    name = key.to_bytes(8, "big")
    return prefix + b"{" + name[2:4] + b"}" + name


def test_names_begin_with_the_namespace_and_the_version() -> None:
    names = Names("blue")
    assert names.base == b"blue:1:"
    assert names.blocks(b"00ff") == b"blue:1:00ff"
    assert names.of_board("rows", "meta") == [b"blue:1:{board}:rows", b"blue:1:{board}:meta"]


def test_what_is_beside_the_blocks_is_in_one_slot() -> None:
    names = Names("blue").of_board("rows", "meta", "leases", "share:some router")
    assert len({key_slot(name) for name in names}) == 1


@given(KEYS)
def test_packed_keys_are_in_order_and_in_network_order(keys: list[BlockKey]) -> None:
    assert packed(keys) == b"".join(key.to_bytes(8, "big") for key in keys)
    assert packed(iter(keys)) == packed(keys)


@given(st.one_of(KEYS, CHAINS))
def test_segments_cover_the_keys(keys: list[BlockKey]) -> None:
    parts = list(segments(keys))
    assert [key for part in parts for key in part] == keys
    assert all(parts)


@given(CHAINS)
def test_a_segment_is_in_one_slot(keys: list[BlockKey]) -> None:
    prefix = Names("prefix-router").blocks(b"ab12")
    for part in segments(keys):
        names = [slot(prefix, part[0]), *(block_name(prefix, key) for key in part)]
        assert len({key_slot(name) for name in names}) == 1
        assert len({slot(prefix, key) for key in part}) == 1


@given(CHAINS)
def test_a_blocks_name_begins_with_its_slots(keys: list[BlockKey]) -> None:
    assert all(block_name(b"x", key).startswith(slot(b"x", key)) for key in keys)


def test_other_segments_are_in_other_slots() -> None:
    first_of_each = [part[0] for start in range(40) for part in segments(by_place([start * 7919]))]
    assert len({key_slot(slot(b"x", key)) for key in first_of_each}) > 1


@given(st.dictionaries(st.integers(0, 2**16 - 1), st.integers(0, 2**32 - 1), max_size=50))
def test_replies_of_the_lookup_are_runs_by_holder(found: dict[int, int]) -> None:
    assert runs(b"".join(struct.pack(">HI", *item) for item in found.items())) == found


@pytest.mark.parametrize("reply", [b"\0", b"\0" * 5, b"\0" * 7])
def test_half_a_reply_is_none(reply: bytes) -> None:
    with pytest.raises(struct.error):
        runs(reply)

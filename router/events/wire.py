"""KV events as vLLM sends them: msgpack, maps since 0.2x, positional arrays before (pure).

A payload is `[timestamp, [event, ...], data-parallel rank]`. Fields with their default value are left out, and later
releases add some: those that are not named here are skipped.
"""

from typing import Any, TypeAlias

import msgspec

Hash: TypeAlias = int | bytes
"""How the engine names a block: 64 unsigned bits, or a digest of any length."""


class BlockStored(msgspec.Struct, tag="BlockStored", gc=False):
    """Blocks, one behind the other, that can be found from now on; a placeholder has no tokens and `block_size` 0."""

    block_hashes: list[Hash]
    parent_block_hash: Hash | None = None
    token_ids: list[int] = []
    block_size: int = 0
    lora_id: int | None = None
    medium: str | None = None
    lora_name: str | None = None
    extra_keys: list[list[Any] | None] | None = None
    group_idx: int | None = None
    kv_cache_spec_kind: str | None = None
    kv_cache_spec_sliding_window: int | None = None
    locality: str | None = None
    ownership: str | None = None
    session_id: str | None = None


class BlockRemoved(msgspec.Struct, tag="BlockRemoved", gc=False):
    """One copy of each of these is gone."""

    block_hashes: list[Hash]
    medium: str | None = None
    group_idx: int | None = None


class AllBlocksCleared(msgspec.Struct, tag="AllBlocksCleared", gc=False):
    """The engine's own pool was emptied."""


class _StoredArray(BlockStored, tag="BlockStored", array_like=True, gc=False):
    """The same by position."""


class _RemovedArray(BlockRemoved, tag="BlockRemoved", array_like=True, gc=False):
    """The same by position."""


class _ClearedArray(AllBlocksCleared, tag="AllBlocksCleared", array_like=True, gc=False):
    """The same by position."""


Event: TypeAlias = BlockStored | BlockRemoved | AllBlocksCleared


class Batch(msgspec.Struct, gc=False):
    """What one step of an engine changed. `timestamp` is the worker's clock, epoch seconds.

    `unknown`: events that were of no known type or not as they should be; they are left out.
    """

    timestamp: float
    events: list[Event]
    rank: int | None = None
    unknown: int = 0


class _RawBatch(msgspec.Struct, array_like=True, gc=False):
    timestamp: float
    events: list[msgspec.Raw]
    rank: int | None = None


class _MapBatch(msgspec.Struct, array_like=True, gc=False):
    timestamp: float
    events: list[Event]
    rank: int | None = None


_batch = msgspec.msgpack.Decoder(_MapBatch)
_raw_batch = msgspec.msgpack.Decoder(_RawBatch)
_by_name = msgspec.msgpack.Decoder(Event)
_by_place = msgspec.msgpack.Decoder(_StoredArray | _RemovedArray | _ClearedArray)


def decode(payload: bytes) -> Batch | None:
    """Read a payload; None when it is not a batch of events at all."""
    try:
        batch = _batch.decode(payload)
        return Batch(batch.timestamp, batch.events, batch.rank)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _decode_each(payload)


def _decode_each(payload: bytes) -> Batch | None:
    """One event after the other, so that an odd one spoils no other."""
    try:
        raw = _raw_batch.decode(payload)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None
    events = [event for each in raw.events if (event := _decode_one(each)) is not None]
    return Batch(raw.timestamp, events, raw.rank, len(raw.events) - len(events))


def _decode_one(raw: msgspec.Raw) -> Event | None:
    for decoder in (_by_name, _by_place):
        try:
            event: Event = decoder.decode(raw)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
        return event
    return None

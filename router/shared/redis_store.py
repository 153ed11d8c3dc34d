"""Who holds which block, and the board, in a Redis or Valkey (`base.Store`)."""

import secrets
import struct
from collections.abc import Iterator, Sequence
from typing import Any

from router.ids import BlockKey, WorkerId
from router.shared.base import (
    MAX_WORKERS,
    Answer,
    Board,
    Change,
    Drop,
    Hold,
    Holder,
    Replica,
    Told,
    Write,
)
from router.shared.link import Command, Link, Plain, Script
from router.shared.names import Names, packed, runs, segments, slot

EXPIRY_S = 3.0
"""After so long without news a router is taken off the board."""

_CHANGE = struct.Struct(">HHIIIIIIHHHH")
_HOLDER = struct.Struct(">H")
_BATCH = 256
"""Blocks that one call of a script takes in: half a millisecond of the server's time."""

_NOBODY = Told(0, 0, 0)


class RedisStore:
    """Blocks are forgotten `ttl_s` after they were last written; a worker's number, at the earliest, after twice that."""

    def __init__(self, link: Link, names: Names, *, ttl_s: int, expiry_s: float = EXPIRY_S) -> None:
        self._link = link
        self._names = names
        self._ttl_s = ttl_s
        self._expiry_ms = round(expiry_s * 1000)

    async def look_up(
        self, epoch: bytes, questions: Sequence[Sequence[BlockKey]], valid: bytes, *, rows: bool
    ) -> Answer:
        """See `Store`. One round trip; one call of a script for each chain, in a cluster for each of its segments."""
        prefix = self._names.blocks(epoch)
        parts = [self._parts(keys) for keys in questions]
        commands: list[Command] = [
            Script("lookup", (slot(prefix, part[0]),), (prefix, packed(part), valid))
            for chain in parts
            for part in chain
        ]
        if rows:
            commands.append(Plain(("GET", self._names.board + b"rows")))
        replies = iter(await self._link.run(commands) if commands else ())
        found = [_joined(chain, replies) for chain in parts]
        return Answer(found, next(replies) if rows else None)

    def _parts(self, keys: Sequence[BlockKey]) -> list[Sequence[BlockKey]]:
        if not keys:
            return []
        return list(segments(keys)) if self._link.is_cluster else [keys]

    async def write(self, epoch: bytes, writes: Sequence[Write]) -> None:
        """See `Store`."""
        prefix = self._names.blocks(epoch)
        commands = [command for write in writes for command in self._commands(prefix, write)]
        if commands:
            await self._link.run(commands)

    def _commands(self, prefix: bytes, write: Write) -> Iterator[Command]:
        holder = _HOLDER.pack(write.holder)
        for part in self._parts(write.keys):
            key = slot(prefix, part[0])
            for start in range(0, len(part), _BATCH):
                keys = packed(part[start : start + _BATCH])
                match write:
                    case Hold():
                        stamp = _HOLDER.pack(write.stamp)
                        yield Script("hold", (key,), (prefix, holder, stamp, self._ttl_s, keys))
                    case Drop():
                        yield Script("drop", (key,), (prefix, holder, keys))

    async def publish(
        self,
        replica: Replica,
        changes: Sequence[Change],
        *,
        epoch: bytes = b"",
        rows: bool = True,
    ) -> Board:
        """See `Store`."""
        names = ("rows", "leaders", "followers", "meta", "numbers", "seen")
        reply = await self._board(
            Script(
                "publish",
                self._names.of_board(*names),
                (
                    self._names.board + b"share:",
                    replica.name,
                    int(replica.leads),
                    secrets.token_hex(2),
                    self._expiry_ms,
                    int(rows),
                    b"".join(map(_packed, changes)),
                    epoch,
                ),
            )
        )
        current, known, board, leaders, followers, facts = reply
        return Board(current, bool(known), board, leaders, followers, facts)

    async def enrol(self, workers: Sequence[WorkerId]) -> list[int]:
        """See `Store`."""
        recycle_ms = 2000 * self._ttl_s
        keys = self._names.of_board("numbers", "seen", "meta")
        return await self._board(Script("enrol", keys, (recycle_ms, MAX_WORKERS, *workers)))

    async def _board(self, script: Script) -> list[Any]:
        replies = await self._link.run([script])
        return list(replies[0])


def _joined(chain: Sequence[Sequence[BlockKey]], replies: Iterator[bytes]) -> dict[Holder, int]:
    """Leading blocks of a chain, by those of its parts: a part counts for who holds all before it."""
    found: dict[Holder, int] = {}
    before = 0
    for place, part in enumerate(chain):
        for holder, blocks in runs(next(replies)).items():
            if not place or found.get(holder) == before:
                found[holder] = before + blocks
        before += len(part)
    return found


def _packed(change: Change) -> bytes:
    told = change.told or _NOBODY
    return _CHANGE.pack(
        change.number,
        change.told is not None,
        *change.share,
        change.sent,
        *told,
        change.told is not None,
    )

"""What routers ask and tell the shared store in a benchmark: the same with every run."""

from __future__ import annotations

import random
import struct
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any, NamedTuple

from bench.shared.hammer import Batch
from router.ids import BlockKey, WorkerId
from router.prompt.segments import by_place
from router.shared.base import IGNORED, KINDS, TEXT, Change, Hold, Holder, Replica, Share
from router.shared.link import Command, Link, Word
from router.shared.names import Names
from router.shared.redis_store import RedisStore

TTL_S = 3600
_NAMES = Names("prefix-router")
"""As long as a router's are by default: memory depends on it."""

STAMP, WINDOW = 1, 100
ME = Replica("bench")
_SHARE = Share(3, 1, 1500, 250, 20_000)
_VALID = struct.Struct(f">{2 * KINDS}H")

Depths = Callable[[random.Random, int], list[int]]


def _two(dice: random.Random, blocks: int) -> list[int]:
    return [dice.randint(1, blocks)] * 32 + [dice.randint(1, blocks)] * 32


def _each(holders: int) -> Depths:
    return lambda dice, blocks: dice.sample(range(1, blocks + 1), min(holders, blocks))


HELD_BY: dict[str, Depths] = {
    "none": _each(0),
    "1": _each(1),
    "4": _each(4),
    "16": _each(16),
    "64 in two depths": _two,
    "64": _each(64),
}
"""How many leading blocks workers hold of a prompt."""


class Prompt(NamedTuple):
    """`held`: leading blocks, by holder."""

    keys: list[BlockKey]
    held: dict[Holder, int]


def holder(worker: int) -> Holder:
    """Who holds text that a worker was sent."""
    return worker * KINDS + TEXT


def valid(workers: int) -> bytes:
    """Of so many workers nothing is known but what they were sent."""
    return _VALID.pack(STAMP, WINDOW, *IGNORED * (KINDS - 1)) * workers


@dataclass(frozen=True, slots=True)
class Hall:
    """The product's store, with so many workers on its board."""

    link: Link
    store: RedisStore
    epoch: bytes
    valid: bytes

    @classmethod
    async def open(cls, url: str, workers: int) -> Hall:
        """Connects, and puts the workers on the board."""
        link = Link(url, timeout_s=30.0)
        store = RedisStore(link, _NAMES, ttl_s=TTL_S, expiry_s=TTL_S)
        board = await store.publish(ME, changes(workers), rows=False)
        await store.enrol([WorkerId(f"worker-{number}:8000") for number in range(workers)])
        return cls(link, store, board.epoch, valid(workers))

    async def look_up(self, *chains: Sequence[BlockKey]) -> dict[Holder, int]:
        """As a request does when the board is to be read, too; what is found of the first chain."""
        answer = await self.store.look_up(self.epoch, chains, self.valid, rows=True)
        return answer.runs[0]

    async def hold(self, worker: int, keys: Sequence[BlockKey]) -> None:
        """A worker was sent these."""
        await self.store.write(self.epoch, [Hold(holder(worker), STAMP, keys)])


def changes(workers: int, number: int = 0) -> list[Change]:
    """Something else for each worker with every `number`."""
    share = _SHARE._replace(inflight=3 + number % 7)
    return [Change(worker, share, sent=100) for worker in range(workers)]


def keys(dice: random.Random, blocks: int) -> list[BlockKey]:
    """A new prompt's, of text."""
    return by_place([dice.getrandbits(64) for _ in range(blocks)])


async def prompts(hall: Hall, blocks: int, depths: Depths, count: int, seed: int) -> list[Prompt]:
    """So many, with workers that hold leading blocks of them."""
    dice, out = random.Random(seed), []
    for _ in range(count):
        chain = keys(dice, blocks)
        held = dict(enumerate(depths(dice, blocks)))
        for worker, depth in held.items():
            await hall.hold(worker, chain[:depth])
        out.append(Prompt(chain, {holder(worker): depth for worker, depth in held.items()}))
    return out


class _RecordedError(Exception):
    pass


class Recorder(Link):
    """Keeps what would be sent: the words of a batch's commands."""

    words: list[Sequence[Word]]

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """Sends nothing; always raises."""
        await self._load()
        self.words = [self._words(command) for command in commands]
        raise _RecordedError


async def recorded(url: str, asks: Iterable[Callable[[RedisStore], Any]]) -> list[Batch]:
    """The words of the commands that each question to the store is sent as."""
    link = Recorder(url)
    out: list[Batch] = []
    store = RedisStore(link, _NAMES, ttl_s=TTL_S)
    for ask in asks:
        with suppress(_RecordedError):
            await ask(store)
        out.append(link.words)
    await link.close()
    return out

"""The tables of `bench.shared`."""

from __future__ import annotations

import random
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial

from bench.shared.costs import Cost, Step, measured
from bench.shared.hammer import hammer
from bench.shared.load import (
    HELD_BY,
    ME,
    STAMP,
    Hall,
    Prompt,
    changes,
    holder,
    keys,
    prompts,
    recorded,
)
from bench.shared.server import Probe
from router.ids import BlockKey
from router.shared.base import Drop, Hold, Replica, Write
from router.shared.redis_store import RedisStore

LOOKUPS = "A look-up, with the board: one round trip"
WRITES = "Blocks that a worker has, or has no more, told in one go"
RATES = "All that one server takes"
MEMORY = "Bytes of a block, by how many workers have it, and how often each was told"
REQUESTS = "What one request of one router asks for"
PUBLISH = "A router's news of so many workers, and the board"

NEW = 32
"""Blocks of a short prompt, or that a turn of a conversation brings."""

_TEXT = 64
"""Blocks of a prompt of 16 KiB, by its text."""

_PROMPTS = 40
"""That are asked for one after the other."""

_AT_A_TIME = 512
"""Blocks that are written in one go where that is not measured."""

Rows = AsyncIterator[list[str]]
Ask = Callable[[RedisStore], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class Sizes:
    """How much of everything. `lengths`: blocks of prompts; `fleets`: workers; `replicas`: routers."""

    passes: int
    steps: int
    blocks: int
    seconds: float
    processes: int
    lengths: tuple[int, ...] = (512, 2048)
    fleets: tuple[int, ...] = (64, 1000)
    replicas: tuple[int, ...] = (8, 500)


class Bench:
    """Each method gives the rows of a table; the server is emptied before it."""

    def __init__(self, url: str, probe: Probe, sizes: Sizes) -> None:
        self._url = url
        self._probe = probe
        self._sizes = sizes

    async def lookups(self) -> Rows:
        """Prompts that none, some and many hold."""
        for blocks in self._sizes.lengths:
            for workers in self._sizes.fleets:
                hall = await Hall.open(self._url, workers)
                for held_by, depths in HELD_BY.items():
                    asked = await prompts(hall, blocks, depths, _PROMPTS, seed=blocks)
                    step = _looking(hall, asked)
                    cost, found = await self._cost(step), await _found(hall, asked)
                    yield [f"{blocks}", f"{workers}", held_by, *cost.cells(), f"{found:.0%}"]
                await hall.link.close()
                self._probe.empty()

    async def writes(self) -> Rows:
        """New blocks, known ones, those of two workers, and their end."""
        for blocks in (NEW, 256):
            hall = await Hall.open(self._url, 64)
            chains = _chains(self._sizes.passes * self._sizes.steps, blocks)
            told: dict[str, Callable[[list[BlockKey]], Write]] = {
                "new": lambda chain: Hold(holder(0), STAMP, chain),
                "once more": lambda chain: Hold(holder(0), STAMP + 1, chain),
                "of a second worker": lambda chain: Hold(holder(1), STAMP, chain),
                "no more, of two": lambda chain: Drop(holder(1), chain),
                "no more, of one": lambda chain: Drop(holder(0), chain),
            }
            for name, write in told.items():
                cost = await self._cost(_writing(hall, chains, write))
                each = cost.server / blocks
                rate = 1e6 / each if each else 0.0
                yield [f"{blocks}", name, *cost.cells(), f"{each:.2f}", f"{rate:,.0f}"]
            await hall.link.close()

    async def rates(self) -> Rows:
        """Look-ups, and writes, from several processes at a time."""
        blocks = self._sizes.lengths[0]
        hall = await Hall.open(self._url, 64)
        asked = await prompts(hall, blocks, HELD_BY["4"], _PROMPTS, seed=1)
        await hall.link.close()
        kinds: dict[str, Iterator[Ask]] = {
            f"look up {blocks} blocks": _lookups(hall, asked),
            f"hold {NEW} blocks, or drop them": _holds_and_drops(hall),
        }
        for name, asks in kinds.items():
            batches = await recorded(self._url, asks)
            sizes = self._sizes
            rate = hammer(self._url, batches, sizes.processes, sizes.seconds)
            yield [name, f"{rate.per_s:,.0f}", f"{rate.core:.0%}", f"{rate.full_per_s:,.0f}"]

    async def memory(self) -> Rows:
        """The server's memory before and after. What 64 hold is a sixteenth of the blocks: it takes long."""
        for holders, times, part in ((1, 1, 1), (1, 2, 1), (4, 1, 1), (4, 2, 1), (64, 1, 16)):
            hall = await Hall.open(self._url, 64)
            before, blocks = self._probe.memory(), self._sizes.blocks // part
            for chain in _chains(blocks // _AT_A_TIME, _AT_A_TIME):
                for stamp in range(STAMP, STAMP + times):
                    writes = [Hold(holder(worker), stamp, chain) for worker in range(holders)]
                    await hall.store.write(hall.epoch, writes)
            used, held = self._probe.memory() - before, blocks // _AT_A_TIME * _AT_A_TIME
            cells = [f"{used / 1e6:.1f}", f"{used / held:.0f}"]
            yield [f"{held:,}", f"{holders}", f"{times}", *cells]
            await hall.link.close()
            self._probe.empty()

    async def requests(self) -> Rows:
        """A conversation's next turn, step by step, then as all servers of a cluster together have it."""
        blocks = self._sizes.lengths[0]
        hall = await Hall.open(self._url, 64)
        asked = await prompts(hall, blocks, HELD_BY["4"], _PROMPTS, seed=1)
        texts = await prompts(hall, _TEXT, HELD_BY["4"], _PROMPTS, seed=2)
        new = _chains(2 * self._sizes.passes * self._sizes.steps, NEW)
        for prompt in asked:
            await hall.hold(0, prompt.keys)
        look_up = f"look up {blocks} blocks, and the board"
        steps: dict[str, Step] = {
            look_up: _looking(hall, asked),
            f"look up {_TEXT} and {blocks} blocks, and the board": _looking(hall, asked, texts),
            f"hold {NEW} new blocks": _holding(hall, new[::2]),
            f"hold {blocks} known blocks": _holding(hall, [prompt.keys for prompt in asked]),
            "news of one worker": _publishing(hall, ME, 1),
        }
        for name, step in steps.items():
            yield await self._request(name, step)
        hall.link.is_cluster = True
        yield await self._request(f"{look_up}, in a cluster", steps[look_up])
        yield await self._request(f"hold {NEW} new blocks, in a cluster", _holding(hall, new[1::2]))
        await hall.link.close()

    async def _request(self, name: str, step: Step) -> list[str]:
        before = self._probe.calls()
        cost = await self._cost(step)
        steps = self._sizes.passes * self._sizes.steps + 1
        return [name, _listed(before, self._probe.calls(), steps), *cost.cells()]

    async def publish(self) -> Rows:
        """Of none, one and some workers, as routers do up to 20 times a second."""
        for workers in self._sizes.fleets:
            for routers in self._sizes.replicas:
                hall = await Hall.open(self._url, workers)
                for number in range(routers - 1):
                    await hall.store.publish(Replica(f"other-{number}"), changes(4), rows=False)
                for changed in (0, 1, 16):
                    cost = await self._cost(_publishing(hall, ME, changed))
                    yield [f"{workers}", f"{routers}", f"{changed}", *cost.cells()]
                await hall.link.close()
                self._probe.empty()

    async def _cost(self, step: Step) -> Cost:
        return await measured(self._probe, step, self._sizes.steps, self._sizes.passes)


def _chains(number: int, blocks: int, seed: int = 7) -> list[list[BlockKey]]:
    dice = random.Random(seed)
    return [keys(dice, blocks) for _ in range(number)]


def _looking(hall: Hall, *asked: list[Prompt]) -> Step:
    return lambda n: hall.look_up(*(each[n % len(each)].keys for each in asked))


def _holding(hall: Hall, chains: list[list[BlockKey]]) -> Step:
    return _writing(hall, chains, lambda chain: Hold(holder(0), STAMP, chain))


def _writing(
    hall: Hall, chains: list[list[BlockKey]], write: Callable[[list[BlockKey]], Write]
) -> Step:
    return lambda n: hall.store.write(hall.epoch, [write(chains[n % len(chains)])])


def _publishing(hall: Hall, replica: Replica, changed: int) -> Step:
    return lambda n: hall.store.publish(replica, changes(changed, n), epoch=hall.epoch)


def _lookups(hall: Hall, asked: list[Prompt]) -> Iterator[Ask]:
    def ask(prompt: Prompt, store: RedisStore) -> Awaitable[object]:
        return store.look_up(hall.epoch, [prompt.keys], hall.valid, rows=False)

    return (partial(ask, prompt) for prompt in asked)


def _holds_and_drops(hall: Hall) -> Iterator[Ask]:
    def ask(write: Write, store: RedisStore) -> Awaitable[object]:
        return store.write(hall.epoch, [write])

    for chain in _chains(_PROMPTS, NEW):
        yield partial(ask, Hold(holder(0), STAMP, chain))
        yield partial(ask, Drop(holder(0), chain))


async def _found(hall: Hall, asked: list[Prompt]) -> float:
    """How many of the blocks that workers hold are found; 1 where nobody holds any."""
    held = sum(sum(prompt.held.values()) for prompt in asked)
    found = [await hall.look_up(prompt.keys) for prompt in asked]
    return sum(sum(runs.values()) for runs in found) / held if held else 1.0


def _listed(before: Mapping[str, int], after: Mapping[str, int], steps: int) -> str:
    """Commands of a step, those of scripts included."""
    calls = {name: (count - before.get(name, 0)) / steps for name, count in after.items()}
    return ", ".join(f"{name} {each:.1f}" for name, each in sorted(calls.items()) if each >= 0.05)

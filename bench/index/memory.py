"""Resident memory of all that is known from events: ledgers, and the index that they report to."""

from __future__ import annotations

import gc
import multiprocessing
import resource
from pathlib import Path

from bench.events.load import Pool
from router.events.counters import Counters
from router.events.ledger import Ledger
from router.events.wire import decode
from router.ids import WorkerId
from router.index.union import UnionIndex

PROMPT = 64
"""Blocks of a batch."""


def worker(number: int) -> WorkerId:
    """Its name."""
    return WorkerId(f"worker-{number}:8000")


def apply(ledger: Ledger, payload: bytes) -> None:
    """All of a batch."""
    batch = decode(payload)
    assert batch is not None
    for _ in ledger.apply(batch.events):
        pass


def fill(index: UnionIndex, blocks: int, holders: int) -> list[Ledger]:
    """The ledgers of `holders` workers, each of which holds the same blocks; all of them together hold `blocks`."""
    pool = Pool(blocks, 16)
    ledgers = [Ledger(worker(n), {"GPU": index}, Counters()) for n in range(holders)]
    while sum(ledger.blocks() for ledger in ledgers) < blocks:
        payload = pool.prefill(PROMPT)
        for ledger in ledgers:
            apply(ledger, payload)
    return ledgers


def bytes_per_block(blocks: int, holders: int) -> tuple[int, float]:
    """How many blocks are held, and resident bytes for each; in a process of its own, with a heap of its own."""
    with multiprocessing.get_context("spawn").Pool(1) as process:
        return process.apply(_measured, (blocks, holders))


def _measured(blocks: int, holders: int) -> tuple[int, float]:
    fill(UnionIndex(), PROMPT, 1)  # whatever is allocated but once
    gc.collect()
    before = _resident()
    ledgers = fill(UnionIndex(), blocks, holders)
    gc.collect()
    held = sum(ledger.blocks() for ledger in ledgers)
    return held, (_resident() - before) / held


def _resident() -> int:
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize()

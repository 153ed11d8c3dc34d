"""The benchmark of events: its load is what it says, and a small run prints every row."""

import subprocess
import sys

import pytest

from bench.dataplane.harness import ROOT
from bench.events.__main__ import KINDS, batch_costs, parser
from bench.events.load import Pool, block_events
from router.events.wire import BlockRemoved, BlockStored, decode
from tests.unit.bench.manual import check_commands, check_options


def test_a_full_pool_loses_a_block_for_each_that_is_new() -> None:
    pool = Pool(10, 4)
    assert [block_events(pool.prefill(6)) for _ in range(3)] == [6, 8, 12]
    assert block_events(pool.decode(3)) == 6


def test_batches_are_what_a_worker_would_send() -> None:
    pool = Pool(6, 4)
    pool.prefill(6)
    for payload, stores in ((pool.prefill(3), 1), (pool.decode(2), 2)):
        batch = decode(payload)
        assert batch is not None
        assert batch.unknown == 0
        kinds = [type(event) for event in batch.events]
        assert kinds.count(BlockStored) == stores
        assert kinds.count(BlockRemoved) == block_events(payload) // 2
        assert all(
            len(event.token_ids) == 4 * len(event.block_hashes)
            for event in batch.events
            if isinstance(event, BlockStored)
        )


@pytest.mark.parametrize("name", KINDS)
def test_both_parts_of_a_batch_are_timed(name: str) -> None:
    events, reading, applying = batch_costs(KINDS[name], Pool(200, 16), 5)
    assert events >= 16
    assert min(reading, applying) > 0.0


def test_a_small_run_prints_every_row() -> None:
    flags = "--rate 5000 --seconds 0.5 --batches 5 --pool 300 --past 50"
    run = subprocess.run(
        [sys.executable, "-m", "bench.events", *flags.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.strip("| ").split(" | ") for line in run.stdout.splitlines() if "|" in line]
    assert [row[0] for row in rows if row[0] in KINDS] == [*KINDS] * 2
    loads = {row[0]: row for row in rows}
    assert loads["nothing"][1] == "0"
    for name in ("5,000 events/s", "replay of 50 batches"):
        # how many depends on who else is busy here
        assert all(float(cell.replace(",", "")) >= 0 for cell in loads[name][1:3])


def test_the_manual_s_commands_are_understood() -> None:
    check_commands("events", parser())


def test_the_manual_names_every_option_and_no_other() -> None:
    check_options("events", parser())

"""The benchmark of the index: its load is what it says, and a small run prints every row."""

import subprocess
import sys

import pytest

from bench.dataplane.harness import ROOT
from bench.index.__main__ import HELD_BY, Hall, Stream, parser
from bench.index.memory import bytes_per_block, fill
from router.index.union import UnionIndex
from tests.unit.bench.manual import check_commands, check_options


@pytest.mark.parametrize("holders", [1, 3])
def test_all_holders_hold_the_same_blocks(holders: int) -> None:
    index = UnionIndex()
    ledgers = fill(index, 300, holders)
    assert len({ledger.blocks() for ledger in ledgers}) == 1
    assert sum(ledger.blocks() for ledger in ledgers) >= 300
    assert len(index._holders) == ledgers[0].blocks()


def test_memory_is_asked_for_as_many_blocks_as_wanted() -> None:
    held, each = bytes_per_block(30_000, 2)
    assert held >= 30_000
    assert 50 < each < 5_000


def test_the_index_holds_as_much_as_was_asked_for() -> None:
    hall = Hall(3, 700)
    assert len(hall.index._holders) == 700
    assert {hall.index._holders.count(each) > 0 for each in hall.workers} == {True}


@pytest.mark.parametrize(("held_by", "holders"), [("all", 3), ("one", 1), ("none", 0)])
def test_a_prompt_is_held_by_whom_it_is_said(held_by: str, holders: int) -> None:
    hall = Hall(3, 100)
    found = hall.index.lookup(hall.prompt(20, held_by))
    assert len(found) == holders
    assert all(1 <= depth <= 20 for depth in found.values())


def test_a_full_worker_loses_a_block_for_each_that_comes_until_it_leaves() -> None:
    stream = Stream(640)
    assert stream.take(640)[0] == 640
    assert stream.take(128)[0] == 256
    assert stream.counters.resyncs == stream.counters.dropped == 0
    assert len(stream.index._holders) == stream.ledger.blocks() == 640
    count, seconds = stream.leave()
    assert count == 640
    assert seconds > 0.0
    assert not stream.index._holders


def test_a_small_run_prints_every_row() -> None:
    flags = "--blocks 3000 --holders 1,2 --workers 2,3 --prompt 20 --repeats 2 --news 200"
    run = subprocess.run(
        [sys.executable, "-m", "bench.index", *flags.split()],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    rows = [line.strip("| ").split(" | ") for line in run.stdout.splitlines() if "|" in line]
    assert [row[:2] for row in rows if row[1] in HELD_BY] == [
        [size, held_by] for size in "23" for held_by in HELD_BY
    ]
    assert [row[0] for row in rows if len(row) == 4][:4] == ["holders", "---", "1", "2"]
    events = [row for row in rows if "come" in row[0] or "costs" in row[0] or "leaves" in row[0]]
    assert len(events) == 3
    assert all(float(cell.replace(",", "")) > 0 for row in events for cell in row[1:])


def test_the_manual_s_commands_are_understood() -> None:
    check_commands("index", parser())


def test_the_manual_names_every_option_and_no_other() -> None:
    check_options("index", parser())

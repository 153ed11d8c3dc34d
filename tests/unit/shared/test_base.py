"""How the board and stamps are written."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.shared.base import (
    CPU,
    DISK,
    GPU,
    IGNORED,
    KINDS,
    MAX_WORKERS,
    ROW_BYTES,
    TEXT,
    Facts,
    Row,
    StoreError,
    pack_rows,
    row_at,
    rows_of,
    stamp_of,
)

U32, U16 = st.integers(0, 2**32 - 1), st.integers(0, 2**16 - 1)
ROWS = st.lists(st.builds(Row, *[U32] * 6, *[U16] * 4), max_size=5)


@given(ROWS)
def test_rows_are_read_as_they_were_written(rows: list[Row]) -> None:
    packed = pack_rows(rows)
    assert len(packed) == ROW_BYTES * len(rows)
    assert rows_of(packed) == rows
    for number, row in enumerate(rows):
        assert row_at(packed, number) == row
    assert row_at(packed, len(rows)) == Row()


def test_a_row_has_the_bytes_that_scripts_count_on() -> None:
    assert ROW_BYTES == 32
    packed = pack_rows([Row(1, 2, 3, 4, 5, 6, 7, 8, 9, 1)])
    assert packed.hex(" ", 4) == (
        "00000001 00000002 00000003 00000004 00000005 00000006 00070008 00090001"
    )


@given(ROWS, st.integers(0, ROW_BYTES - 1))
def test_what_is_cut_short_is_left_out(rows: list[Row], more: int) -> None:
    packed = pack_rows(rows) + bytes(more)
    assert rows_of(packed) == rows
    assert row_at(packed, len(rows)) == Row()


@given(st.lists(st.tuples(U16, U16), max_size=9))
def test_stamps_are_found_by_holder(stamps: list[tuple[int, int]]) -> None:
    valid = b"".join(struct.pack(">HH", *each) for each in stamps)
    assert [stamp_of(valid, holder) for holder in range(len(stamps))] == stamps
    assert stamp_of(valid, len(stamps)) == IGNORED


def test_a_holder_fits_into_two_bytes() -> None:
    assert sorted((TEXT, GPU, CPU, DISK)) == list(range(KINDS))
    assert (MAX_WORKERS - 1) * KINDS + KINDS - 1 == 0xFFFF


@pytest.mark.parametrize("reason", ["late", "failed", "full", "read_only"])
def test_a_failure_says_why(reason: str) -> None:
    error = StoreError(reason, "in words")
    assert (error.reason, str(error)) == (reason, "in words")


def test_of_a_worker_nothing_is_known_at_first() -> None:
    facts = Facts()
    assert (facts.up, facts.models, facts.block, facts.whole, facts.life) == (
        False,
        {},
        0,
        False,
        0,
    )

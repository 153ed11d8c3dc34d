"""Tables on terminals of any width."""

import io
import os
import sys

import pytest

from router.tables import Table, fitted, lines, terminal_width

TABLE = Table(
    ("worker", "state", "load", "seen"),
    [("gpu-1:8000", "up", "3", "-"), ("[fe80::1]:8000", "draining", "12", "-")],
    frozenset({"state"}),
    frozenset({"-"}),
)


def shown(width: int | None) -> list[str]:
    return [line for block in lines(fitted(TABLE, width), width) for line in block]


@pytest.mark.parametrize("width", [None, 200, 38])
def test_columns_side_by_side(width: int | None) -> None:
    assert shown(width) == [
        "worker          state     load  seen",
        "gpu-1:8000      up           3     -",
        "[fe80::1]:8000  draining    12     -",
    ]


def test_what_says_nothing_goes_first() -> None:
    assert shown(32) == [
        "worker          state     load",
        "gpu-1:8000      up           3",
        "[fe80::1]:8000  draining    12",
    ]


def test_then_each_row_becomes_a_block() -> None:
    assert shown(29) == [
        "gpu-1:8000",
        "    state: up; load: 3",
        "[fe80::1]:8000",
        "    state: draining; load: 12",
    ]
    assert shown(28)[2:] == ["[fe80::1]:8000", "    state: draining", "    load: 12"]


@pytest.mark.parametrize("width", [1, 20, 30, 40, None])
def test_nothing_is_cut_off_and_no_line_ends_in_spaces(width: int | None) -> None:
    text = "\n".join(shown(width))
    assert all(cell in text for row in TABLE.rows for cell in row[:3])
    assert all(line == line.rstrip() for line in shown(width))


def test_wide_characters_count_twice() -> None:
    table = Table(("a", "b"), [("日本", "1"), ("x", "2")], frozenset(), frozenset())
    assert [block[0] for block in lines(table, None)] == ["a     b", "日本  1", "x     2"]


def test_the_width_of_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    monkeypatch.setitem(os.environ, "COLUMNS", "77")
    monkeypatch.setattr(sys, "stdout", Terminal())
    assert terminal_width() == 77
    monkeypatch.setattr(sys, "stdout", io.StringIO())
    assert terminal_width() is None

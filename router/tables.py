"""Tables on a terminal: columns side by side where they fit, else a block for each row. Nothing is ever cut off."""

import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from rich.cells import cell_len

_GAP = 2
_INDENT = 4
_AND = "; "


@dataclass(frozen=True, slots=True)
class Table:
    """`rows` have a cell for each name in `head`; the first is what a row is of. `silent`: cells that say nothing."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    left: frozenset[str]
    silent: frozenset[str]


def terminal_width() -> int | None:
    """Columns of standard output; None where it is no terminal: whoever reads a pipe wants whole lines."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def fitted(table: Table, width: int | None) -> Table:
    """The table, without columns that say nothing of any row where it is too wide."""
    if width is None or _wide(table) <= width:
        return table
    kept = [
        at
        for at in range(len(table.head))
        if at == 0 or any(row[at] not in table.silent for row in table.rows)
    ]
    rows = [[row[at] for at in kept] for row in table.rows]
    return replace(table, head=[table.head[at] for at in kept], rows=rows)


def lines(table: Table, width: int | None) -> list[list[str]]:
    """Lines of the head, if there is one, then those of each row: one, or where that is too wide one for the row's name and
    others for the rest.
    """
    if width is None or _wide(table) <= width:
        return _side_by_side(table)
    return _stacked(table, width)


def _widths(table: Table) -> list[int]:
    return [max(map(cell_len, column)) for column in zip(table.head, *table.rows, strict=True)]


def _wide(table: Table) -> int:
    widths = _widths(table)
    return sum(widths) + _GAP * (len(widths) - 1)


def _side_by_side(table: Table) -> list[list[str]]:
    widths = _widths(table)
    lefts = [at == 0 or name in table.left for at, name in enumerate(table.head)]
    return [[_line(row, widths, lefts)] for row in (table.head, *table.rows)]


def _line(cells: Sequence[str], widths: Sequence[int], lefts: Sequence[bool]) -> str:
    padded = []
    for cell, width, left in zip(cells, widths, lefts, strict=True):
        space = " " * (width - cell_len(cell))
        padded.append(cell + space if left else space + cell)
    return (" " * _GAP).join(padded).rstrip()


def _stacked(table: Table, width: int) -> list[list[str]]:
    return [[], *([row[0], *_filled(table, row, width)] for row in table.rows)]


def _filled(table: Table, row: Sequence[str], width: int) -> Iterator[str]:
    """Names with their cells, as many on a line as fit."""
    line = ""
    for name, cell in zip(table.head[1:], row[1:], strict=True):
        part = f"{name}: {cell}"
        if line and _INDENT + cell_len(line) + len(_AND) + cell_len(part) > width:
            yield " " * _INDENT + line
            line = ""
        line = f"{line}{_AND}{part}" if line else part
    if line:
        yield " " * _INDENT + line

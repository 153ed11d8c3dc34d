"""Tables, charts' places and lists of definitions as HTML; every text is escaped here (pure)."""

from collections.abc import Iterable, Mapping, Sequence
from html import escape

from router.simulate.report_data import Grid
from router.simulate.table import Cell


def figure(name: str, title: str, note: str = "", table: str = "") -> str:
    """The place that the page's script draws the chart `name` in; `table` says the same."""
    return (
        f"<figure><figcaption><strong>{escape(title)}</strong> {escape(note)}</figcaption>"
        f'<div class="plot" role="img" aria-label="{escape(f"Chart: {title}")}" data-chart="{name}"></div>'
        f"{folded(table) if table else ''}</figure>"
    )


def folded(table: str) -> str:
    """Shown on demand."""
    return f"<details><summary>As a table</summary>{table}</details>"


def definitions(entries: Mapping[str, str]) -> str:
    """What each term means."""
    rows = (
        f"<div><dt>{escape(term)}</dt><dd>{escape(text)}</dd></div>"
        for term, text in entries.items()
    )
    return f"<dl>{''.join(rows)}</dl>"


def grid_table(grid: Grid) -> str:
    """A table of numbers."""
    rows = (
        [_head(first), *(f"<td>{escape(text)}</td>" for text in rest)] for first, *rest in grid.rows
    )
    return _table(grid.titles, rows)


def cell_table(titles: Sequence[str], rows: Mapping[str, Sequence[Cell]]) -> str:
    """A table of figures, by the names of the rows."""
    return _table(titles, ([_head(name), *map(_cell, cells)] for name, cells in rows.items()))


def _cell(cell: Cell) -> str:
    text = f"<b>{cell.text}</b>" if cell.best else cell.text
    ratio = f" <small>{cell.ratio}</small>" if cell.ratio else ""
    return f"<td>{text}{ratio}</td>"


def _head(text: str) -> str:
    return f'<th scope="row">{escape(text)}</th>'


def _table(titles: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f'<th scope="col">{escape(title)}</th>' for title in titles)
    body = "".join(f"<tr>{''.join(row)}</tr>" for row in rows)
    table = f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"
    return f'<div class="wide" role="region" aria-label="Table" tabindex="0">{table}</div>'

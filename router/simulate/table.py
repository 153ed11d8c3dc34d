"""Figures as tables: for the terminal, and for the report."""

import textwrap
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import click

from router.simulate.hardware import Hardware
from router.simulate.outcome import Figures, Outcome
from router.simulate.study import pace
from router.simulate.workload import Workload


@dataclass(frozen=True, slots=True)
class Column:
    """A figure that is shown. `best` picks the best of several; `ratio`: also over the first policy's."""

    title: str
    value: Callable[[Figures], float]
    show: Callable[[float], str]
    best: Callable[[Sequence[float]], float] = min
    ratio: bool = False


def _digits(value: float) -> str:
    """Three significant ones, without an exponent."""
    if value >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if value >= 10 else f"{value:.2f}" if value >= 1 else f"{value:.3f}"


def _percent(value: float) -> str:
    return f"{100 * value:.1f}"


def _ratio(value: float) -> str:
    return f"{value:.2f}x" if value < 1 else f"{_digits(value)}x"


COLUMNS = (
    Column("TTFT mean s", lambda f: f.ttft_mean_s, _digits, ratio=True),
    Column("TTFT p50 s", lambda f: f.ttft_p50_s, _digits, ratio=True),
    Column("TTFT p99 s", lambda f: f.ttft_p99_s, _digits, ratio=True),
    Column("TPOT ms", lambda f: 1e3 * f.tpot_mean_s, _digits),
    Column("E2E s", lambda f: f.e2e_mean_s, _digits),
    Column("goodput %", lambda f: f.goodput, _percent, max),
    Column("hit %", lambda f: f.hit_rate, _percent, max),
    Column("busiest", lambda f: f.busiest, lambda value: f"{value:.2f}x"),
)


class Cell(NamedTuple):
    """What is shown of a figure. `ratio` is empty where there is none; `best` is also who is as good as the best."""

    text: str
    ratio: str
    best: bool


def cells(outcomes: Sequence[Outcome]) -> list[list[Cell]]:
    """One row per outcome, one cell per column."""
    columns = [_cells(column, [outcome.figures for outcome in outcomes]) for column in COLUMNS]
    return [list(row) for row in zip(*columns, strict=True)]


def _cells(column: Column, figures: Sequence[Figures]) -> list[Cell]:
    values = [column.value(each) for each in figures]
    best = column.show(column.best(values))
    column_cells = []
    for value in values:
        ratio = _ratio(value / values[0]) if column.ratio and values[0] else ""
        text = column.show(value)
        column_cells.append(Cell(text, ratio, len(values) > 1 and text == best))
    return column_cells


def legend(hardware: Hardware) -> str:
    """What the columns mean."""
    return (
        "TTFT: time to first token, in the router's queue included; x: over the first policy's. TPOT: time per token "
        "after it. E2E: to the last token. goodput: requests with the first token within "
        f"{hardware.slo_ttft_s:g} s and {1e3 * hardware.slo_itl_s:g} ms per token. hit: prompt tokens found in a "
        "worker's cache. busiest: requests at the busiest worker over the mean one's."
    )


def wrapped(text: str) -> str:
    """In lines for a terminal."""
    return textwrap.fill(text, 100)


def heading(workload: Workload, outcome: Outcome) -> str:
    """`load 0.8: 2.11x the trace's own speed, 7.17 requests/s`, and which routers there are, if several."""
    speed = f"{outcome.speed:.4g}x the trace's own speed, {pace(workload, outcome.speed)}"
    text = speed if outcome.load is None else f"load {outcome.load:g}: {speed}"
    return f"{text}; {outcome.before}" if outcome.before else text


def text_table(workload: Workload, outcomes: Sequence[Outcome]) -> str:
    """The outcomes of one level, the best in bold."""
    rows = cells(outcomes)
    name_width = max(len("policy"), *(len(outcome.policy) for outcome in outcomes))
    widths = [_width(column, [row[i] for row in rows]) for i, column in enumerate(COLUMNS)]
    titles = (f"{c.title:>{sum(width)}}" for c, width in zip(COLUMNS, widths, strict=True))
    lines = [heading(workload, outcomes[0]), f"{'policy':{name_width}}{''.join(titles)}"]
    for outcome, row in zip(outcomes, rows, strict=True):
        texts = [_text(cell, *width) for cell, width in zip(row, widths, strict=True)]
        lines.append(f"{outcome.policy:{name_width}}{''.join(texts)}")
    return "\n".join(lines)


def _width(column: Column, column_cells: Sequence[Cell]) -> tuple[int, int]:
    """Of the figures, two spaces before them included, and of the ratios, one. The title is above both."""
    ratio = max(len(cell.ratio) + 1 if cell.ratio else 0 for cell in column_cells)
    main = max(len(column.title) - ratio, *(len(cell.text) for cell in column_cells))
    return main + 2, ratio


def _text(cell: Cell, main: int, ratio: int) -> str:
    text = f"{cell.text:>{main}}"
    return f"{click.style(text, bold=True) if cell.best else text}{cell.ratio:>{ratio}}"

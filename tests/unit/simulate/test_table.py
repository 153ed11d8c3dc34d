"""Tables show what is best, and how much the others are off."""

from dataclasses import replace

import click
import pytest

from router.simulate.curves import curves
from router.simulate.outcome import Figures, Outcome
from router.simulate.table import cells, heading, legend, text_table, wrapped
from tests.unit.simulate.studies import HARDWARE, workload

FIGURES = Figures(300, 0, 0.25, 0.1234, 0.5, 12.34, 0.0, 0.0253, 7.0, 0.875, 0.5, 1.25)
WORSE = replace(FIGURES, ttft_mean_s=10.0, ttft_p99_s=123.4, goodput=0.1, busiest=1.0)
WORK = workload(requests=50)


def outcome(policy: str, figures: Figures, load: float | None = 0.8) -> Outcome:
    return Outcome(policy, load, 2.0, figures, curves([], 2, 1.0))


TWO = [outcome("prefix", FIGURES), outcome("round_robin", WORSE)]


def test_the_table_as_text() -> None:
    title, *lines = click.unstyle(text_table(WORK, TWO)).splitlines()
    assert title == heading(WORK, TWO[0])
    assert lines == [
        "policy       TTFT mean s   TTFT p50 s  TTFT p99 s  TPOT ms  E2E s  goodput %  hit %  busiest",
        "prefix       0.250 1.00x  0.123 1.00x  12.3 1.00x     25.3   7.00       87.5   50.0    1.25x",
        "round_robin   10.0 40.0x  0.123 1.00x   123 10.0x     25.3   7.00       10.0   50.0    1.00x",
    ]


def test_the_best_is_bold() -> None:
    first, second = cells(TWO)
    assert [cell.best for cell in first] == [True, True, True, True, True, True, True, False]
    assert [cell.best for cell in second] == [False, True, False, True, True, False, True, True]
    lines = text_table(WORK, TWO).splitlines()
    assert click.style("  0.250", bold=True) in lines[2]
    assert click.style("10.0", bold=True) not in lines[3]


def test_one_alone_is_not_the_best() -> None:
    assert not any(cell.best for row in cells(TWO[:1]) for cell in row)


def test_who_looks_as_good_is_as_good() -> None:
    close = [outcome("a", FIGURES), outcome("b", replace(FIGURES, ttft_mean_s=0.25001))]
    assert [row[0].best for row in cells(close)] == [True, True]


def test_there_is_no_ratio_to_nothing() -> None:
    nothing = [outcome("a", replace(FIGURES, ttft_mean_s=0.0)), *TWO]
    assert [row[0].ratio for row in cells(nothing)] == ["", "", ""]


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0.000"), (0.0314, "0.031"), (1.005, "1.00"), (99.94, "99.9"), (1234.5, "1,234")],
)
def test_three_digits(value: float, text: str) -> None:
    assert cells([outcome("a", replace(FIGURES, ttft_mean_s=value))])[0][0].text == text


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.5, "2.00x"), (0.005, "0.02x"), (3.08, "12.3x"), (250.0, "1,000x")],
)
def test_ratios_are_short(value: float, text: str) -> None:
    first = replace(FIGURES, ttft_mean_s=0.25)
    rows = cells([outcome("a", first), outcome("b", replace(FIGURES, ttft_mean_s=value))])
    assert (rows[0][0].ratio, rows[1][0].ratio) == ("1.00x", text)


def test_the_longest_names_and_figures_fit_a_terminal() -> None:
    much = replace(FIGURES, ttft_mean_s=9999.0, ttft_p50_s=9999.0, ttft_p99_s=9999.0, goodput=1.0)
    lines = click.unstyle(text_table(WORK, [outcome("production_stack", much), *TWO])).splitlines()
    assert max(map(len, lines)) <= 100


def test_headings() -> None:
    assert heading(WORK, TWO[0]).startswith("load 0.8: 2x the trace's own speed, ")
    assert heading(WORK, outcome("a", FIGURES, None)).startswith("2x the trace's own speed, ")
    several = replace(TWO[0], before="3 routers that share nothing")
    assert heading(WORK, several) == f"{heading(WORK, TWO[0])}; 3 routers that share nothing"


def test_the_legend_has_the_objectives_and_fits_a_terminal() -> None:
    assert "within 2 s and 50 ms per token" in legend(HARDWARE)
    shown = wrapped(legend(HARDWARE))
    assert max(map(len, shown.splitlines())) <= 100
    assert shown.replace("\n", " ") == legend(HARDWARE)

"""Markup says what it is given, and nothing that it is given becomes markup."""

from router.simulate.report_data import Grid
from router.simulate.report_markup import cell_table, definitions, figure, folded, grid_table
from router.simulate.table import Cell

HOSTILE = '<b>&"'
SAFE = "&lt;b&gt;&amp;"


def test_a_grid() -> None:
    markup = grid_table(Grid(["policy", "x"], [["prefix", "1"], ["random", ""]]))
    assert '<th scope="col">policy</th><th scope="col">x</th>' in markup
    assert '<tr><th scope="row">prefix</th><td>1</td></tr>' in markup
    assert '<tr><th scope="row">random</th><td></td></tr>' in markup


def test_cells() -> None:
    markup = cell_table(
        ["policy", "x"], {"prefix": [Cell("1", "1.00x", True)], "b": [Cell("2", "", False)]}
    )
    assert '<th scope="row">prefix</th><td><b>1</b> <small>1.00x</small></td>' in markup
    assert '<th scope="row">b</th><td>2</td>' in markup


def test_a_figure_has_its_table_if_there_is_one() -> None:
    table = grid_table(Grid(["a"], [["b"]]))
    assert folded(table) in figure("ttft-0", "TTFT", "note", table)
    assert "<details>" not in figure("overview", "Overview")
    assert 'data-chart="ttft-0"' in figure("ttft-0", "TTFT")


def test_texts_are_escaped() -> None:
    for markup in (
        figure("x", HOSTILE, HOSTILE),
        definitions({HOSTILE: HOSTILE}),
        grid_table(Grid([HOSTILE], [[HOSTILE, HOSTILE]])),
        cell_table([HOSTILE], {HOSTILE: []}),
    ):
        assert HOSTILE not in markup
        assert markup.count(SAFE) >= 2

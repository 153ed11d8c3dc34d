"""Draws the dashboards from a live fleet, to look at without Grafana: python -m tests.deploy.plot --out build/dashboards

One HTML page each; a browser makes pictures of them (chromium --headless --screenshot).
"""

import argparse
import tempfile
from collections.abc import Iterator, Sequence
from html import escape
from itertools import pairwise
from math import isfinite
from pathlib import Path
from typing import Any

from tests.deploy.queries import BOARDS, board, filled
from tests.deploy.rig import Run, run
from tests.fakes.prometheus import Series

PALETTE = (
    "#73bf69",
    "#f2cc0c",
    "#5794f2",
    "#ff780a",
    "#e02f44",
    "#b877d9",
    "#37872d",
    "#8ab8ff",
    "#ffa6b0",
    "#8e8e8e",
)
NAMED = {
    "green": "#73bf69",
    "orange": "#ff780a",
    "red": "#e02f44",
    "dark-red": "#8f1c2c",
    "blue": "#5794f2",
    "yellow": "#f2cc0c",
    "purple": "#b877d9",
    "semi-dark-purple": "#8f3bb8",
}
COLUMN_PX, ROW_PX, LEGEND = 62, 34, 6
STYLE = """body{background:#111217;color:#ccccdc;font:12px sans-serif;margin:8px}.board{position:relative}
.panel{position:absolute;background:#181b1f;border:1px solid #2c2f36;box-sizing:border-box;overflow:hidden;padding:4px}
.row{position:absolute;font-size:14px;color:#fff}h2{font-size:12px;margin:0 0 2px;font-weight:600}.stat{font-size:26px;color:#73bf69}
small{color:#8e8e9e}td,th{padding:1px 8px;text-align:right}i{display:inline-block;width:10px;height:3px;margin:0 3px 2px 8px}"""

Json = dict[str, Any]


def page(seen: Run, name: str) -> str:
    """A dashboard as HTML."""
    found = board(name)
    parts = [_row(p) if p["type"] == "row" else _panel(seen, p) for p in found["panels"]]
    bottom = max(p["gridPos"]["y"] + p["gridPos"]["h"] for p in found["panels"])
    return (
        f"<!doctype html><meta charset=utf-8><style>{STYLE}</style><h1>{escape(found['title'])}</h1>"
        f"<div class=board style='height:{bottom * ROW_PX}px;width:{24 * COLUMN_PX}px'>{''.join(parts)}</div>"
    )


def _place(panel: Json) -> str:
    at = panel["gridPos"]
    return (
        f"left:{at['x'] * COLUMN_PX}px;top:{at['y'] * ROW_PX}px;"
        f"width:{at['w'] * COLUMN_PX - 6}px;height:{at['h'] * ROW_PX - 6}px"
    )


def _row(panel: Json) -> str:
    return f"<div class=row style='{_place(panel)}'>{escape(panel['title'])}</div>"


def _panel(seen: Run, panel: Json) -> str:
    series = [
        (_legend(target["legendFormat"], each.labels, target["refId"]), each)
        for target in panel["targets"]
        for each in _ask(seen, target)
    ]
    draw = {"stat": _stat, "table": _table, "heatmap": _heatmap}.get(panel["type"], _lines)
    body = draw(panel, series) if series else "<small>No data</small>"
    title = f"{escape(panel['title'])} <small>{panel['fieldConfig']['defaults']['unit']}</small>"
    return f"<div class=panel style='{_place(panel)}'><h2>{title}</h2>{body}</div>"


def _ask(seen: Run, target: Json) -> Sequence[Series]:
    expr = filled(target["expr"], rate_s=5, range_s=seen.seconds)
    if target["instant"]:
        return seen.prometheus.now(expr, seen.end)
    return seen.prometheus.over(expr, seen.start, seen.end, 0.5)


def _legend(form: str, labels: dict[str, str], ref: str) -> str:
    for name, value in labels.items():
        form = form.replace(f"{{{{{name}}}}}", value)
    return form or f"{ref} {labels}"


def _number(value: float) -> str:
    return f"{value:,.4g}"


def _stat(panel: Json, series: Sequence[tuple[str, Series]]) -> str:
    return " ".join(
        f"<span class=stat>{_number(each.values[-1][1])}</span> <small>{escape(name)}</small>"
        for name, each in series
    )


def _table(panel: Json, series: Sequence[tuple[str, Series]]) -> str:
    renamed: dict[str, str] = next(
        (
            each["options"].get("renameByName", {})
            for each in panel["transformations"]
            if each["id"] == "organize"
        ),
        {},
    )
    rows: dict[str, dict[str, str]] = {}
    for name, each in series:
        key = " ".join(f"{v}" for k, v in each.labels.items() if k != "__name__")
        column = renamed.get(f"Value #{name[:1]}", name[:1])
        rows.setdefault(key, {})[column] = _number(each.values[-1][1])
    columns = list(dict.fromkeys(column for row in rows.values() for column in row))
    head = "".join(f"<th>{escape(each)}</th>" for each in ("", *columns))
    body = "".join(
        f"<tr><td>{escape(key)}</td>{_cells(row, columns)}</tr>" for key, row in rows.items()
    )
    return f"<table><tr>{head}</tr>{body}</table>"


def _cells(row: dict[str, str], columns: Sequence[str]) -> str:
    return "".join(f"<td>{row.get(column, '')}</td>" for column in columns)


class _Scale:
    """From seconds and values to pixels."""

    def __init__(self, panel: Json, times: Sequence[float], values: Sequence[float]) -> None:
        at = panel["gridPos"]
        self.width: int = at["w"] * COLUMN_PX - 70
        self.height: int = (at["h"] - 1) * ROW_PX - 60
        self.start, self.end = min(times), max(*times, min(times) + 1)
        self.low, self.high = min(0.0, *values), max(*values, 1e-12)

    def x(self, time: float) -> float:
        return 50.0 + (time - self.start) / (self.end - self.start) * self.width

    def y(self, value: float) -> float:
        return 6 + (self.high - value) / (self.high - self.low) * self.height

    def axes(self) -> Iterator[str]:
        for part in range(5):
            value = self.low + (self.high - self.low) * part / 4
            y = self.y(value)
            yield f"<line x1=50 x2={50 + self.width} y1={y} y2={y} stroke=#2c2f36 />"
            yield f"<text x=46 y={y + 4} text-anchor=end fill=#8e8e9e font-size=10>{_number(value)}</text>"


def _lines(panel: Json, series: Sequence[tuple[str, Series]]) -> str:
    stacked = panel["fieldConfig"]["defaults"]["custom"].get("stacking", {}).get("mode") == "normal"
    curves: list[tuple[str, list[tuple[float, float]]]] = []
    below: dict[float, float] = {}
    for name, each in series:
        points = [
            (t, v + (below.get(t, 0.0) if stacked else 0.0)) for t, v in each.values if isfinite(v)
        ]
        below |= dict(points)
        if points:
            curves.append((name, points))
    if not curves:
        return "<small>NaN</small>"
    every = [point for _, points in curves for point in points]
    scale = _Scale(panel, [t for t, _ in every], [v for _, v in every])
    colors = _colors(panel)
    drawn, legend = [*scale.axes()], []
    for place, (name, points) in enumerate(curves):
        color = colors.get(name, PALETTE[place % len(PALETTE)])
        for (t0, v0), (t1, v1) in pairwise([(points[0][0] - 0.4, points[0][1]), *points]):
            if t1 - t0 < 3:
                drawn.append(
                    f"<line x1={scale.x(t0):.1f} y1={scale.y(v0):.1f} x2={scale.x(t1):.1f} y2={scale.y(v1):.1f} stroke='{color}'/>"
                )
        last = _number(points[-1][1])
        legend.append(f"<i style='background:{color}'></i>{escape(name)} <small>{last}</small>")
    more = f" … {len(legend) - LEGEND} more" if len(legend) > LEGEND else ""
    svg = f"<svg width={scale.width + 60} height={scale.height + 14}>{''.join(drawn)}</svg>"
    return f"{svg}<div>{''.join(legend[:LEGEND])}{more}</div>"


def _colors(panel: Json) -> dict[str, str]:
    found = {}
    for override in panel["fieldConfig"]["overrides"]:
        for each in override["properties"]:
            if each["id"] == "color":
                color = each["value"]["fixedColor"]
                found[override["matcher"]["options"]] = NAMED.get(color, color)
    return found


def _heatmap(panel: Json, series: Sequence[tuple[str, Series]]) -> str:
    ordered = sorted(series, key=lambda each: float(each[0].replace("+Inf", "inf")))
    times = sorted({t for _, each in ordered for t, _ in each.values})
    before = dict.fromkeys(times, 0.0)
    cells = []
    for row, (_, each) in enumerate(ordered):
        for t, v in each.values:
            cells.append((times.index(t), row, max(0.0, v - before[t])))
            before[t] = v
    most = max((count for *_, count in cells), default=0.0) or 1.0
    at = panel["gridPos"]
    width = (at["w"] * COLUMN_PX - 80) / max(1, len(times))
    height = ((at["h"] - 1) * ROW_PX - 30) / len(ordered)
    rects = "".join(
        f"<rect x={60 + column * width:.1f} y={(len(ordered) - 1 - row) * height:.1f} width={width:.1f} height={height:.1f} "
        f"fill=#ff780a fill-opacity={(count / most) ** 0.5:.2f} />"
        for column, row, count in cells
        if count
    )
    names = "".join(
        f"<text x=56 y={(len(ordered) - row) * height - 2:.1f} text-anchor=end fill=#8e8e9e font-size=9>{name}</text>"
        for row, (name, _) in enumerate(ordered)
    )
    return f"<svg width={at['w'] * COLUMN_PX - 16} height={(at['h'] - 1) * ROW_PX - 20}>{rects}{names}</svg>"


def main() -> None:
    """Run the fleet, draw every dashboard."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("build/dashboards"))
    out = parser.parse_args().out
    out.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as folder, run(Path(folder)) as seen:
        for name in BOARDS:
            (out / f"{name}.html").write_text(page(seen, name), encoding="utf-8")


if __name__ == "__main__":
    main()

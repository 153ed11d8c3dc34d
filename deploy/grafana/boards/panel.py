"""Panels as data, and what Grafana (10 and newer) has for them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

DATASOURCE = {"type": "prometheus", "uid": "${datasource}"}
GOOD, WARN, BAD, CALM = "green", "orange", "red", "#8e8e8e"

Json = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """PromQL and what its series are called. `instant`: only its value now is asked for."""

    expr: str
    legend: str = ""
    instant: bool = False
    format: str = "time_series"


@dataclass(frozen=True)
class Panel:
    """A panel of Grafana's type `kind`. `unit` is Grafana's name of it; `colors` are by legend; `options`, `defaults` and
    `custom` go over what is usual; `steps` colour a value from so much on.
    """

    title: str
    description: str
    queries: Sequence[Query]
    kind: str = "timeseries"
    unit: str = "short"
    width: int = 8
    height: int = 8
    stacked: bool = False
    low: float | None = 0
    high: float | None = None
    decimals: int | None = None
    colors: Mapping[str, str] = field(default_factory=dict)
    steps: Sequence[tuple[float | None, str]] = ((None, GOOD),)
    mappings: Sequence[tuple[float, str, str]] = ()
    options: Json = field(default_factory=dict)
    overrides: Sequence[Json] = ()
    transformations: Sequence[Json] = ()

    def json(self, number: int, x: int, y: int) -> Json:
        """As Grafana has it, at a place of its grid."""
        return {
            "id": number,
            "type": self.kind,
            "title": self.title,
            "description": self.description,
            "datasource": DATASOURCE,
            "gridPos": {"x": x, "y": y, "w": self.width, "h": self.height},
            "targets": [_target(place, query) for place, query in enumerate(self.queries)],
            "fieldConfig": {"defaults": self._defaults(), "overrides": self._overrides()},
            "options": {**_OPTIONS.get(self.kind, {}), **self.options},
            **({"transformations": list(self.transformations)} if self.transformations else {}),
        }

    def _defaults(self) -> Json:
        limits = {"min": self.low, "max": self.high, "decimals": self.decimals}
        return {
            "unit": self.unit,
            **{name: value for name, value in limits.items() if value is not None},
            "color": {"mode": _COLOR_MODES.get(self.kind, "palette-classic")},
            "thresholds": {
                "mode": "absolute",
                "steps": [{"value": value, "color": color} for value, color in self.steps],
            },
            "mappings": [
                {"type": "value", "options": {f"{value:g}": {"text": text, "color": color}}}
                for value, text, color in self.mappings
            ],
            "custom": self._custom(),
        }

    def _custom(self) -> Json:
        if self.kind == "state-timeline":
            return {"fillOpacity": 80, "lineWidth": 0}
        if self.kind != "timeseries":
            return {}
        return {
            "drawStyle": "line",
            "lineWidth": 1,
            "fillOpacity": 30 if self.stacked else 8,
            "showPoints": "never",
            "spanNulls": False,
            "axisSoftMin": 0,
            "stacking": {"mode": "normal" if self.stacked else "none", "group": "A"},
        }

    def _overrides(self) -> list[Json]:
        colors = [
            {
                "matcher": {"id": "byName", "options": name},
                "properties": [{"id": "color", "value": {"mode": "fixed", "fixedColor": color}}],
            }
            for name, color in self.colors.items()
        ]
        return [*colors, *self.overrides]


def _target(place: int, query: Query) -> Json:
    return {
        "refId": chr(ord("A") + place),
        "datasource": DATASOURCE,
        "editorMode": "code",
        "expr": query.expr,
        "legendFormat": query.legend,
        "instant": query.instant,
        "range": not query.instant,
        "format": query.format,
    }


_COLOR_MODES = {
    "stat": "thresholds",
    "bargauge": "thresholds",
    "table": "thresholds",
    "state-timeline": "thresholds",
}

_OPTIONS: dict[str, Json] = {
    "timeseries": {
        "legend": {
            "displayMode": "table",
            "placement": "bottom",
            "showLegend": True,
            "calcs": ["mean", "max", "lastNotNull"],
            "sortBy": "Max",
            "sortDesc": True,
        },
        "tooltip": {"mode": "multi", "sort": "desc"},
    },
    "stat": {
        "reduceOptions": {"calcs": ["lastNotNull"], "fields": "", "values": False},
        "colorMode": "value",
        "graphMode": "area",
        "textMode": "auto",
        "justifyMode": "auto",
    },
    "heatmap": {
        "calculate": False,
        "color": {"mode": "scheme", "scheme": "Oranges", "steps": 64, "exponent": 0.5},
        "cellGap": 1,
        "showValue": "never",
        "yAxis": {"axisPlacement": "left", "unit": "s", "reverse": False},
        "rowsFrame": {"layout": "auto"},
        "tooltip": {"show": True, "mode": "single", "showColorScale": False, "yHistogram": True},
        "legend": {"show": True},
    },
    "state-timeline": {
        "mergeValues": True,
        "showValue": "auto",
        "alignValue": "left",
        "rowHeight": 0.8,
        "legend": {"displayMode": "list", "placement": "bottom", "showLegend": False},
        "tooltip": {"mode": "single", "sort": "none"},
    },
    "table": {"showHeader": True, "cellHeight": "sm", "footer": {"show": False}},
}

"""A dashboard: rows of panels, and its variables."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from deploy.grafana.boards.panel import DATASOURCE, Json, Panel

COLUMNS = 24
TAG = "prefix-router"


@dataclass(frozen=True)
class Row:
    """Panels under a heading, from left to right."""

    title: str
    panels: Sequence[Panel]


@dataclass(frozen=True)
class Board:
    """`variables` are names of `VARIABLES`."""

    uid: str
    title: str
    description: str
    rows: Sequence[Row]
    variables: Sequence[str] = ("namespace", "job", "instance", "model", "worker")

    def json(self) -> Json:
        """As Grafana imports it."""
        return {
            "uid": self.uid,
            "title": self.title,
            "description": self.description,
            "tags": [TAG],
            "schemaVersion": 39,
            "version": 1,
            "editable": True,
            "graphTooltip": 1,
            "refresh": "30s",
            "time": {"from": "now-1h", "to": "now"},
            "timezone": "browser",
            "fiscalYearStartMonth": 0,
            "links": [_LINK],
            "annotations": {"list": []},
            "templating": {
                "list": [_datasource(), *(_variable(name) for name in self.variables)],
            },
            "panels": list(self._panels()),
        }

    def _panels(self) -> Iterator[Json]:
        number = y = 0
        for row in self.rows:
            number += 1
            yield _heading(number, row.title, y)
            x, y, height = 0, y + 1, 0
            for panel in row.panels:
                if x + panel.width > COLUMNS:
                    x, y, height = 0, y + height, 0
                number += 1
                yield panel.json(number, x, y)
                x, height = x + panel.width, max(height, panel.height)
            y += height


def _heading(number: int, title: str, y: int) -> Json:
    return {
        "id": number,
        "type": "row",
        "title": title,
        "collapsed": False,
        "gridPos": {"x": 0, "y": y, "w": COLUMNS, "h": 1},
        "panels": [],
    }


_LINK = {
    "type": "dashboards",
    "title": "prefix-router",
    "tags": [TAG],
    "asDropdown": True,
    "includeVars": True,
    "keepTime": True,
    "targetBlank": False,
    "icon": "external link",
}

_ONES = 'namespace=~"$namespace",job=~"$job"'

VARIABLES = {
    "namespace": "label_values(router_build_info, namespace)",  # outside of Kubernetes there is none
    "job": 'label_values(router_build_info{namespace=~"$namespace"}, job)',
    "instance": f"label_values(router_build_info{{{_ONES}}}, instance)",
    "model": f"label_values(router_requests_total{{{_ONES}}}, model)",
    "worker": f"label_values(router_worker_up{{{_ONES}}}, worker)",
    "endpoint": f"label_values(router_requests_total{{{_ONES}}}, endpoint)",
}


def _datasource() -> Json:
    return {
        "name": "datasource",
        "label": "Data source",
        "type": "datasource",
        "query": "prometheus",
        "refresh": 1,
        "hide": 0,
    }


def _variable(name: str) -> Json:
    query = VARIABLES[name]
    return {
        "name": name,
        "label": name.capitalize(),
        "type": "query",
        "datasource": DATASOURCE,
        "definition": query,
        "query": {"query": query, "refId": "PrometheusVariableQueryEditor-VariableQuery"},
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": ["All"], "value": ["$__all"]},
        "refresh": 2,
        "sort": 1,
        "hide": 0,
    }

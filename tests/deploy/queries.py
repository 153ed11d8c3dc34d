"""Every query of the dashboards and rules, as Grafana and Prometheus would ask it."""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

DEPLOY = Path(__file__).parents[2] / "deploy"
GRAFANA = DEPLOY / "grafana"
RUNBOOK = DEPLOY.parent / "docs/runbook.md"
RULES = DEPLOY / "prometheus/rules.yaml"
BOARDS = ("overview", "fleet", "cache", "latency", "router")


@dataclass(frozen=True, slots=True)
class Asked:
    """A panel's query with its variables filled in."""

    board: str
    panel: str
    ref: str
    expr: str
    instant: bool

    @property
    def name(self) -> str:
        """For people."""
        return f"{self.board} / {self.panel} / {self.ref}"


def board(name: str) -> dict[str, Any]:
    """A dashboard as it is committed."""
    found: dict[str, Any] = json.loads((GRAFANA / f"{name}.json").read_text(encoding="utf-8"))
    return found


def panels(name: str) -> list[dict[str, Any]]:
    """Its panels without headings."""
    return [panel for panel in board(name)["panels"] if panel["type"] != "row"]


def filled(expr: str, *, rate_s: int, range_s: int) -> str:
    """With variables as they are when nothing is chosen."""
    found = expr.replace("$__rate_interval", f"{rate_s}s").replace("$__range", f"{range_s}s")
    return re.sub(r'"\$[a-z]+"', '".*"', found)


def asked(*, rate_s: int = 5, range_s: int = 20) -> Iterator[Asked]:
    """All queries of all panels."""
    for name in BOARDS:
        for panel in panels(name):
            for target in panel["targets"]:
                expr = filled(target["expr"], rate_s=rate_s, range_s=range_s)
                yield Asked(name, panel["title"], target["refId"], expr, target["instant"])


def rules() -> list[dict[str, Any]]:
    """Recording and alerting rules."""
    groups = yaml.safe_load(RULES.read_text(encoding="utf-8"))["groups"]
    return [rule for group in groups for rule in group["rules"]]


def selectors(expr: str) -> Iterator[tuple[str, list[str]]]:
    """Names of metrics and of the labels that they are chosen by."""
    for name, matchers in re.findall(
        r"\b((?:[a-z_]+:)?(?:router|process)_[a-z_0-9:]+|up)\b(?:\{([^}]*)\})?", expr
    ):
        yield name, re.findall(r"(\w+)\s*(?:=~|!~|!=|=)", matchers)

"""The dashboards are what their descriptions make of them, well laid out, and show every metric there is."""

import re
from itertools import pairwise

import pytest

from deploy.grafana.build import BOARDS as DESCRIBED
from deploy.grafana.build import text
from router.telemetry.metrics import Metrics
from tests.deploy.queries import BOARDS, GRAFANA, asked, board, panels

ROUTERS = 'namespace=~"$namespace",job=~"$job",instance=~"$instance"'
NOT_SHOWN: dict[str, str] = {}
"""Metrics that no dashboard has, and why."""


def test_all_are_here() -> None:
    assert set(DESCRIBED) == set(BOARDS) == {path.stem for path in GRAFANA.glob("*.json")}
    assert len({board(name)["uid"] for name in BOARDS}) == len(BOARDS)


@pytest.mark.parametrize("name", BOARDS)
def test_what_is_committed_is_what_was_generated(name: str) -> None:
    committed = (GRAFANA / f"{name}.json").read_text(encoding="utf-8")
    assert committed == text(DESCRIBED[name]), "run: python -m deploy.grafana.build"


def exported() -> set[str]:
    """Names of the series that a scrape has, without histograms' suffixes."""
    metrics = Metrics()
    return {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in metrics.registry.collect()
    }


def test_every_metric_is_shown_somewhere() -> None:
    shown = " ".join(query.expr for query in asked())
    missing = {
        name for name in exported() if not re.search(rf"\b{name}(?:_bucket|_sum|_count)?\b", shown)
    }
    assert missing == NOT_SHOWN.keys()


def test_nothing_is_asked_for_that_is_not_exported() -> None:
    known = exported()
    for query in asked():
        for name in re.findall(r"\b(?:router|process)_[a-z_]+(?=\{)", query.expr):
            assert name in known or re.sub(r"_(?:bucket|sum|count)$", "", name) in known, query.name


@pytest.mark.parametrize("name", BOARDS)
class TestLayout:
    def test_panels_do_not_overlap_or_stick_out(self, name: str) -> None:
        taken: set[tuple[int, int]] = set()
        for panel in board(name)["panels"]:
            at = panel["gridPos"]
            cells = {
                (x, y)
                for x in range(at["x"], at["x"] + at["w"])
                for y in range(at["y"], at["y"] + at["h"])
            }
            assert not cells & taken, panel["title"]
            assert at["x"] + at["w"] <= 24, panel["title"]
            taken |= cells

    def test_lines_of_panels_fill_the_width(self, name: str) -> None:
        widths: dict[int, int] = {}
        for panel in board(name)["panels"]:
            at = panel["gridPos"]
            widths[at["y"]] = widths.get(at["y"], 0) + at["w"]
        assert set(widths.values()) == {24}

    def test_every_panel_says_what_it_is_and_in_which_unit(self, name: str) -> None:
        for panel in panels(name):
            assert panel["description"].endswith("."), panel["title"]
            assert panel["fieldConfig"]["defaults"]["unit"]
            for target in panel["targets"]:
                assert target["legendFormat"] or target["format"] == "table", panel["title"]
                assert target["datasource"]["uid"] == "${datasource}"

    def test_ids_and_titles_are_unique(self, name: str) -> None:
        everything = board(name)["panels"]
        ids = sorted(panel["id"] for panel in everything)
        assert all(a < b for a, b in pairwise(ids))

    def test_variables_are_defined_and_used(self, name: str) -> None:
        found = board(name)
        defined = {variable["name"] for variable in found["templating"]["list"]}
        text = " ".join(target["expr"] for panel in panels(name) for target in panel["targets"])
        used = set(re.findall(r'"\$([a-z]+)"', text))
        assert used == defined - {"datasource"}

    def test_every_query_is_of_the_chosen_routers(self, name: str) -> None:
        for panel in panels(name):
            for target in panel["targets"]:
                for matchers in re.findall(
                    r"\b(?:router|process)_[a-z_]+\{([^}]*)\}", target["expr"]
                ):
                    assert matchers.startswith(ROUTERS), panel["title"]

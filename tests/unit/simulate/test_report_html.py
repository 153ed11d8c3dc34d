"""The page is well-formed, needs nothing from elsewhere, and has a chart and a table for everything."""

import json
import re
from dataclasses import replace
from html.parser import HTMLParser

import pytest

from router.simulate.report_html import as_html
from router.simulate.run_options import Outage
from router.simulate.scenario import left_out
from router.simulate.study import Study
from tests.unit.simulate.studies import EVEN, HARDWARE, study_of, workload

VOID = {"meta", "br", "hr", "img", "input", "link"}
WORK = workload(requests=60)


class Page(HTMLParser):
    """Fails on tags that do not match; keeps what was seen."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.texts: dict[str, list[str]] = {}
        self.feed(text)
        self.close()
        assert self.open == []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.texts.setdefault(self.open[-1] if self.open else "", []).append(data)

    def charts(self) -> list[str]:
        return [name for _, attrs in self.tags if (name := attrs.get("data-chart"))]

    def data(self) -> dict[str, object]:
        return dict(json.loads(next(text for text in self.texts["script"] if text[0] == "{")))


@pytest.fixture(scope="module")
def study() -> Study:
    return study_of(WORK)


@pytest.fixture(scope="module")
def text(study: Study) -> str:
    return as_html(study, "1.2")


@pytest.fixture(scope="module")
def page(text: str) -> Page:
    return Page(text)


def test_it_needs_nothing_from_elsewhere(text: str, page: Page) -> None:
    for tag, attrs in page.tags:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base"}
        assert not {"src", "href", "srcset", "data"} & attrs.keys()
    assert "@import" not in text
    assert "url(" not in text
    policy = next(a["content"] for t, a in page.tags if t == "meta" and "http-equiv" in a)
    assert policy is not None
    assert policy.startswith("default-src 'none'")
    assert re.findall(r"https?://\S+", text) == ["https://github.com/leeoniya/uPlot"]


def test_the_library_comes_with_its_licence(text: str) -> None:
    assert "Copyright (c) 2022 Leon Sorokin" in text
    assert "The above copyright notice and this permission notice" in text


def test_every_placeholder_is_filled(text: str) -> None:
    assert not re.search(r"\$(title|summary|scenario|overview|levels|legend|data|css|js)\b", text)


def test_it_says_what_was_simulated(page: Page) -> None:
    assert page.texts["h1"] == ["Routing policies on rag"]
    first = page.texts["p"][0]
    assert first.startswith("60 requests of rag to 2 workers (h100-8b), seed 1; prefix-router 1.2.")
    assert "A load of 1 is 1.5x the trace's own speed" in first
    said = dict(zip(page.texts["dt"], page.texts["dd"], strict=True))
    assert said["requests"] == "60, all answered"
    assert said["knowledge"] == "index by KV events and predictions"
    assert said["KV cache"] == "390,000 tokens"
    assert said["step"] == "3 ms, and the longer of 6 ms (weights) and 29.5 µs per token"


def test_it_says_what_is_wrong_with_the_fleet() -> None:
    odd = replace(EVEN, slow={1: 0.5}, outages=(Outage(0, 1.0, 2.0),))
    page = Page(as_html(study_of(WORK, levels=[1.0], scenario=odd), ""))
    said = dict(zip(page.texts["dt"], page.texts["dd"], strict=True))
    assert (said["slow workers"], said["outages"]) == ("1: 0.5x", "0: 1 to 2 s")


def test_it_says_how_many_were_left_out() -> None:
    tiny = replace(EVEN, hardware=replace(HARDWARE, kv_tokens=12_000))
    page = Page(as_html(study_of(WORK, levels=[1.0], scenario=tiny), ""))
    said = dict(zip(page.texts["dt"], page.texts["dd"], strict=True))
    left = 60 - left_out(WORK, tiny.hardware)
    assert 0 < left < 60
    assert said["requests"].startswith(f"60, answered {left}: the others need more than 90 %")


def test_there_is_a_chart_for_everything(page: Page) -> None:
    kinds = ["ttft-{}", "waiting-{}", "hits-{}", "inflight-{}-0", "inflight-{}-1"]
    wanted = ["overview", *(kind.format(level) for level in (0, 1) for kind in kinds)]
    assert page.charts() == wanted
    labels = [attrs.get("aria-label") for _, attrs in page.tags if "data-chart" in attrs]
    assert all(labels)


def test_there_is_a_table_for_every_kind_of_chart(page: Page) -> None:
    assert page.texts["summary"].count("As a table") == 2 * 4
    assert [tag for tag, _ in page.tags].count("table") == 2 * 5


def test_the_charts_have_data(page: Page, study: Study) -> None:
    data = page.data()
    assert data["policies"] == ["prefix", "round_robin"]
    assert data["overview"] == {
        "label": "load",
        "x": [0.5, 2.0],
        "lines": [
            [each.figures.ttft_mean_s for each in study.outcomes if each.policy == policy]
            for policy in ("prefix", "round_robin")
        ],
    }
    levels = data["levels"]
    assert isinstance(levels, list)
    for level in levels:
        for chart in (level["ttft"], level["waiting"], level["hits"], *level["inflight"]):
            assert {len(line) for line in chart["lines"]} == {len(chart["x"])}
            assert chart["x"] == sorted(set(chart["x"]))


def test_one_level_has_no_overview() -> None:
    page = Page(as_html(study_of(WORK, levels=[3.0], capacity=None), ""))
    assert "overview" not in page.charts()
    assert page.texts["h2"][0].startswith("3x the trace's own speed, ")
    assert "A load of 1" not in page.texts["p"][0]


def test_speeds_are_named_as_such() -> None:
    page = Page(as_html(study_of(WORK, levels=[2.0, 3.0], capacity=None), ""))
    assert "Mean time to first token by speed, times the trace's own" in page.texts["strong"]


def test_a_name_cannot_become_markup() -> None:
    named = replace(WORK, name="</script><b>$data")
    page = Page(as_html(study_of(named, levels=[1.0]), ""))
    assert page.texts["h1"] == ["Routing policies on </script><b>$data"]


def test_the_same_study_gives_the_same_page(text: str) -> None:
    assert as_html(study_of(WORK), "1.2") == text

"""A study as one HTML page that needs nothing else: figures as tables, and charts."""

import json
from collections.abc import Sequence
from dataclasses import asdict
from html import escape
from importlib.resources import files
from string import Template
from typing import Any

from router.simulate.outcome import Outcome
from router.simulate.report_data import LevelData, level_data, time_grid, ttft_grid, worker_grid
from router.simulate.report_markup import cell_table, definitions, figure, folded, grid_table
from router.simulate.scenario import KNOWLEDGE
from router.simulate.study import Study, pace, setting
from router.simulate.table import COLUMNS, cells, heading, legend

Levels = Sequence[Sequence[Outcome]]


def as_html(study: Study, version: str) -> str:
    """The page. The same study always gives the same text."""
    levels = list(study.levels())
    data = [level_data(outcomes) for outcomes in levels]
    sections = [
        _level(study, number, outcomes, charts)
        for number, (outcomes, charts) in enumerate(zip(levels, data, strict=True))
    ]
    return Template(_asset("simulate/assets/report.html")).substitute(
        title=escape(f"Routing policies on {study.workload.name}"),
        summary=escape(_summary(study, version)),
        scenario=definitions(_scenario(study)),
        overview=_overview(study) if len(levels) > 1 else "",
        levels="\n".join(sections),
        legend=escape(legend(study.plan.scenario.hardware)),
        data=_embedded(_data(study, levels, data)),
        css=_asset("simulate/assets/report.css"),
        js=_asset("simulate/assets/report.js"),
        plot_css=_asset("assets/uplot/uPlot.min.css"),
        plot_js=_asset("assets/uplot/uPlot.iife.min.js"),
        licence=_asset("assets/uplot/LICENSE"),
    )


def _asset(path: str) -> str:
    return files("router").joinpath(path).read_text(encoding="utf-8")


def _summary(study: Study, version: str) -> str:
    plan = study.plan
    scenario = plan.scenario
    program = f"prefix-router {version}".strip()
    text = f"{setting(study.workload, scenario)}; {program}."
    if plan.capacity is not None:
        speed = f"{plan.capacity:g}x the trace's own speed, {pace(study.workload, plan.capacity)}"
        text += f" A load of 1 is {speed}."
    return text


def _scenario(study: Study) -> dict[str, str]:
    scenario, workload = study.plan.scenario, study.workload
    hardware = scenario.hardware
    answered = study.outcomes[0].figures.requests
    slow = (f"{worker}: {speed:g}x" for worker, speed in scenario.slow.items())
    outages = (f"{o.worker}: {o.start_s:g} to {o.end_s:g} s" for o in scenario.outages)
    return {
        "trace": f"{workload.name}, blocks of {workload.block_tokens} tokens",
        "requests": f"{study.requests:,}, all answered"
        if answered == study.requests
        else f"{study.requests:,}, answered {answered:,}: the others need more than 90 % of a KV cache, or follow "
        "such ones",
        "workers": str(scenario.workers),
        "routers": scenario.before() or "1",
        "knowledge": KNOWLEDGE[scenario.knowledge],
        "metrics": f"up to {scenario.metrics_s:g} s old",
        "slow workers": ", ".join(slow) or "none",
        "outages": ", ".join(outages) or "none",
        "hardware": f"{hardware.name}, an estimate from first principles, not a measurement",
        "step": f"{1e3 * hardware.base_s:g} ms, and the longer of {1e3 * hardware.weights_s:g} ms (weights) and "
        f"{1e6 * hardware.token_s:g} µs per token",
        "decode": f"{1e9 * hardware.kv_s:g} ns per token of context and step",
        "attention": f"{1e9 * hardware.attention_s:g} ns per prompt token and token before it",
        "scheduler": f"{hardware.budget:,} tokens and {hardware.max_seqs:,} requests per step",
        "KV cache": f"{hardware.kv_tokens:,} tokens",
        "objectives": f"first token within {hardware.slo_ttft_s:g} s, {1e3 * hardware.slo_itl_s:g} ms per token",
    }


def _data(study: Study, levels: Levels, data: Sequence[LevelData]) -> dict[str, Any]:
    """What the page's script reads."""
    means = [[outcome.figures.ttft_mean_s for outcome in outcomes] for outcomes in levels]
    return {
        "objective": study.plan.scenario.hardware.slo_ttft_s,
        "policies": study.plan.policies,
        "overview": {
            "label": _level_name(study),
            "x": study.plan.levels,
            "lines": list(zip(*means, strict=True)),
        },
        "levels": [asdict(charts) for charts in data],
    }


def _embedded(data: dict[str, Any]) -> str:
    """JSON that cannot end the element it stands in."""
    return json.dumps(data, separators=(",", ":")).replace("<", "\\u003c")


def _level_name(study: Study) -> str:
    return "load" if study.plan.capacity is not None else "speed, times the trace's own"


def _overview(study: Study) -> str:
    title = f"Mean time to first token by {_level_name(study)}"
    return f'<section class="overview">{figure("overview", title, "The tables below say the same.")}</section>'


def _level(study: Study, number: int, outcomes: Sequence[Outcome], charts: LevelData) -> str:
    title = heading(study.workload, outcomes[0])
    rows = zip((outcome.policy for outcome in outcomes), cells(outcomes), strict=True)
    panels = (figure(f"inflight-{number}-{i}", each.policy) for i, each in enumerate(outcomes))
    return "".join(
        [
            f"<section><h2>{escape(title[:1].upper() + title[1:])}</h2>",
            cell_table(["policy", *(column.title for column in COLUMNS)], dict(rows)),
            f'<div class="charts">{_figures(number, outcomes, charts)}</div>',
            "<h3>Requests in flight at each worker</h3>",
            "<p>A thin line per worker, a thick one for their mean.</p>",
            f'<div class="panels">{"".join(panels)}</div>',
            f"{folded(grid_table(worker_grid(outcomes)))}</section>",
        ]
    )


def _figures(number: int, outcomes: Sequence[Outcome], charts: LevelData) -> str:
    waiting = time_grid(charts.waiting, charts.policies, lambda value: f"{value:.2f}")
    hits = time_grid(charts.hits, charts.policies, lambda value: f"{100 * value:.1f} %")
    return "".join(
        [
            figure(
                f"ttft-{number}",
                "Time to first token",
                "Share of requests that had their first token within a time: further left is better.",
                grid_table(ttft_grid(outcomes)),
            ),
            figure(
                f"waiting-{number}",
                "Requests waiting for their first token",
                "In the router or at a worker.",
                grid_table(waiting),
            ),
            figure(
                f"hits-{number}",
                "Hit rate",
                "Share of prompt tokens found in the worker's cache, by time of arrival.",
                grid_table(hits),
            ),
        ]
    )

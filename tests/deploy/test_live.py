"""Every query of every dashboard and rule, asked of a real Prometheus that scrapes real routers."""

import json
import math
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator

import pytest

from tests.deploy import chart
from tests.deploy.queries import RUNBOOK, Asked, asked, rules, selectors
from tests.deploy.rig import Run, run
from tests.deploy.workers import CHAT, OTHER
from tests.e2e.harness import ROOT

pytestmark = pytest.mark.timeout(120)

EMPTY = {
    "cache / Token mismatches / A": "the workers' tokens are the routers'",
    "cache / Questions / A": "no LMCache",
    "cache / Time to load / A": "no LMCache",
}
"""Queries that may find nothing in a fleet that is well, and why."""

UNSEEN = {"router_token_mismatch": "the workers' tokens are the routers'"}
"""Metrics of rules that a fleet which is well may not have, and why."""


@pytest.fixture(scope="module")
def seen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Run]:
    with run(tmp_path_factory.mktemp("fleet")) as running:
        yield running


def values(seen: Run, query: Asked) -> list[float]:
    """What a panel has to show."""
    if query.instant:
        series = seen.prometheus.now(query.expr, seen.end)
    else:
        series = seen.prometheus.over(query.expr, seen.start, seen.end, 1)
    return [value for each in series for _, value in each.values]


@pytest.mark.parametrize("query", [*asked(range_s=25)], ids=lambda query: query.name)
def test_every_panel_has_something_to_show(seen: Run, query: Asked) -> None:
    found = values(seen, query)
    assert found or query.name in EMPTY, query.expr
    if not found:
        return
    assert not all(map(math.isnan, found)), query.expr


@pytest.mark.parametrize("rule", rules(), ids=lambda rule: rule.get("record") or rule["alert"])
def test_every_rule_is_about_what_there_is(seen: Run, rule: dict[str, str]) -> None:
    """An alert finds nothing while all is well; so what it looks at must be there, with the labels that it chooses by."""
    found = seen.prometheus.over(rule["expr"], seen.start, seen.end, 1)
    if "record" in rule:
        assert any(not math.isnan(value) for each in found for _, value in each.values)
    for metric, labels in selectors(rule["expr"]):
        if metric in UNSEEN:
            continue
        series = seen.prometheus.now(f"last_over_time({metric}[5m])", seen.end)
        assert series, metric
        assert all(set(labels) <= each.labels.keys() for each in series), metric


def test_what_workers_are_scaled_by_is_there(seen: Run) -> None:
    """Of each model its own. The load is on one of them: its requests wait, and have to be read."""
    autoscaling = {"type": "keda", "matchers": 'job="prefix-router"'}
    workers = [
        {"name": name, "model": model, "autoscaling": autoscaling}
        for name, model in (("chat", CHAT), ("other", OTHER))
    ]
    objects = chart.rendered("external-workers", json.dumps({"workers": workers}))
    for scaled in chart.of_kind(objects, "ScaledObject"):
        for trigger in scaled["spec"]["triggers"]:
            query = trigger["metadata"]["query"]
            found = seen.prometheus.over(query, seen.start, seen.end, 1)
            levels = [value for each in found for _, value in each.values]
            assert levels, query
            assert max(levels) > 0 or OTHER in query, query


def test_nothing_is_rejected_by_prometheus(seen: Run) -> None:
    """Each scrape is whole: no sample twice, none out of order, none malformed."""
    up = seen.prometheus.over("min(up)", seen.start + 2, seen.end, 1)
    assert [value for each in up for _, value in each.values if value != 1.0] == []
    health = seen.prometheus.get("rules")
    broken = [
        (rule["name"], rule["lastError"])
        for group in health["groups"]
        for rule in group["rules"]
        if rule["health"] == "err"
    ]
    assert broken == []
    assert "Error on ingesting" not in seen.prometheus.log.read_text()


def blocks(language: str) -> list[str]:
    """The runbook's commands in one language, a line each; what is continued on the next line together."""
    text = RUNBOOK.read_text(encoding="utf-8")
    found = "".join(re.findall(rf"^```{language}\n(.*?)^```", text, re.MULTILINE | re.DOTALL))
    return re.sub(r"\|\n\s+", "| ", found).splitlines()


@pytest.mark.parametrize("expr", blocks("promql"))
def test_the_runbook_s_queries_find_something(seen: Run, expr: str) -> None:
    found = seen.prometheus.over(expr.partition("#")[0], seen.start, seen.end, 1)
    assert any(not math.isnan(value) for each in found for _, value in each.values)


COMMANDS = [
    line
    for line in blocks("sh")
    if re.match(r"jq|curl|prefix-router", line) and "WORKER" not in line
]


@pytest.mark.parametrize("command", COMMANDS)
def test_the_runbook_s_commands_do_what_they_should(seen: Run, command: str) -> None:
    for tool in ("bash", "jq", "curl"):
        if shutil.which(tool) is None:
            pytest.skip(f"{tool} is not installed")
    folder = seen.router.out.parent
    (folder / "request.json").write_text(json.dumps({"model": CHAT, "prompt": "hello"}))
    script = f"""
        set -euo pipefail
        prefix-router() {{ {sys.executable} -m router "$@"; }}
        export PYTHONPATH={ROOT} ROUTER={seen.router.url} ADMIN_KEY=none
        AUTH="authorization: Bearer $ADMIN_KEY"
        cd {folder}
        {command}
    """
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.strip() or "ttft_ms >" in command

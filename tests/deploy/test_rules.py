"""The rules are valid, each alert fires when it should and not else, and the runbook says what to do about each."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.queries import DEPLOY, RUNBOOK, rules
from tests.fakes.prometheus import promtool

FOLDER = DEPLOY / "prometheus"
URL = "https://github.com/prefix-router/prefix-router/blob/main/docs/runbook.md#"
ALERTS = [rule for rule in rules() if "alert" in rule]


def test_promtool_finds_nothing_wrong() -> None:
    status, told = promtool(
        "check", "rules", "--lint=all", "--lint-fatal", "rules.yaml", folder=FOLDER
    )
    assert status == 0, told


def test_each_alert_fires_when_it_should_and_not_else() -> None:
    status, told = promtool("test", "rules", "rules_test.yaml", folder=FOLDER)
    assert status == 0, told


def test_the_example_configuration() -> None:
    status, told = promtool("check", "config", "prometheus.yml", folder=FOLDER)
    assert status == 0, told


def test_the_example_configuration_for_kubernetes(tmp_path: Path) -> None:
    config = yaml.safe_load((FOLDER / "prometheus-kubernetes.yml").read_text(encoding="utf-8"))
    config["rule_files"] = [str(FOLDER / "rules.yaml")]
    status, told = _checked(config, tmp_path)
    if "kubernetes_sd_configs not found" in told:  # Debian's is built without
        for job in config["scrape_configs"]:
            job.pop("kubernetes_sd_configs", None)
        status, told = _checked(config, tmp_path)
    assert status == 0, told


def _checked(config: dict[str, Any], folder: Path) -> tuple[int, str]:
    (folder / "prometheus.yml").write_text(yaml.safe_dump(config))
    return promtool("check", "config", "prometheus.yml", folder=folder)


def test_each_alert_is_tested_firing_and_silent() -> None:
    tests = yaml.safe_load((FOLDER / "rules_test.yaml").read_text(encoding="utf-8"))["tests"]
    firing, silent = set(), set()
    for case in (case for test in tests for case in test.get("alert_rule_test", ())):
        (firing if case.get("exp_alerts") else silent).add(case["alertname"])
    names = {alert["alert"] for alert in ALERTS}
    assert firing == silent == names


@pytest.mark.parametrize("alert", ALERTS, ids=lambda alert: alert["alert"])
def test_an_alert_says_what_is_wrong(alert: dict[str, Any]) -> None:
    assert alert["labels"]["severity"] in ("critical", "warning")
    assert alert["annotations"].keys() == {"summary", "description", "runbook_url"}
    assert (
        "{{ $labels." in alert["annotations"]["description"]
        or "{{ $value" in alert["annotations"]["description"]
    )
    assert alert["annotations"]["runbook_url"] == URL + alert["alert"].lower()


def test_the_runbook_has_each_alert_and_no_other() -> None:
    headings = re.findall(r"^## (\w+)$", RUNBOOK.read_text(encoding="utf-8"), re.MULTILINE)
    assert [name for name in headings if name.startswith("Router")] == [
        alert["alert"] for alert in ALERTS
    ]


def test_the_runbook_asks_for_metrics_that_there_are() -> None:
    from router.telemetry.metrics import Metrics

    known = {
        f"{family.name}_total" if family.type == "counter" else family.name
        for family in Metrics().registry.collect()
    }
    text = RUNBOOK.read_text(encoding="utf-8")
    for name in re.findall(r"\b(?:router|process)_[a-z_]+(?=[{\[`) ])", text):
        bare = re.sub(r"_(?:bucket|sum|count)$", "", name)
        assert {name, bare, f"{name}_total"} & known or name in _FIELDS, name


_FIELDS = {"router_error"}
"""Words of the runbook that look like metrics."""

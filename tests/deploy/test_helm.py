"""The chart renders to manifests that Kubernetes takes, for every set of values in its folder ci."""

import copy
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import chart, kubernetes_schemas

VERSIONS = (kubernetes_schemas.OLDEST, kubernetes_schemas.NEWEST)
_DNS_LABEL = re.compile(r"[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?")


@pytest.mark.parametrize("name", chart.VALUE_SETS)
def test_lint_has_nothing_to_say(name: str) -> None:
    done = chart.run("lint", "--strict", chart.CHART, "-f", chart.values_of(name))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "[WARNING]" not in done.stdout


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.parametrize("name", chart.VALUE_SETS)
def test_every_manifest_is_one_of_kubernetes(name: str, version: str) -> None:
    problems = {
        f"{each['kind']} {each['metadata']['name']}": kubernetes_schemas.problem(each, version)
        for each in chart.render(name)
    }
    assert not {each: problem for each, problem in problems.items() if problem}


def _wrong(manifest: chart.Object) -> Iterator[chart.Object]:
    """The same with an unknown member, in the spec and deeper."""
    for path in (("spec",), ("spec", "template", "spec"), ("spec", "triggers", 0)):
        copied: Any = copy.deepcopy(manifest)
        place = copied
        try:
            for step in path:
                place = place[step]
        except (KeyError, TypeError):
            continue
        place["unheardOf"] = 1
        yield copied


@pytest.mark.parametrize(
    "kind", ["Deployment", "Service", "ScaledObject", "PodMonitor", "HTTPRoute"]
)
def test_the_schemas_notice_what_is_wrong(kind: str) -> None:
    manifest = chart.of_kind(chart.render("everything"), kind)[0]
    found = list(_wrong(manifest))
    assert found
    assert all(kubernetes_schemas.problem(each, kubernetes_schemas.NEWEST) for each in found)


@pytest.mark.parametrize("name", chart.VALUE_SETS)
def test_no_object_is_there_twice_and_names_are_short(name: str) -> None:
    seen = set()
    for each in chart.render(name):
        meta = each["metadata"]
        key = (each["apiVersion"], each["kind"], meta.get("namespace"), meta["name"])
        assert key not in seen, key
        seen.add(key)
        assert _DNS_LABEL.fullmatch(meta["name"]), meta["name"]


def test_everything_has_every_kind() -> None:
    kinds = {each["kind"] for each in chart.render("everything")}
    assert kinds >= {
        "Deployment", "DaemonSet", "Service", "ConfigMap", "Secret", "ServiceAccount", "Role", "RoleBinding", "Ingress",
        "HTTPRoute", "PodMonitor", "PrometheusRule", "PodDisruptionBudget", "HorizontalPodAutoscaler", "ScaledObject",
        "NetworkPolicy",
    }  # fmt: skip


def test_dashboards_and_rules_are_the_files() -> None:
    objects = chart.render("everything")
    boards = {path.name for path in (chart.CHART / "dashboards").glob("*.json")}
    found = [
        each
        for each in chart.of_kind(objects, "ConfigMap")
        if "grafana_dashboard" in each["metadata"].get("labels", {})
    ]
    assert {name for each in found for name in each["data"]} == boards
    for each in found:
        for name, text in each["data"].items():
            assert text == (chart.CHART / "dashboards" / name).read_text(encoding="utf-8")
    rules = chart.of_kind(objects, "PrometheusRule")[0]["spec"]
    assert rules == yaml.safe_load(
        (chart.CHART / "files" / "rules.yaml").read_text(encoding="utf-8")
    )


def test_copies_and_schema_are_up_to_date() -> None:
    """Settings, live ones, rules and dashboards come from elsewhere."""
    command = [sys.executable, "-m", "deploy.helm.update", "--check"]
    done = subprocess.run(command, cwd=chart.ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_chart_is_of_the_projects_version() -> None:
    about = yaml.safe_load((chart.CHART / "Chart.yaml").read_text(encoding="utf-8"))
    project = tomllib.loads((chart.ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    assert about["appVersion"] == about["version"] == project["version"]
    [router] = chart.of_kind(chart.render("external-workers"), "Deployment")
    image = router["spec"]["template"]["spec"]["containers"][0]["image"]
    assert image == f"ghcr.io/prefix-router/prefix-router:{project['version']}"


def test_what_is_packaged_renders_the_same(tmp_path: Path) -> None:
    """Nothing that templates read is left out of the package."""
    done = chart.run("package", chart.CHART, "-d", tmp_path)
    assert done.returncode == 0, done.stderr
    [package] = tmp_path.glob("*.tgz")
    values = chart.values_of("everything")
    found = chart.run("template", "rel", package, "-n", chart.NAMESPACE, "-f", values)
    assert chart.read(found.stdout) == chart.render("everything")


@pytest.mark.parametrize("name", chart.VALUE_SETS)
def test_what_is_rendered_is_tidy(name: str) -> None:
    """No blanks at the ends of lines, as there are where a template says nothing."""
    done = chart.run("template", "rel", chart.CHART, "-n", chart.NAMESPACE, "-f", chart.values_of(name),
                     "--set", "monitoring.dashboards.enabled=false")  # fmt: skip
    lines = done.stdout.splitlines()
    assert not [each for each in lines if each != each.rstrip()]


def test_the_least_that_works_is_said_in_the_readme() -> None:
    done = chart.run(
        "template", "router", chart.CHART, "--set", "router.config.workers={http://gpu-1:8000}"
    )
    assert done.returncode == 0, done.stderr
    readme = (chart.CHART / "README.md").read_text(encoding="utf-8")
    assert "--set 'router.config.workers={http://gpu-1:8000" in readme

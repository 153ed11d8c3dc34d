"""Where pods run and as whom, and that they hold back no node."""

import json
import re

import pytest
import yaml

from tests.deploy import chart, kubernetes_schemas


@pytest.mark.parametrize("name", chart.VALUE_SETS)
def test_pods_that_are_not_ready_hold_no_node_back(name: str) -> None:
    """Nor are routers, while no worker is up."""
    for each in chart.of_kind(chart.render(name), "PodDisruptionBudget"):
        assert each["spec"]["unhealthyPodEvictionPolicy"] == "AlwaysAllow"


def _placed(*selectors: dict[str, str], own: dict[str, str] | None = None) -> chart.Object:
    """LMCache's server, for workers on nodes of these labels."""
    workers = [
        {"name": f"w-{n}", "model": "m", "nodeSelector": each, "lmcache": {"mode": "node"}}
        for n, each in enumerate(selectors)
    ]
    elsewhere = {"name": "other", "model": "n", "nodeSelector": {"pool": "other"}}
    values = {"workers": [*workers, elsewhere], "lmcache": {"enabled": True, "nodeSelector": own or {}}}  # fmt: skip
    objects = chart.rendered("external-workers", json.dumps(values))
    [server] = chart.of_kind(objects, "DaemonSet")
    assert kubernetes_schemas.problem(server, kubernetes_schemas.NEWEST) is None
    spec = server["spec"]["template"]["spec"]
    assert isinstance(spec, dict)
    return spec


def test_lmcache_runs_where_its_workers_do() -> None:
    """Elsewhere it would wait for memory for ever."""
    spec = _placed({"pool": "l40s"}, {"pool": "h100", "spot": "true"}, {"pool": "l40s"})
    node = spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
    found = [
        {each["key"]: each["values"] for each in term["matchExpressions"]}
        for term in node["nodeSelectorTerms"]
    ]
    assert found == [{"pool": ["l40s"]}, {"pool": ["h100"], "spot": ["true"]}]
    assert "affinity" not in _placed({"pool": "l40s"}, {})
    spec = _placed({"pool": "l40s"}, own={"cache": "yes"})
    assert (spec["nodeSelector"], "affinity" in spec) == ({"cache": "yes"}, False)


def test_user_ids_are_left_to_openshift_as_documented() -> None:
    text = (chart.ROOT / "docs" / "other-clouds.md").read_text(encoding="utf-8")
    flags = re.findall(r"--set ([\w.,=]*runAs[\w.,=]*)", text)
    objects = chart.render("sidecar", *(word for each in flags for word in ("--set", each)))
    data = chart.named(objects, "ConfigMap", f"{chart.FULL}-sidecar")["data"]
    [sidecar] = yaml.safe_load(data["container.yaml"])
    contexts = [sidecar["securityContext"]]
    for _, template in chart.pods(objects):
        contexts.append(template["spec"].get("securityContext", {}))
        contexts += [each.get("securityContext", {}) for each in chart.containers(template)]
    assert not [each for each in contexts if {"runAsUser", "runAsGroup", "fsGroup"} & each.keys()]
    assert contexts[0]["runAsNonRoot"] is True

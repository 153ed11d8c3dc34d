"""Values that are odd, but that people give: what comes out is taken by Kubernetes, and by whoever else reads it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import chart
from tests.deploy.chart import Object
from tests.deploy.kubernetes_schemas import NEWEST, problem

WORKER: Object = {"name": "a", "model": "org/model"}
LEAST: Object = {"router": {"config": {"workers": ["http://gpu-1:8000"]}}}


class Strict(yaml.SafeLoader):
    """Refuses what kustomize, Flux and Argo refuse: a key that is there twice."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        keys = [self.construct_object(key, deep=deep) for key, _ in node.value]
        twice = {str(key) for key in keys if keys.count(key) > 1}
        if twice:
            raise yaml.constructor.ConstructorError(
                "a mapping", node.start_mark, f"has {twice} twice", node.start_mark
            )
        return super().construct_mapping(node, deep=deep)


def rendered(folder: Path, values: Object, *flags: str, release: str = "rel") -> list[Object]:
    """All objects; fails where helm does."""
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    done = chart.run("template", release, chart.CHART, "-n", chart.NAMESPACE, "-f", file, *flags)
    assert done.returncode == 0, done.stderr
    return [each for each in yaml.load_all(done.stdout, Loader=Strict) if each]


def workload(objects: list[Object], name: str = chart.FULL) -> Object:
    return chart.named(objects, "Deployment", name)


@pytest.mark.parametrize("who", ["router", "worker"])
def test_recreate_has_no_rolling_update(who: str, tmp_path: Path) -> None:
    recreate = {"strategy": {"type": "Recreate"}}
    if who == "router":
        strategy = workload(rendered(tmp_path, {"router": {**LEAST["router"], **recreate}}))
    else:
        made = rendered(tmp_path, {"workers": [{**WORKER, **recreate}]})
        strategy = workload(made, f"{chart.FULL}-a")
    assert strategy["spec"]["strategy"] == {"type": "Recreate"}


def test_a_tag_of_digits_is_that_tag(tmp_path: Path) -> None:
    objects = rendered(tmp_path, {"router": {**LEAST["router"], "image": {"tag": 20261128}}})
    (container,) = workload(objects)["spec"]["template"]["spec"]["containers"]
    assert container["image"].endswith(":20261128")


@pytest.mark.parametrize(
    "flag",
    [
        "router.podAnnotations.scrape=true",
        "router.nodeSelector.gpu=true",
        "router.podLabels.revision=1",
        "commonLabels.team=1",
        "service.annotations.internal=true",
        r"workerDefaults.podAnnotations.prefix-router\.io/drain=true",
    ],
)
def test_labels_and_annotations_given_with_set(flag: str, tmp_path: Path) -> None:
    """Refused with a word of where, or made strings: the API server takes nothing else."""
    values = {"workers": [WORKER]}
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values), encoding="utf-8")
    done = chart.run("template", "rel", chart.CHART, "-n", "llm", "-f", file, "--set", flag)
    if done.returncode:
        assert flag.split(".", maxsplit=1)[0] in done.stderr
        return
    wrong = [found for each in chart.read(done.stdout) if (found := problem(each, NEWEST))]
    assert wrong == []


@pytest.mark.parametrize(
    "values",
    [
        {"commonLabels": {"app.kubernetes.io/part-of": "llm"}},
        {"commonLabels": {"app.kubernetes.io/version": "2026.11"}},
        {"workerDefaults": {"role": "both", "podAnnotations": {"prefix-router.io/role": "decode"}}},
        {"workerDefaults": {"podAnnotations": {"prefix-router.io/port": "9000"}}},
        {"router": {"podAnnotations": {"checksum/config": "mine"}}},
    ],
)
def test_no_key_is_there_twice(values: Object, tmp_path: Path) -> None:
    rendered(tmp_path, {**values, "workers": [WORKER]})


@pytest.mark.parametrize(
    "worker",
    [
        {"autoscaling": {"type": "keda", "matchers": "namespace='llm'"}},
        {"servedModelName": ["it's"], "autoscaling": {"type": "keda"}},
    ],
)
def test_quotes_in_a_query(worker: Object, tmp_path: Path) -> None:
    objects = rendered(tmp_path, {"workers": [{**WORKER, **worker}]})
    (scaled,) = chart.of_kind(objects, "ScaledObject")
    assert "'" in scaled["spec"]["triggers"][0]["metadata"]["query"]


def test_an_hpa_counts_requests_for_each_of_a_models_names(tmp_path: Path) -> None:
    worker = {**WORKER, "servedModelName": ["big", "alias"], "autoscaling": {"type": "hpa"}}
    (scaler,) = chart.of_kind(rendered(tmp_path, {"workers": [worker]}), "HorizontalPodAutoscaler")
    assert "alias" in repr(scaler["spec"]["metrics"])


@pytest.mark.parametrize(
    "values",
    [
        {"router": {"autoscaling": {"enabled": True, "minReplicas": 5, "maxReplicas": 2}}},
        {"service": {"nodePort": 30080}},
        {"workerDefaults": {"kvEvents": {"port": 5657}}},
        {"workerDefaults": {"dataParallel": 2, "kvEvents": {"port": 5700, "replayPort": 5699}}},
        {"workerDefaults": {"dataParallel": 2, "kvEvents": {"port": 5700, "replayPort": 5701}}},
        {"router": {"port": 8081, "admin": {"enabled": True}}},
    ],
)
def test_what_cannot_run_is_refused(values: Object, tmp_path: Path) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump({**values, "workers": [WORKER]}), encoding="utf-8")
    done = chart.run("template", "rel", chart.CHART, "-n", "llm", "-f", file)
    assert done.returncode != 0


LONGEST = "r" * 53
"""Helm takes no longer name of a release."""


@pytest.mark.parametrize("release", [LONGEST, "prefix-router", "a"])
def test_names_of_any_release_are_taken_by_kubernetes(release: str, tmp_path: Path) -> None:
    values: Object = {
        "workers": [{**WORKER, "name": "w" * 22, "storage": {"type": "pvc"}}],
        "redis": {"enabled": True},
        "sidecar": {"print": True},
        "lmcache": {"enabled": True},
        "service": {"headless": True},
        "router": {"admin": {"enabled": True}},
        "networkPolicy": {"enabled": True},
        "discovery": {"namespaces": ["n" * 63]},
        "monitoring": {"dashboards": {"enabled": True}, "podMonitor": {"enabled": True}},
    }
    objects = rendered(tmp_path, values, release=release)
    for each in objects:
        name, labels = each["metadata"]["name"], each["metadata"]["labels"].values()
        assert len(name) <= 63, name
        assert not name.endswith("-"), name
        assert all(len(label) <= 63 for label in labels)


def test_two_releases_in_a_namespace_share_nothing(tmp_path: Path) -> None:
    values: Object = {
        "workers": [WORKER],
        "redis": {"enabled": True},
        "networkPolicy": {"enabled": True},
        "monitoring": {"podMonitor": {"enabled": True}},
    }
    one = rendered(tmp_path, values, release="one")
    two = rendered(tmp_path, values, release="two")
    assert not {(e["kind"], e["metadata"]["name"]) for e in one} & {
        (e["kind"], e["metadata"]["name"]) for e in two
    }
    pods = [template for _, template in chart.pods(two)]
    selectors = [
        (each["spec"].get("podSelector") or each["spec"].get("selector") or {})
        for each in chart.of_kind(
            one, "Deployment", "NetworkPolicy", "PodMonitor", "PodDisruptionBudget"
        )
    ]
    services = [each["spec"]["selector"] for each in chart.of_kind(one, "Service")]
    for labels in [*(each["matchLabels"] for each in selectors), *services]:
        assert not [pod for pod in pods if chart.matches(labels, pod)], labels


def test_scaling_a_release_rolls_no_pod(tmp_path: Path) -> None:
    """Another number of replicas, or a limit, is nothing that pods are told."""
    before: Object = {
        "workers": [{**WORKER, "replicas": 1}],
        "redis": {"enabled": True, "password": {"existingSecret": "p"}},
    }
    after: Object = {
        **before,
        "workers": [{**WORKER, "replicas": 4, "pdb": {"enabled": False}}],
        "router": {"replicas": 5, "config": {"queue_limit": 7}, "pdb": {"maxUnavailable": 2}},
        "monitoring": {"prometheusRule": {"enabled": True}},
        "service": {"type": "LoadBalancer"},
    }
    assert list(chart.pods(rendered(tmp_path, before))) == list(
        chart.pods(rendered(tmp_path, after))
    )


def test_lists_and_commas_of_set_reach_the_router(tmp_path: Path) -> None:
    objects = rendered(
        tmp_path,
        {},
        "--set=router.config.workers=http://a:8000\\,http://b:8000",
        "--set=router.config.max_inflight=1000000",
        "--set=discovery.port=8000",
        "--set=router.config.resume=on",
        "--set-string=router.image.tag=1.10",
    )
    found = chart.config(objects)
    assert found["workers"] == "http://a:8000,http://b:8000"
    assert (found["max_inflight"], found["kubernetes_port"], found["resume"]) == (
        1_000_000,
        "8000",
        "on",
    )
    (container,) = workload(objects)["spec"]["template"]["spec"]["containers"]
    assert container["image"].endswith(":1.10")


def test_secrets_of_any_characters_arrive(tmp_path: Path) -> None:
    key = "a: 'b' \"c\" #{{ }}\\n\t%"
    tenants = "tenants:\n\n  - {name: a, key: x}   # {{ }}\n"
    objects = rendered(
        tmp_path,
        {**LEAST, "auth": {"adminKey": {"value": key}, "tenants": {"value": tenants}}},
    )
    data = chart.named(objects, "Secret", chart.FULL)["stringData"]
    assert data["admin-key"] == key
    assert yaml.safe_load(data["tenants.yaml"]) == yaml.safe_load(tenants)

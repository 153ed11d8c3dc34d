"""Tables that the user's values and the chart both have a part in: labels, annotations, node selectors, variables, strategies."""

import json
import re
from collections.abc import Iterator
from typing import Any

import pytest
import yaml

from tests.deploy import chart, kubernetes_schemas
from tests.deploy.chart import Object

STRINGS = {"commonLabels", "labels", "podLabels", "annotations", "podAnnotations", "nodeSelector"}
"""Values that are tables of the user's own names."""
RENDERED = {"labels", "annotations", "nodeSelector", "matchLabels"}
ODD: Object = {"truth": True, "number": 20261128, "fraction": 0.5, "nothing": None, "text": "007"}
ODD_RENDERED = {"truth": "true", "number": "20261128", "fraction": "0.5", "text": "007"}


def _filled(defaults: Object, names: set[str], filling: Any) -> Object:
    """Values that have `filling` wherever the defaults have one of the names."""
    found: Object = {}
    for name, default in defaults.items():
        if name in names:
            found[name] = filling
        elif isinstance(default, dict) and (inner := _filled(default, names, filling)):
            found[name] = inner
    return found


def _everywhere(names: set[str], filling: Any) -> tuple[Object, list[Object]]:
    defaults = yaml.safe_load((chart.CHART / "values.yaml").read_text(encoding="utf-8"))
    values = _filled(defaults, names, filling)
    assert values
    return values, chart.rendered("everything", json.dumps(values))


def _tables(value: Any, names: set[str]) -> Iterator[Object]:
    """Every table of that name, however deep."""
    if isinstance(value, list):
        for each in value:
            yield from _tables(each, names)
    elif isinstance(value, dict):
        for name, each in value.items():
            if name in names and isinstance(each, dict):
                yield each
            yield from _tables(each, names)


def _valid(objects: list[Object]) -> None:
    for version in (kubernetes_schemas.OLDEST, kubernetes_schemas.NEWEST):
        assert not [found for each in objects if (found := kubernetes_schemas.problem(each, version))]  # fmt: skip


def _pod(objects: list[Object], name: str = chart.FULL) -> Object:
    pod = chart.named(objects, "Deployment", name)["spec"]["template"]
    assert isinstance(pod, dict)
    return pod


def test_what_must_be_strings_is_whatever_was_given() -> None:
    """`--set x=true` gives a truth value, `--set x=1` a number; the API server takes neither."""
    _, objects = _everywhere(STRINGS, ODD)
    _valid(objects)
    tables = list(_tables(objects, RENDERED))
    assert not [each for each in tables if not all(isinstance(value, str) for value in each.values())]  # fmt: skip
    filled = [each for each in tables if "truth" in each]
    assert all(each | ODD_RENDERED == each and "nothing" not in each for each in filled)
    for kind in ("Service", "Ingress", "HTTPRoute", "ServiceAccount", "PodMonitor", "PrometheusRule"):  # fmt: skip
        for each in chart.of_kind(objects, kind):
            assert "truth" in {**each["metadata"]["labels"], **each["metadata"].get("annotations", {})}  # fmt: skip
    for name, pod in chart.pods(objects):
        assert "truth" in pod["metadata"]["labels"], name
        if not name.endswith("coordinator"):
            assert pod["spec"]["nodeSelector"]["number"] == "20261128", name


@pytest.mark.parametrize("wrong", [{"a": {"b": "c"}}, {"a": ["b"]}, {"a": 2**60}])
def test_what_no_string_can_be_made_of_is_refused(wrong: Object) -> None:
    for name in ("commonLabels", "podAnnotations", "nodeSelector"):
        values = {name: wrong} if name == "commonLabels" else {"router": {name: wrong}}
        done = chart.run("template", "rel", chart.CHART, "-f", chart.values_of("external-workers"), "-f", "-",
                         given=json.dumps(values))  # fmt: skip
        assert done.returncode != 0
        assert name in done.stderr


@pytest.mark.parametrize(
    ("tag", "rendered"), [(20261128, "20261128"), (9, "9"), ("1.10", "1.10"), ("v1", "v1")]
)
def test_tags_are_what_was_given(tag: object, rendered: str) -> None:
    _, objects = _everywhere({"tag"}, tag)
    images = {each["image"] for _, pod in chart.pods(objects) for each in chart.containers(pod)}
    tagged = {each for each in images if "@sha256:" not in each}
    assert len(tagged) >= 3
    assert {each.rpartition(":")[2] for each in tagged} == {rendered}


@pytest.mark.parametrize("tag", [1.1, 10**17, -1, True, "a b", "a:b", "latest@sha256:ab"])
def test_tags_that_are_none_are_refused(tag: object) -> None:
    values = json.dumps({"router": {"image": {"tag": tag}}})
    done = chart.run("template", "rel", chart.CHART, "-f", chart.values_of("external-workers"), "-f", "-",
                     given=values)  # fmt: skip
    assert done.returncode != 0
    assert "/router/image/tag" in done.stderr


def test_values_of_variables_and_tolerations_are_strings() -> None:
    odd = [{"name": name.upper(), "value": value} for name, value in ODD.items()]
    _, objects = _everywhere({"env", "extraEnv"}, odd)
    _valid(objects)
    sidecar = chart.named(objects, "ConfigMap", f"{chart.FULL}-sidecar")["data"]["container.yaml"]
    for each in (*_pod(objects)["spec"]["containers"], *_pod(objects, f"{chart.FULL}-qwen-7b")["spec"]["containers"],
                 *yaml.safe_load(sidecar)):  # fmt: skip
        found = {one["name"]: one.get("value") for one in each["env"]}
        assert found | {name.upper(): text for name, text in ODD_RENDERED.items()} == found
        assert found["NOTHING"] is None
    tolerations = [{"key": "a", "value": True, "effect": "NoExecute", "tolerationSeconds": 30}]
    _, objects = _everywhere({"tolerations"}, tolerations)
    _valid(objects)
    pods = [pod for name, pod in chart.pods(objects) if not name.endswith("coordinator")]
    assert {repr(pod["spec"]["tolerations"]) for pod in pods} == {
        repr([{"effect": "NoExecute", "key": "a", "tolerationSeconds": 30, "value": "true"}])
    }


def test_a_variable_of_the_users_is_there_once_and_is_his() -> None:
    """Kubernetes takes the last of a name, or refuses two (server-side apply)."""
    _, before = _everywhere({"env", "extraEnv"}, [])
    extra: list[Object] = [{"name": "HOME", "value": "/mine"}, {"name": "HF_HOME", "value": "/mine"}, {"name": "X", "value": "$(HOME)"},
             {"name": "PREFIX_ROUTER_REDIS_URL", "valueFrom": {"secretKeyRef": {"name": "s", "key": "k"}}}]  # fmt: skip
    _, objects = _everywhere({"env", "extraEnv"}, extra)
    _valid(objects)
    for name in (chart.FULL, f"{chart.FULL}-qwen-7b"):
        [ours], [mixed] = (_pod(each, name)["spec"]["containers"] for each in (before, objects))
        names = [each["name"] for each in mixed["env"]]
        own = [each["name"] for each in ours["env"]]
        assert len(set(names)) == len(names)
        assert names[: len(own)] == own  # in their places: others refer to them
        assert [each for each in mixed["env"] if each in extra] == sorted(extra, key=lambda each: names.index(each["name"]))  # fmt: skip


@pytest.mark.parametrize("name", chart.VALUE_SETS)
def test_no_variable_port_or_mount_is_there_twice(name: str) -> None:
    for _, pod in chart.pods(chart.render(name)):
        for each in chart.containers(pod):
            for key, what in (("env", "name"), ("ports", "containerPort"), ("volumeMounts", "mountPath")):  # fmt: skip
                found = [one[what] for one in each.get(key, [])]
                assert len(set(found)) == len(found)


def test_labels_and_annotations_of_the_users_win_and_are_there_once() -> None:
    values = {
        "commonLabels": {"app.kubernetes.io/part-of": "llm", "app.kubernetes.io/version": "7", "team": "a"},
        "router": {"podLabels": {"team": "b"}, "podAnnotations": {"checksum/config": "mine", "a": "b"}},
        "service": {"labels": {"team": "c"}},
        "workerDefaults": {
            "role": "both",
            "podAnnotations": {"prefix-router.io/role": "decode", "prefix-router.io/port": 9000},
        },
    }  # fmt: skip
    objects = chart.rendered("everything", json.dumps(values))  # refuses what is there twice
    for each in objects:
        if "labels" in each["metadata"]:
            assert each["metadata"]["labels"]["app.kubernetes.io/part-of"] == "llm"
    router, worker = _pod(objects)["metadata"], _pod(objects, f"{chart.FULL}-llama-8b")["metadata"]
    assert (router["labels"]["team"], worker["labels"]["team"]) == ("b", "a")
    assert chart.named(objects, "Service", chart.FULL)["metadata"]["labels"]["team"] == "c"
    assert router["annotations"]["a"] == "b"
    assert router["annotations"]["checksum/config"] != "mine"  # or changes would not roll the pods
    assert worker["annotations"]["prefix-router.io/role"] == "decode"
    assert worker["annotations"]["prefix-router.io/port"] == "9000"


@pytest.mark.parametrize(
    "place", ["commonLabels", "router.podLabels", "service.labels", "monitoring.podMonitor.labels",
              "workerDefaults.podLabels", "workers[0].podLabels"])  # fmt: skip
@pytest.mark.parametrize(
    "label", ["app.kubernetes.io/name", "app.kubernetes.io/component", "prefix-router.io/pool"]
)
def test_labels_that_objects_are_found_by_are_refused(place: str, label: str) -> None:
    escaped = label.replace(".", r"\.")
    said = chart.fails("one-model", "--set", f"{place}.{escaped}=mine",
                       "--set", "workers[0].name=a,workers[0].model=m")  # fmt: skip
    assert f"the release finds its own objects by {label}; choose another label" in said


@pytest.mark.parametrize(
    ("strategy", "rendered"),
    [
        ({"type": "Recreate"}, {"type": "Recreate"}),
        ({"type": "Recreate", "rollingUpdate": None}, {"type": "Recreate"}),
        (
            {"rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
            {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%", "maxUnavailable": 1}},
        ),
    ],
)
def test_a_strategy_has_what_its_type_takes(strategy: Object, rendered: Object) -> None:
    worker = {"name": "a", "model": "m", "strategy": strategy}
    values = {"router": {"strategy": strategy}, "workers": [worker, {"name": "b", "model": "m"}],
              "workerDefaults": {"strategy": strategy}}  # fmt: skip
    objects = chart.rendered("external-workers", json.dumps(values))
    _valid(objects)
    for each in chart.of_kind(objects, "Deployment"):
        assert each["spec"]["strategy"] == rendered


@pytest.mark.parametrize("name", ["on", "true", "null", "y"])
def test_names_that_yaml_takes_for_something_else_are_names(name: str) -> None:
    """And releases and namespaces may be numbers."""
    values = {"workers": [{"name": name, "model": "m", "hfToken": {"existingSecret": "1", "key": "2"},
                           "storage": {"type": "pvc", "storageClassName": "3"}, "priorityClassName": "4"}],
              "auth": {"adminKey": {"value": "5", "key": "6"}, "apiKeys": {"existingSecret": "7", "key": "8"},
                       "tenants": {"value": "{}", "key": "9"}},
              "router": {"priorityClassName": name, "tls": {"existingSecret": "10"}, "config": {"redis_namespace": "11"}},
              "serviceAccount": {"create": False, "name": "12"}, "redis": {"enabled": True}, "networkPolicy": {"enabled": True},
              "ingress": {"enabled": True, "className": "13", "hosts": [{"host": "14"}]}}  # fmt: skip
    done = chart.run("template", "1", chart.CHART, "-n", "1234", "-f", "-", given=json.dumps(values))  # fmt: skip
    assert done.returncode == 0, done.stderr
    objects = chart.read(done.stdout)
    _valid(objects)
    assert {each["metadata"]["namespace"] for each in objects} == {"1234"}


def test_large_numbers_keep_their_digits() -> None:
    """Templates print 1e+06 for what a file of values has as a million."""
    scaling = {"type": "keda", "queueDepth": 1000000, "pendingPrefillTokens": 2000000}
    lmcache = {"mode": "inProcess", "cpuGiB": 1000000, "chunkTokens": 1000000}
    worker = {"name": "a", "model": "m", "maxModelLen": 1000000, "lmcache": lmcache}
    values = {
        "workers": [worker | {"autoscaling": scaling, "startupTimeoutSeconds": 2000000},
                    worker | {"name": "b", "autoscaling": scaling | {"type": "hpa"}}],
        "router": {"config": {"body_limit": 100000000}, "podSecurityContext": {"runAsUser": 1000660000}},
        "lmcache": {"enabled": True, "memoryGiB": 1000000},
    }  # fmt: skip
    objects = chart.rendered("external-workers", json.dumps(values))
    _valid(objects)
    assert not re.findall(r"\de\+\d+", json.dumps(objects))
    assert chart.config(objects)["body_limit"] == 100000000

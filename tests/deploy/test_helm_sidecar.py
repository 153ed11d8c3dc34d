"""The router in an application's pod: copied from what the chart prints, or included by the application's own chart."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy import chart, kubernetes_schemas

APPLICATION: dict[str, Any] = {
    "apiVersion": "apps/v1",
    "kind": "Deployment",
    "metadata": {"name": "app", "namespace": "apps"},
    "spec": {
        "selector": {"matchLabels": {"app": "app"}},
        "template": {
            "metadata": {"labels": {"app": "app"}},
            "spec": {"containers": [{"name": "app", "image": "app:1"}]},
        },
    },
}
PARENT = """
apiVersion: apps/v1
kind: Deployment
metadata: {name: app, namespace: {{ .Release.Namespace }}}
spec:
  selector: {matchLabels: {app: app}}
  template:
    metadata:
      labels:
        app: app
        {{- include "prefix-router.sidecarLabels" (index .Subcharts "prefix-router") | nindent 8 }}
    spec:
      initContainers:
        {{- include "prefix-router.sidecar" (index .Subcharts "prefix-router") | nindent 8 }}
      containers:
        - name: app
          image: app:1
          env: [{name: OPENAI_BASE_URL, value: "http://localhost:8080/v1"}]
      volumes:
        {{- include "prefix-router.sidecarVolumes" (index .Subcharts "prefix-router") | nindent 8 }}
"""


def _patched(name: str) -> dict[str, Any]:
    """The application with the patch that the chart prints, merged as Kubernetes does it."""
    patch = yaml.safe_load(
        chart.named(chart.render(name), "ConfigMap", f"{chart.FULL}-sidecar")["data"]["patch.yaml"]
    )
    template = patch["spec"]["template"]
    own = APPLICATION["spec"]["template"]
    spec = {**own["spec"], **template["spec"]}
    if "containers" in template["spec"]:
        spec["containers"] = [*own["spec"]["containers"], *template["spec"]["containers"]]
    labels = {**own["metadata"]["labels"], **template["metadata"]["labels"]}
    return {
        **APPLICATION,
        "spec": {**APPLICATION["spec"], "template": {"metadata": {"labels": labels}, "spec": spec}},
    }


@pytest.mark.parametrize("name", ["sidecar", "everything"])
def test_the_patched_application_is_one_of_kubernetes(name: str) -> None:
    application = _patched(name)
    for version in (kubernetes_schemas.OLDEST, kubernetes_schemas.NEWEST):
        assert kubernetes_schemas.problem(application, version) is None
    pod = application["spec"]["template"]["spec"]
    native = name == "sidecar"
    [router] = pod["initContainers"] if native else pod["containers"][1:]
    assert router.get("restartPolicy") == ("Always" if native else None)
    assert {each["name"] for each in pod["volumes"]} == {
        each["name"] for each in router["volumeMounts"]
    }


def test_what_is_printed_is_the_same_twice() -> None:
    data = chart.named(chart.render("sidecar"), "ConfigMap", f"{chart.FULL}-sidecar")["data"]
    patch = yaml.safe_load(data["patch.yaml"])["spec"]["template"]["spec"]
    assert yaml.safe_load(data["container.yaml"]) == patch["initContainers"]


def test_sidecars_may_reach_workers_and_redis() -> None:
    """By the label of the pod, where network policies are on."""
    objects = chart.render("everything")
    labels = yaml.safe_load(chart.named(objects, "ConfigMap", f"{chart.FULL}-sidecar")["data"]["patch.yaml"])["spec"][
        "template"]["metadata"]["labels"]  # fmt: skip
    for name in (f"{chart.FULL}-workers", f"{chart.FULL}-redis"):
        rule = chart.named(objects, "NetworkPolicy", name)["spec"]["ingress"][0]
        [peer] = rule["from"]
        assert peer == {"namespaceSelector": {}, "podSelector": {"matchLabels": labels}}
        router = chart.named(objects, "Deployment", chart.FULL)["spec"]["template"]
        assert chart.matches(labels, router)


def _parent(folder: Path, values: dict[str, Any]) -> Path:
    """An application's chart with this one below it."""
    (folder / "templates").mkdir(parents=True)
    (folder / "charts").mkdir()
    (folder / "charts" / "prefix-router").symlink_to(chart.CHART)
    about = {"apiVersion": "v2", "name": "app", "version": "1.0.0"}
    about["dependencies"] = [{"name": "prefix-router", "version": "*"}]  # type: ignore[assignment]
    (folder / "Chart.yaml").write_text(yaml.safe_dump(about), encoding="utf-8")
    (folder / "values.yaml").write_text(yaml.safe_dump({"prefix-router": values}), encoding="utf-8")
    (folder / "templates" / "app.yaml").write_text(PARENT, encoding="utf-8")
    return folder


def test_an_applications_chart_includes_it(tmp_path: Path) -> None:
    values = {
        "router": {"enabled": False, "config": {}},
        "redis": {"url": {"existingSecret": "shared-redis"}},
        "sidecar": {"config": {"workers_dns": ["http://vllm.models.svc:8000"]}},
        "serviceAccount": {"create": False},
    }
    done = chart.run("template", "rel", _parent(tmp_path / "app", values), "-n", "apps")
    assert done.returncode == 0, done.stderr
    [application] = chart.read(done.stdout)
    assert kubernetes_schemas.problem(application, kubernetes_schemas.NEWEST) is None
    [router] = application["spec"]["template"]["spec"]["initContainers"]
    names = {each["name"] for each in router["env"]}
    assert {"PREFIX_ROUTER_REDIS_URL", "PREFIX_ROUTER_WORKERS_DNS"} <= names


def test_a_sidecar_without_workers_or_redis_is_refused(tmp_path: Path) -> None:
    nothing: dict[str, Any] = {"router": {"enabled": False}}
    done = chart.run("template", "rel", _parent(tmp_path / "a", nothing))
    assert "a sidecar needs the Redis" in done.stderr
    done = chart.run(
        "template", "rel", _parent(tmp_path / "b", {**nothing, "redis": {"enabled": True}})
    )
    assert "the sidecar has no workers: set sidecar.config.workers_dns" in done.stderr

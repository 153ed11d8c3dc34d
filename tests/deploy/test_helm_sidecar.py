"""The router in an application's pod: copied from what the chart prints, or included by the application's own chart."""

import json
import os
import re
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
import yaml

from router.settings import Settings
from tests.deploy import chart, kubernetes_schemas
from tests.fakes.ports import free_ports

PATIENCE_S = 40.0

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


def _container(*flags: str, values: str = "") -> dict[str, Any]:
    """The router in it."""
    objects = chart.rendered("sidecar", values) if values else chart.render("sidecar", *flags)
    data = chart.named(objects, "ConfigMap", f"{chart.FULL}-sidecar")["data"]
    [container] = yaml.safe_load(data["container.yaml"])
    assert isinstance(container, dict)
    return container


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


def test_its_probes_are_those_of_the_image() -> None:
    """The kubelet does not reach a pod's loopback."""
    text = (chart.ROOT / "Dockerfile").read_text(encoding="utf-8")
    command = re.search(r"^HEALTHCHECK .* CMD (\[.*\])$", text, re.MULTILINE)
    assert command
    container = _container()
    for kind in ("startupProbe", "livenessProbe"):
        assert container[kind]["exec"] == {"command": json.loads(command[1])}
        assert "httpGet" not in container[kind]
    assert not _container("--set", "sidecar.native=false").get("ports")


def _connects(host: str, port: int) -> bool:
    try:
        with socket.create_connection((host, port), 2):
            return True
    except OSError:
        return False


def _probed(container: dict[str, Any], environment: dict[str, str]) -> bool:
    _, flags, script = container["startupProbe"]["exec"]["command"]
    script = script.replace("/app", str(chart.ROOT / "deploy"))
    done = subprocess.run([sys.executable, flags, script], env=environment, capture_output=True, check=False)  # fmt: skip
    return done.returncode == 0


def test_its_own_pod_reaches_it_and_nobody_else() -> None:
    """Whoever reaches it may use its keys and drain workers."""
    [port] = free_ports(1)
    flags = ("--set", f"sidecar.port={port}")
    container = _container(*flags)
    own = chart.environment(container, chart.render("sidecar", *flags))
    environment = {**os.environ, **own, "PREFIX_ROUTER_REDIS_URL": "redis://127.0.0.1:9"}
    with subprocess.Popen(
        [sys.executable, "-m", "router", *container["args"]],
        cwd=chart.ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            end = time.monotonic() + PATIENCE_S
            while not _probed(container, own):
                assert process.poll() is None, "the sidecar ended"
                assert time.monotonic() < end, "its probe does not pass"
                time.sleep(0.1)
            assert _connects("127.0.0.1", port)
            assert not _connects("127.0.0.2", port)  # all addresses are this machine's
        finally:
            process.kill()


def test_its_operators_routes_are_open_to_nobody_else() -> None:
    openly = ("--set", "sidecar.config.admin_port=8081,sidecar.config.admin_host=0.0.0.0")
    assert "sidecar.config.admin_host: 0.0.0.0 lets whoever reaches the pod drain" in chart.fails(
        "sidecar", *openly
    )
    assert "sidecar.config.host: is set by the snippet itself" in chart.fails(
        "sidecar", "--set", "sidecar.config.host=0.0.0.0"
    )
    secret = {"secretKeyRef": {"name": "keys", "key": "admin-key"}}
    values = {
        "config": {"admin_port": 8081, "admin_host": "0.0.0.0"},
        "extraEnv": [{"name": "PREFIX_ROUTER_ADMIN_KEY", "valueFrom": secret}],
    }
    names = {each["name"] for each in _container(values=json.dumps({"sidecar": values}))["env"]}
    assert {"PREFIX_ROUTER_ADMIN_KEY", "PREFIX_ROUTER_ADMIN_PORT"} <= names


def _of_paths(annotation: object) -> bool:
    return annotation is Path or any(map(_of_paths, get_args(annotation)))


def test_settings_that_name_files_are_known() -> None:
    listed = (chart.CHART / "files" / "path-settings.txt").read_text(encoding="utf-8").split()
    found = get_type_hints(Settings, include_extras=True)
    assert listed == sorted(
        name for name in Settings.model_fields if _of_paths(found[name])
    )  # fmt: skip
    assert {"tokenizers", "worker_ca_file", "hub_cache_dir", "workers_file"} <= set(listed)


def test_files_that_are_not_in_its_container_are_not_named_to_it() -> None:
    """It would not start, and hold the application back."""
    named: dict[str, Any] = {
        "tokenizers": {"llama": "/models/llama"},
        "chat_templates": {"llama": "/templates/llama.jinja"},
        "worker_ca_file": "/etc/ca/ca.pem",
        "hub_cache_dir": "/models/hub",
    }
    router = {"config": {**named, "policy": "least_load"}}
    variables = {
        each["name"]: each.get("value")
        for each in _container(values=json.dumps({"router": router}))["env"]
    }
    assert variables["PREFIX_ROUTER_POLICY"] == "least_load"
    assert not {f"PREFIX_ROUTER_{name.upper()}" for name in named} & variables.keys()


def test_files_are_brought_and_named_to_it_by_its_own_values() -> None:
    sidecar = {
        "config": {"worker_ca_file": "/etc/ca/ca.pem"},
        "extraVolumes": [{"name": "ca", "configMap": {"name": "ca"}}],
        "extraVolumeMounts": [{"name": "ca", "mountPath": "/etc/ca"}],
    }
    objects = chart.rendered("sidecar", json.dumps({"sidecar": sidecar}))
    data = chart.named(objects, "ConfigMap", f"{chart.FULL}-sidecar")["data"]
    pod = yaml.safe_load(data["patch.yaml"])["spec"]["template"]["spec"]
    [router] = pod["initContainers"]
    assert {"name": "PREFIX_ROUTER_WORKER_CA_FILE", "value": "/etc/ca/ca.pem"} in router["env"]
    mounted = [each["name"] for each in router["volumeMounts"]]
    assert mounted == [each["name"] for each in pod["volumes"]] == ["prefix-router-tmp", "ca"]

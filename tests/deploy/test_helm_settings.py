"""The router takes what the chart gives it: its file, its environment, its arguments."""

import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path

import pytest
import yaml

from router.reload import LIVE
from router.setting_sources import load
from router.settings import Settings
from tests.deploy import chart
from tests.fakes.ports import free_ports

PATIENCE_S = 40.0


@pytest.mark.parametrize("name", chart.VALUE_SETS)
def test_the_router_takes_file_and_environment(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    objects = chart.render(name)
    container = chart.router_of(objects)
    for variable, value in chart.environment(container, objects).items():
        monkeypatch.setenv(variable, value)
    settings = load(chart.configure(objects, tmp_path), {})
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    assert settings.port == ports["http"]
    assert settings.admin_port == ports.get("admin")
    assert settings.workers or settings.finds_workers
    assert container["args"][:2] == ["serve", "--config=/etc/prefix-router/config/router.yaml"]
    mounts = {each["mountPath"] for each in container["volumeMounts"]}
    for each in (settings.tls_cert_file, settings.tenants_file):
        assert each is None or f"/etc/prefix-router/{each.parent.name}" in mounts


def test_values_come_through_as_they_are(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Large numbers, fractions, words that YAML takes for truth values, tables."""
    objects = chart.render(
        "everything", "--set", "router.config.resume=on", "--set", "router.config.kv_events=off"
    )
    for variable, value in chart.environment(chart.router_of(objects), objects).items():
        monkeypatch.setenv(variable, value)
    settings = load(chart.configure(objects, tmp_path), {})
    assert (settings.body_limit, settings.body_memory_limit) == (134217728, 2147483648)
    assert (settings.drain_grace_s, settings.shutdown_timeout_s) == (20, 600.5)
    assert (settings.resume, settings.kv_events) == ("on", "off")
    assert settings.chat_template_kwargs == {"llama-8b": {"enable_thinking": False}}
    assert settings.admin_key == "an-admin-key"
    assert (
        settings.redis_url == f"redis://router:secret@{chart.FULL}-redis.{chart.NAMESPACE}.svc:6379"
    )
    assert settings.kubernetes_namespaces == [chart.NAMESPACE, "models", "other-models"]


@pytest.mark.parametrize("name", ["sidecar", "everything"])
def test_sidecars_take_their_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    objects = chart.render(name)
    data = chart.named(objects, "ConfigMap", f"{chart.FULL}-sidecar")["data"]
    [container] = yaml.safe_load(data["container.yaml"])
    for variable, value in chart.environment(container, objects).items():
        monkeypatch.setenv(variable, value)
    assert container["args"] == ["serve", "--sidecar", "--host=127.0.0.1", "--port=8080"]
    settings = load(None, {"sidecar": True, "host": "127.0.0.1", "port": 8080})
    services = {
        f"http://{each['metadata']['name']}.{chart.NAMESPACE}.svc:{each['spec']['ports'][0]['port']}"
        for each in chart.of_kind(objects, "Service")
        if "prefix-router.io/worker" in each["metadata"]["labels"]
    }
    assert set(settings.workers_dns) == services
    assert settings.kubernetes_selector is None  # an application's account cannot read pods
    if name == "sidecar":
        assert settings.drain_grace_s == 0  # a native one is told to end when the application has
        assert settings.log_level == "warning"
    else:
        assert settings.first_byte_timeouts == {"embeddings": 30}
        assert settings.chat_template_kwargs == {"llama-8b": {"enable_thinking": False}}


def _checksum(*flags: str) -> str:
    pod = chart.named(chart.render("external-workers", *flags), "Deployment", chart.FULL)["spec"][
        "template"
    ]
    return str(pod["metadata"]["annotations"]["checksum/config"])


def test_pods_roll_only_for_settings_that_need_it() -> None:
    before = _checksum()
    assert _checksum("--set", "router.config.workers={http://gpu-3:8000}") == before
    assert _checksum("--set", "router.config.queue_limit=7") == before
    assert _checksum("--set", "router.config.policy=round_robin") != before
    assert "policy" not in LIVE


def test_every_setting_has_its_place() -> None:
    """In router.config, or in another of the chart's values."""
    schema = yaml.safe_load((chart.CHART / "values.schema.json").read_text(encoding="utf-8"))
    assert set(schema["definitions"]["settings"]["properties"]) == set(Settings.model_fields)


def _status(url: str) -> int:
    try:
        with urllib.request.urlopen(url, timeout=5) as answer:
            return int(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        return error.code
    except OSError:
        return 0


def test_the_router_runs_answers_its_probes_and_ends_in_time(tmp_path: Path) -> None:
    objects = chart.render("external-workers")
    pod = chart.named(objects, "Deployment", chart.FULL)["spec"]["template"]["spec"]
    container = chart.router_of(objects)
    [port] = free_ports(1)
    file = chart.configure(
        objects,
        tmp_path,
        port=port,
        host="127.0.0.1",
        workers=["http://127.0.0.1:9"],
        drain_grace_s=0,
    )
    arguments = [
        each.replace("/etc/prefix-router/config/router.yaml", str(file))
        for each in container["args"]
    ]
    paths: Mapping[str, str] = {
        kind: container[kind]["httpGet"]["path"]
        for kind in ("startupProbe", "livenessProbe", "readinessProbe")
    }
    with subprocess.Popen(
        [sys.executable, "-m", "router", *arguments],
        cwd=chart.ROOT,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as process:
        try:
            end = time.monotonic() + PATIENCE_S
            while _status(f"http://127.0.0.1:{port}{paths['startupProbe']}") != 200:
                assert process.poll() is None, "the router ended"
                assert time.monotonic() < end, "the router does not answer"
                time.sleep(0.1)
            assert _status(f"http://127.0.0.1:{port}{paths['livenessProbe']}") == 200
            assert (
                _status(f"http://127.0.0.1:{port}{paths['readinessProbe']}") == 503
            )  # its worker is not there
            assert _status(f"http://127.0.0.1:{port}/metrics") == 200
            process.send_signal(signal.SIGTERM)
            assert process.wait(pod["terminationGracePeriodSeconds"]) == 0
        finally:
            process.kill()

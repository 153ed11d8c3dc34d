"""Settings given in `router.config`: as files of values and `--set` have them, taken back, and what comes along with them."""

from pathlib import Path
from typing import get_args

import pytest
import yaml

from router.finding import check, configured
from router.setting_sources import load
from router.settings import Settings
from router.telemetry.otlp import resource
from tests.deploy import chart
from tests.deploy.chart import Object


def test_traces_say_which_pod_made_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flags = (
        "--set",
        "router.config.otlp_endpoint=http://collector:4318",
        "--set",
        "router.config.trace_sample=0.1",
    )
    objects = chart.render("external-workers", *flags)
    env = chart.environment(chart.router_of(objects), objects)
    assert env["OTEL_RESOURCE_ATTRIBUTES"] == f"service.instance.id={chart.POD}"
    for variable, value in env.items():
        monkeypatch.setenv(variable, value)
    settings = load(chart.configure(objects, tmp_path), {})
    assert (settings.otlp_endpoint, settings.trace_sample) == ("http://collector:4318", 0.1)
    assert resource("1").attributes["service.instance.id"] == chart.POD
    without = chart.environment(chart.router_of(chart.render("external-workers")), objects)
    assert not without.keys() & {"POD_NAME", "OTEL_RESOURCE_ATTRIBUTES"}
    said = "router.extraEnv[0].name=OTEL_RESOURCE_ATTRIBUTES,router.extraEnv[0].value=service.instance.id=x"
    own = chart.render("external-workers", *flags, "--set", said)
    assert (
        chart.environment(chart.router_of(own), own)["OTEL_RESOURCE_ATTRIBUTES"]
        == "service.instance.id=x"
    )


def test_sidecars_traces_say_which_pod_made_them() -> None:
    objects = chart.render("sidecar", "--set", "router.config.otlp_endpoint=http://collector:4318")
    data = chart.named(objects, "ConfigMap", f"{chart.FULL}-sidecar")["data"]
    [container] = yaml.safe_load(data["container.yaml"])
    env = chart.environment(container, objects)
    assert env["PREFIX_ROUTER_OTLP_ENDPOINT"] == "http://collector:4318"
    assert env["OTEL_RESOURCE_ATTRIBUTES"] == f"service.instance.id={chart.POD}"


@pytest.mark.parametrize("secret", ["existingSecret", "value"])
def test_a_fallback_alone_will_do(
    secret: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values: Object = {
        "router": {
            "config": {
                "workers": None,
                "fallback_url": "https://api.example.com/v1",
                "fallback_models": {"llama-8b": "llama-3-8b", "gpt-oss-20b": "openai.gpt-oss-20b-1:0"},
            }
        },
        "auth": {"fallbackApiKey": {secret: "secret"}},
    }  # fmt: skip
    objects = chart.rendered("external-workers", yaml.safe_dump(values))
    env = chart.environment(chart.router_of(objects), objects)
    assert env["PREFIX_ROUTER_FALLBACK_API_KEY"] == "secret"
    for variable, value in env.items():
        monkeypatch.setenv(variable, value)
    settings = load(chart.configure(objects, tmp_path), {})
    check(settings)
    [target] = configured(settings)
    assert target.service is not None
    assert target.service.models == values["router"]["config"]["fallback_models"]
    assert target.service.key == "secret"


def test_fractions_may_be_given_with_set(tmp_path: Path) -> None:
    """Which leaves them strings."""
    flags = ("--set", "router.config.drain_grace_s=2.5,router.config.retry_budget=0.25")
    objects = chart.render("external-workers", *flags)
    settings = load(chart.configure(objects, tmp_path), {})
    assert (settings.drain_grace_s, settings.retry_budget) == (2.5, 0.25)
    pod = chart.named(objects, "Deployment", chart.FULL)["spec"]["template"]["spec"]
    assert pod["terminationGracePeriodSeconds"] == 123 + 10


def test_null_takes_back_what_another_file_of_values_says(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing = dict.fromkeys(
        ["body_limit", "chat_template_kwargs", "drain_grace_s", "session_headers", "policy"]
    )
    values = {
        "router": {"config": nothing},
        "sidecar": {"config": {"cors_origins": None, "first_byte_timeouts": None}},
    }
    objects = chart.rendered("everything", yaml.safe_dump(values))
    assert not chart.config(objects).keys() & nothing.keys()
    data = chart.named(objects, "ConfigMap", f"{chart.FULL}-sidecar")["data"]
    [container] = yaml.safe_load(data["container.yaml"])
    env = chart.environment(container, objects)
    assert "PREFIX_ROUTER_SESSION_HEADERS" not in env
    assert "PREFIX_ROUTER_CORS_ORIGINS" not in env
    assert "PREFIX_ROUTER_FIRST_BYTE_TIMEOUTS" not in env
    for variable, value in chart.environment(chart.router_of(objects), objects).items():
        monkeypatch.setenv(variable, value)
    settings = load(chart.configure(objects, tmp_path), {})
    assert settings.body_limit == Settings.model_fields["body_limit"].default
    pod = chart.named(objects, "Deployment", chart.FULL)["spec"]["template"]["spec"]
    assert (
        pod["terminationGracePeriodSeconds"]
        >= settings.drain_grace_s + settings.shutdown_timeout_s + 5
    )


def test_null_is_a_value_of_one_setting_alone(tmp_path: Path) -> None:
    nullable = {
        name
        for name, field in Settings.model_fields.items()
        if type(None) in get_args(field.annotation)
        and field.get_default(call_default_factory=True) is not None
    }
    assert nullable == {"tenant_header"}
    objects = chart.render("external-workers", "--set", "router.config.tenant_header=null")
    assert load(chart.configure(objects, tmp_path), {}).tenant_header is None

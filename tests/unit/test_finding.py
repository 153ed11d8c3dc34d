"""What looks for workers, as it is configured."""

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from router.config_file import ConfigurationError
from router.finding import check, configured, finding, sources
from router.fleet.fleet import Fleet
from router.fleet.target import Service, Target
from router.settings import Settings
from router.telemetry.metrics import Metrics


def test_nothing_looks_where_workers_are_only_set() -> None:
    settings = Settings(workers=["http://a:1", "b:2"])
    assert configured(settings) == [Target(url="http://a:1"), Target(url="b:2")]
    assert sources(settings) == []
    assert settings.finds_workers
    assert not Settings().finds_workers


def test_each_place_has_what_looks_there(tmp_path: Path) -> None:
    settings = Settings(
        workers_file=tmp_path / "workers.yaml",
        workers_dns="http://vllm:8000,http://other:8000",
    )
    names = [source.name for source in sources(settings)]
    assert names == [
        f"file {tmp_path / 'workers.yaml'}",
        "dns http://vllm:8000",
        "dns http://other:8000",
    ]
    assert settings.finds_workers


def test_a_service_stands_in_for_workers() -> None:
    settings = Settings(
        workers=["http://a:1"],
        fallback_url="https://cloud.example/openai/v1/",
        fallback_models="m=there",
        fallback_api_key="key",
    )
    worker, service = configured(settings)
    assert worker.service is None
    assert (service.url, service.service) == (
        "https://cloud.example/openai",
        Service({"m": "there"}, "key"),
    )


@pytest.mark.parametrize(
    ("given", "why"),
    [
        ({"fallback_url": "http://x"}, "go together"),
        ({"fallback_models": {"m": "m"}}, "go together"),
        ({"fallback_api_key": "k"}, "needs a fallback_url"),
        ({"fallback_url": "http://x", "fallback_models": "m"}, "model=name there"),
    ],
)
def test_half_a_service_is_refused(given: dict[str, Any], why: str) -> None:
    with pytest.raises(ValidationError, match=why):
        Settings(**given)


KUBERNETES = {"kubernetes_api": "https://10.0.0.1:6443", "kubernetes_namespaces": "a,b"}


def test_kubernetes_is_asked_in_each_namespace() -> None:
    found = sources(Settings(**KUBERNETES, kubernetes_service="vllm", kubernetes_selector="app=v"))
    assert [source.name for source in found] == [
        "kubernetes service a/vllm",
        "kubernetes service b/vllm",
        "kubernetes pods app=v in a",
        "kubernetes pods app=v in b",
    ]


def test_a_port_is_a_name_or_a_number() -> None:
    for given, port in ((8000, "8000"), ("http", "http"), (None, None)):
        settings = Settings(kubernetes_selector="app=v", kubernetes_port=given)
        assert settings.kubernetes_port == port


def test_outside_a_cluster_it_must_be_said_where_kubernetes_is(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.delenv("KUBERNETES_SERVICE_HOST", raising=False)
    with pytest.raises(ConfigurationError, match="kubernetes_api"):
        sources(Settings(kubernetes_selector="app=v", kubernetes_namespaces="a"))


def test_replicas_are_followed_where_it_is_said_who_they_are(tmp_path: Path) -> None:
    fleet = Fleet(None, connect_s=1.0, idle_s=4.0)
    assert finding(Settings(), fleet, Metrics(), None)[1] is None
    (tmp_path / "namespace").write_text("routers")
    settings = Settings(
        **KUBERNETES,
        kubernetes_token_file=tmp_path / "token",
        kubernetes_routers="app=router",
        admin_port=9000,
    )
    _, replicas = finding(settings, fleet, Metrics(), None)
    assert replicas is not None


def test_how_sources_do_is_a_metric(tmp_path: Path) -> None:
    metrics = Metrics()
    settings = Settings(workers_file=tmp_path / "none.yaml")
    finding(settings, Fleet(None, connect_s=1.0, idle_s=4.0), metrics, None)
    (sample,) = metrics.discovery.sources()
    assert (sample.source, sample.workers) == (f"file {tmp_path / 'none.yaml'}", 0)


def test_what_is_wrong_is_said_before_anything_runs(tmp_path: Path) -> None:
    file = tmp_path / "workers.yaml"
    settings = Settings(workers_file=file)
    check(settings)  # the file may come yet
    file.write_text("- http://a:1\n- ftp://b\n")
    with pytest.raises(ConfigurationError, match=r"workers\.yaml:2"):
        check(settings)
    with pytest.raises(ValidationError, match="dns_nameservers"):
        Settings(dns_nameservers="not an address")

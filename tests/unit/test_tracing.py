"""What is built for whom."""

import re
from typing import Any

import pytest
from pydantic import ValidationError

from router.settings import Settings
from router.telemetry.metrics import Metrics
from router.tracing import tracing

URL = "http://127.0.0.1:1"


def build(**settings: Any) -> tuple[Any, Metrics]:
    metrics = Metrics("1.2")
    return tracing(Settings(**settings), metrics), metrics


def test_without_a_collector_there_is_nothing() -> None:
    assert build()[0] is None


def test_spans_that_are_lost_are_counted() -> None:
    traces, metrics = build(otlp_endpoint=URL)
    traces._queue.on_drop(3)
    traces.close(1.0)
    assert metrics.degraded["spans_dropped"] == 3


@pytest.mark.parametrize(
    ("variables", "endpoint"),
    [
        ({}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL}, URL),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": ""}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "OTEL_SDK_DISABLED": "true"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "OTEL_TRACES_EXPORTER": "none"}, None),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "OTEL_TRACES_EXPORTER": "otlp"}, URL),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://c:2", "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": URL}, URL),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "http/protobuf"}, URL),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, None),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "grpc",
             "OTEL_EXPORTER_OTLP_TRACES_PROTOCOL": "http/protobuf"},
            URL,
        ),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "collector:4317"}, None),
    ],
)  # fmt: skip
def test_opentelemetry_s_own_variables(
    variables: dict[str, str], endpoint: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert Settings().otlp_endpoint == endpoint
    assert Settings(otlp_endpoint="http://c:1").otlp_endpoint == "http://c:1"


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "c:4317"}, "OTEL_EXPORTER_OTLP_ENDPOINT is not used: 'c:4317'"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "x"}, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is not used"),
        (
            {"OTEL_EXPORTER_OTLP_ENDPOINT": URL, "OTEL_EXPORTER_OTLP_PROTOCOL": "gRPC"},
            "OTEL_EXPORTER_OTLP_ENDPOINT is not used: OTEL_EXPORTER_OTLP_PROTOCOL is gRPC",
        ),
    ],
)  # fmt: skip
def test_what_is_wrong_with_them_is_said_once(
    variables: dict[str, str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert build()[0] is None
    (record,) = caplog.records
    assert re.search(said, record.getMessage())
    caplog.clear()
    assert build(otlp_endpoint=None)[0] is None  # who says so wants none
    assert not caplog.records


def test_they_say_nothing_to_a_router_without_the_extra(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("router.settings.observing.find_spec", lambda name: None)
    for endpoint in (URL, "c:4317"):
        monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
        assert build()[0] is None
    assert not caplog.records


@pytest.mark.parametrize("endpoint", ["collector:4318", "grpc://collector:4317", "http://", "x"])
def test_endpoints_that_are_none(endpoint: str) -> None:
    with pytest.raises(ValidationError, match=r"must be http://host:4318"):
        Settings(otlp_endpoint=endpoint)


@pytest.mark.parametrize("missing", [None, ModuleNotFoundError("opentelemetry")])
def test_what_to_install(missing: Exception | None, monkeypatch: pytest.MonkeyPatch) -> None:
    def find(name: str) -> None:
        if missing is not None:
            raise missing

    monkeypatch.setattr("router.settings.observing.find_spec", find)
    with pytest.raises(ValidationError, match=r"pip install 'prefix-router\[tracing\]'"):
        Settings(otlp_endpoint=URL)

"""Spans on their way to a collector, by OpenTelemetry's own exporter."""

import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from router.telemetry.otlp import OtlpExport, resource
from router.telemetry.spans import Kind, Span

SPAN = Span(
    name="POST /v1/completions",
    kind=Kind.SERVER,
    trace_id=0x4BF92F3577B34DA6A3CE929D0E0E4736,
    span_id=0xF067AA0BA902B7,
    parent_id=7,
    remote=True,
    flags=1,
    state="v=1,w=2",
    start_ns=1_000,
    end_ns=2_000,
    attributes={"a": "text", "b": 2, "c": 0.5, "d": True, "e": ("x", "y")},
    events=(("first_token", 1_500),),
    error="worker_timeout",
)


class Collector(HTTPServer):
    """Answers with `status`, and keeps path, headers and body."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.status = 200
        self.taken: list[tuple[str, Any, bytes]] = []
        self._thread = threading.Thread(target=self.serve_forever, args=(0.01,))
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    def stop(self) -> None:
        self.shutdown()
        self._thread.join()
        self.server_close()


class Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        self.server.taken.append((self.path, self.headers, body))
        self.send_response(self.server.status)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Nothing."""


@pytest.fixture
def collector() -> Iterator[Collector]:
    collector = Collector()
    yield collector
    collector.stop()


@pytest.mark.parametrize("path", ["", "/", "/v1/traces", "/v1/traces/", "/otel"])
def test_the_path_is_added_where_it_is_missing(collector: Collector, path: str) -> None:
    export = OtlpExport(collector.url + path, version="1.2")
    assert export.send([SPAN]) == ""
    export.stop()
    prefix = "/otel" if path == "/otel" else ""
    assert [taken[0] for taken in collector.taken] == [f"{prefix}/v1/traces"]


def test_a_span_on_the_wire(collector: Collector) -> None:
    export = OtlpExport(collector.url, version="1.2")
    assert export.send([SPAN, SPAN]) == ""
    export.stop()
    batch = ExportTraceServiceRequest.FromString(collector.taken[0][2])
    (part,) = batch.resource_spans
    (scope,) = part.scope_spans
    assert (scope.scope.name, scope.scope.version) == ("prefix-router", "1.2")
    span, _ = scope.spans
    assert span.trace_id.hex() == "4bf92f3577b34da6a3ce929d0e0e4736"
    assert span.span_id.hex() == "00f067aa0ba902b7"
    assert span.parent_span_id.hex() == "0000000000000007"
    assert (span.name, span.kind, span.trace_state) == (SPAN.name, 2, "v=1,w=2")
    assert (span.start_time_unix_nano, span.end_time_unix_nano) == (1_000, 2_000)
    assert [(each.name, each.time_unix_nano) for each in span.events] == [("first_token", 1_500)]
    assert (span.status.code, span.status.message) == (2, "worker_timeout")
    values = {each.key: each.value for each in span.attributes}
    assert values["a"].string_value == "text"
    assert values["b"].int_value == 2
    assert values["c"].double_value == 0.5
    assert values["d"].bool_value is True
    assert [each.string_value for each in values["e"].array_value.values] == ["x", "y"]


def test_the_exporter_s_own_variables_hold(
    collector: Collector, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_HEADERS", "authorization=Bearer%20k")
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")
    export = OtlpExport(collector.url, version="1.2")
    assert export.send([SPAN]) == ""
    export.stop()
    (_, headers, _) = collector.taken[0]
    assert headers["authorization"] == "Bearer k"
    assert headers["content-encoding"] == "gzip"


def test_why_it_failed_is_told_and_not_logged(
    collector: Collector, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_TIMEOUT", "1.5")
    collector.status = 404
    export = OtlpExport(collector.url, version="1.2")
    assert "404" in export.send([SPAN])
    collector.stop()
    collector.stop = lambda: None  # type: ignore[method-assign]
    assert "refused" in export.send([SPAN])
    export.stop()
    assert export.send([SPAN]) != ""
    assert {each.name for each in caplog.records} <= {
        "opentelemetry.exporter.otlp.proto.http.trace_exporter"
    }


class TestResource:
    def test_ours(self) -> None:
        attributes = resource("1.2").attributes
        assert attributes["service.name"] == "prefix-router"
        assert attributes["service.version"] == "1.2"
        assert attributes["telemetry.sdk.language"] == "python"
        assert (
            resource("1.2").attributes["service.instance.id"] != attributes["service.instance.id"]
        )

    def test_the_environment_has_the_last_word(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OTEL_SERVICE_NAME", "edge")
        monkeypatch.setenv(
            "OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=pod-1,k8s.pod.name=pod-1"
        )
        attributes = resource("1.2").attributes
        assert attributes["service.name"] == "edge"
        assert attributes["service.instance.id"] == attributes["k8s.pod.name"] == "pod-1"

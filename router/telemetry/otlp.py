"""Sends spans to an OpenTelemetry collector, as protobuf over HTTP. Only who exports spans needs the SDK (extra `tracing`).

Headers, certificates, compression and time limit are the exporter's own: `OTEL_EXPORTER_OTLP_HEADERS` and so on.
"""

import logging
import secrets
from collections.abc import Sequence
from time import sleep

from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import Event, ReadableSpan
from opentelemetry.sdk.trace.export import SpanExportResult
from opentelemetry.sdk.util.instrumentation import InstrumentationScope
from opentelemetry.trace import SpanContext, SpanKind, Status, StatusCode, TraceFlags, TraceState

from router.telemetry.spans import Kind, Span

_PATH = "/v1/traces"
_KINDS = {
    Kind.INTERNAL: SpanKind.INTERNAL,
    Kind.SERVER: SpanKind.SERVER,
    Kind.CLIENT: SpanKind.CLIENT,
}
_UNSET = Status(StatusCode.UNSET)
_EXPORTER_LOG = logging.getLogger(OTLPSpanExporter.__module__)


class OtlpExport:
    """Exports to the collector at `endpoint` (`http://collector:4318`; `/v1/traces` is added where it is missing)."""

    def __init__(self, endpoint: str, *, version: str) -> None:
        endpoint = endpoint.rstrip("/")
        self._exporter = OTLPSpanExporter(
            endpoint if endpoint.endswith(_PATH) else endpoint + _PATH
        )
        self._resource = resource(version)
        self._scope = InstrumentationScope("prefix-router", version)
        self._problem = ""

    def send(self, spans: Sequence[Span]) -> str:
        """Deliver them; why it could not, empty when it could."""
        self._problem = ""
        readable = []
        for span in spans:
            readable.append(self._readable(span))
            sleep(0)  # let go of the interpreter, which answers wait for
        _EXPORTER_LOG.addFilter(self._overhear)
        try:
            result = self._exporter.export(readable)
        finally:
            _EXPORTER_LOG.removeFilter(self._overhear)
        if result is SpanExportResult.SUCCESS:
            return ""
        return self._problem or "the exporter failed"

    def stop(self) -> None:
        """Give up what is under way."""
        self._exporter.shutdown()  # type: ignore[no-untyped-call]

    def _overhear(self, record: logging.LogRecord) -> bool:
        """What the exporter would log with each batch is told once, by who sends the batches."""
        self._problem = self._problem or record.getMessage()
        return False

    def _readable(self, span: Span) -> ReadableSpan:
        state = TraceState.from_header([span.state]) if span.state else None
        flags = TraceFlags(span.flags)
        parent = None
        if span.parent_id:
            parent = SpanContext(span.trace_id, span.parent_id, span.remote, flags, state)
        return ReadableSpan(
            span.name,
            SpanContext(span.trace_id, span.span_id, False, flags, state),
            parent,
            self._resource,
            span.attributes,
            [Event(name, timestamp=at_ns) for name, at_ns in span.events],
            kind=_KINDS[span.kind],
            status=Status(StatusCode.ERROR, span.error) if span.error else _UNSET,
            start_time=span.start_ns,
            end_time=span.end_ns,
            instrumentation_scope=self._scope,
        )


def resource(version: str) -> Resource:
    """Who sends the spans; `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES` have the last word."""
    ours = {
        "service.name": "prefix-router",
        "service.version": version,
        "service.instance.id": secrets.token_hex(8),
    }
    return Resource.create(ours).merge(OTELResourceDetector().detect())

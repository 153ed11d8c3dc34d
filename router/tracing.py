"""Builds what exports requests as spans, if there is a collector."""

import logging

from router.process import installed_version
from router.settings import Settings
from router.settings.observing import standard
from router.telemetry.metrics import Metrics
from router.telemetry.spans import SpanQueue
from router.telemetry.tracing import Tracer
from router.traces.service import Traces

logger = logging.getLogger(__name__)


def tracing(settings: Settings, metrics: Metrics) -> Traces | None:
    """None where spans go nowhere."""
    if settings.otlp_endpoint is None:
        if "otlp_endpoint" not in settings.model_fields_set and (problem := standard().problem):
            logger.warning("there are no traces: %s", problem)
        return None
    from router.telemetry.otlp import OtlpExport  # noqa: PLC0415 - only who has a collector needs it

    def dropped(spans: int) -> None:
        metrics.degraded["spans_dropped"] += spans

    queue = SpanQueue(OtlpExport(settings.otlp_endpoint, version=installed_version()))
    queue.on_drop = dropped
    scheme = "http" if settings.tls_cert_file is None else "https"
    return Traces(Tracer(settings.trace_sample), queue, scheme=scheme)

"""An OpenTelemetry collector: takes spans by OTLP over HTTP and keeps them."""

from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self

from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker

KINDS = {1: "internal", 2: "server", 3: "client"}


@dataclass(frozen=True, slots=True, eq=False)
class Collected:
    """A span as it came; ids in hex, an empty `parent` where there is none; times are nanoseconds since the epoch."""

    name: str
    kind: str
    trace: str
    id: str
    parent: str
    state: str
    start: int
    end: int
    attributes: dict[str, Any]
    events: dict[str, int]
    failed: bool
    message: str
    resource: dict[str, Any]
    scope: str


class FakeCollector:
    """Keeps `spans`, in the order of their arrival; answers each batch with `status`."""

    def __init__(self) -> None:
        self.spans: list[Collected] = []
        self.batches = 0
        self.status = 200
        self.http = FakeWorker()
        self.http.routes = {"/v1/traces": self._take}

    @property
    def url(self) -> str:
        return self.http.url

    async def __aenter__(self) -> Self:
        await self.http.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.http.stop()

    def of(self, trace: str) -> list[Collected]:
        """The spans of one trace, by their beginnings."""
        return sorted((s for s in self.spans if s.trace == trace), key=lambda span: span.start)

    async def _take(self, request: Request, wire: Wire) -> None:
        self.batches += 1
        if self.status == 200:
            assert request.header("content-type") == "application/x-protobuf"
            self.spans += _spans(ExportTraceServiceRequest.FromString(request.body))
        await wire.reply(self.status)


def _spans(batch: ExportTraceServiceRequest) -> list[Collected]:
    return [
        Collected(
            name=span.name,
            kind=KINDS[span.kind],
            trace=span.trace_id.hex(),
            id=span.span_id.hex(),
            parent=span.parent_span_id.hex(),
            state=span.trace_state,
            start=span.start_time_unix_nano,
            end=span.end_time_unix_nano,
            attributes=_values(span.attributes),
            events={event.name: event.time_unix_nano for event in span.events},
            failed=span.status.code == 2,
            message=span.status.message,
            resource=_values(part.resource.attributes),
            scope=scope.scope.name,
        )
        for part in batch.resource_spans
        for scope in part.scope_spans
        for span in scope.spans
    ]


def _values(attributes: Any) -> dict[str, Any]:
    return {attribute.key: _value(attribute.value) for attribute in attributes}


def _value(value: Any) -> Any:
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [_value(each) for each in value.array_value.values]
    return getattr(value, kind)

"""Which requests have spans. What these say is in the other files, how they come about in tests/component/test_tracing.py."""

from collections.abc import Sequence
from typing import Any

import pytest

from router.journey import Journey
from router.telemetry.spans import Span, SpanQueue
from router.telemetry.tracing import Tracer
from router.traces.service import Traces
from tests.unit.support import FakeDownstream, chat, incoming
from tests.unit.traces.test_attributes import line


class Queue(SpanQueue):
    """Keeps what it is given."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        self.calls: list[Any] = []

    def write(self, spans: Sequence[Span]) -> None:
        self.spans += spans

    def tell(self) -> None:
        self.calls.append("tell")

    def close(self, timeout_s: float) -> None:
        self.calls.append(timeout_s)


def journey() -> Journey:
    return Journey(incoming(chat("hi")), b"r1", FakeDownstream())


@pytest.mark.parametrize(("ratio", "count"), [(0.0, 0), (1.0, 1)])
def test_those_that_are_sampled(ratio: float, count: int) -> None:
    queue = Queue()
    traces, asked = Traces(Tracer(ratio), queue), journey()
    traces.concluded(asked)
    traces.write(asked, line(), 0.0)
    assert len(queue.spans) == count


def test_a_request_has_one_place() -> None:
    traces, asked = Traces(Tracer(1.0), Queue()), journey()
    assert asked.trace is None
    assert traces.of(asked) is traces.of(asked) is asked.trace


def test_the_queue_is_told() -> None:
    queue = Queue()
    traces = Traces(Tracer(1.0), queue)
    traces.settle()
    traces.close(2.0)
    assert queue.calls == ["tell", 2.0]

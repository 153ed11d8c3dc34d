"""The queue through which spans leave the event loop."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Sequence

import pytest

from router.telemetry.spans import Kind, Span, SpanQueue


def span(name: str = "s") -> Span:
    return Span(
        name=name,
        kind=Kind.SERVER,
        trace_id=1,
        span_id=2,
        parent_id=0,
        flags=1,
        start_ns=1,
        end_ns=2,
        attributes={},
    )


class Collector:
    """Keeps batches; `problem` is what it answers; it waits for `gate` before that."""

    def __init__(self) -> None:
        self.batches: list[list[str]] = []
        self.problem: str | Exception = ""
        self.gate = threading.Event()
        self.gate.set()
        self.stops = 0

    def send(self, spans: Sequence[Span]) -> str:
        self.batches.append([each.name for each in spans])
        self.gate.wait(10.0)
        if isinstance(self.problem, Exception):
            raise self.problem
        return self.problem

    def stop(self) -> None:
        self.stops += 1
        self.gate.set()


@pytest.fixture
def collector() -> Collector:
    return Collector()


@pytest.fixture
def queue(collector: Collector) -> Iterator[SpanQueue]:
    queue = SpanQueue(collector, limit=10, batch=4, delay_s=0.01)
    yield queue
    collector.gate.set()
    queue.close(10.0)


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.002)


def test_all_are_exported_in_their_order(collector: Collector, queue: SpanQueue) -> None:
    for number in range(5):
        queue.write([span(f"{number}a"), span(f"{number}b")])
    queue.close(10.0)
    names = [name for batch in collector.batches for name in batch]
    assert names == [f"{number}{part}" for number in range(5) for part in "ab"]
    assert collector.stops == 1


def test_batches_are_bounded(collector: Collector, queue: SpanQueue) -> None:
    collector.gate.clear()
    queue.write([span()])
    eventually(lambda: len(collector.batches) == 1)
    for _ in range(8):
        queue.write([span()])
    collector.gate.set()
    queue.close(10.0)
    assert [len(batch) for batch in collector.batches] == [1, 4, 4]


def test_a_few_are_not_waited_for_long(collector: Collector, queue: SpanQueue) -> None:
    queue.write([span("alone")])
    eventually(lambda: collector.batches == [["alone"]])


def test_no_thread_without_spans(collector: Collector, queue: SpanQueue) -> None:
    before = threading.active_count()
    SpanQueue(collector).close(1.0)
    assert threading.active_count() == before


def test_a_collector_that_stalls_holds_up_nobody(collector: Collector, queue: SpanQueue) -> None:
    dropped: list[int] = []
    queue.on_drop = dropped.append
    collector.gate.clear()
    for _ in range(20):
        queue.write([span(), span()])
    queue.tell()
    queue.tell()
    assert dropped == [30]
    collector.gate.set()
    eventually(lambda: queue._done == 10)
    queue.write([span()])
    queue.close(10.0)
    assert dropped == [30]
    assert sum(map(len, collector.batches)) == 11


@pytest.mark.parametrize("problem", ["no such host", OSError("no such host")])
def test_what_is_lost_is_counted_and_told_once(
    collector: Collector,
    queue: SpanQueue,
    problem: str | Exception,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO)
    dropped: list[int] = []
    queue.on_drop = dropped.append
    collector.problem = problem
    for number in range(1, 4):
        queue.write([span()])
        eventually(lambda: queue._done == number)  # noqa: B023 - called at once
    queue.tell()
    assert dropped == [3]
    (record,) = caplog.records
    assert "spans cannot be exported" in record.message
    assert "no such host" in record.message
    collector.problem = ""
    queue.write([span()])
    eventually(lambda: queue._done == 4)
    assert [each.message for each in caplog.records[1:]] == ["spans are exported again"]


def test_closing_does_not_wait_for_a_collector_that_does_not_answer(
    caplog: pytest.LogCaptureFixture,
) -> None:
    collector, dropped = Collector(), list[int]()
    queue = SpanQueue(collector, delay_s=0.0)
    queue.on_drop = dropped.append
    collector.gate.clear()
    queue.write([span(), span()])
    began = time.monotonic()
    collector.problem = "given up"
    queue.close(0.1)
    queue._thread.join(10.0)
    assert 0.1 <= time.monotonic() - began < 5.0
    assert [each.message for each in caplog.records] == ["2 spans were not exported in time"]
    assert (dropped, collector.stops) == ([2], 1)


def test_closing_gives_up_at_once_where_all_fails(collector: Collector) -> None:
    queue = SpanQueue(collector, delay_s=0.0)
    collector.problem = "no"
    queue.write([span()])
    eventually(lambda: queue._failing)
    collector.gate.clear()
    queue.write([span()])
    eventually(lambda: len(collector.batches) == 2)
    queue.close(10.0)
    assert collector.stops == 1
    assert not queue._thread.is_alive()


def test_what_comes_after_closing_is_dropped(collector: Collector, queue: SpanQueue) -> None:
    dropped: list[int] = []
    queue.on_drop = dropped.append
    queue.close(1.0)
    queue.write([span()])
    queue.tell()
    queue.close(1.0)
    assert (dropped, collector.batches, collector.stops) == ([1], [], 1)

"""Request lines and the process's own log."""

import io
import json
import logging
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.telemetry.logs import (
    JsonFormatter,
    RequestLine,
    RequestLog,
    Timestamps,
    as_text,
    configure_logging,
    timestamp,
)


def line(**fields: Any) -> RequestLine:
    given: dict[str, Any] = {
        "ts": "2026-11-25T07:00:00.123+00:00",
        "request_id": "r1",
        "model": "m",
        "endpoint": "completions",
        "worker": "gpu-1:8000",
        "policy": "prefix",
        "reason": "cached",
        "status": 200,
        "outcome": "ok",
        "prompt_tokens": 50,
        "completion_tokens": 5,
        "predicted_cached_tokens": 48,
        "cached_tokens": 32,
        "ttft_ms": 12.3456,
        "duration_ms": 45.6,
        "attempts": 1,
    }
    return RequestLine(**{**given, **fields})


UNROUTED = {
    "model": None,
    "worker": None,
    "policy": "",
    "reason": "",
    "status": 400,
    "outcome": "client_error",
    "error": "No.",
    "prompt_tokens": None,
    "completion_tokens": None,
    "predicted_cached_tokens": None,
    "cached_tokens": None,
    "ttft_ms": None,
    "attempts": 0,
}


class Sink(io.BytesIO):
    """Counts writes."""

    writes = 0

    def write(self, data: Any, /) -> int:
        self.writes += 1
        return super().write(data)


class TestRequestLog:
    def test_a_line_is_a_json_object(self) -> None:
        sink = Sink()
        log = RequestLog(sink, json=True)
        log.write(line(model='a"b\n'))
        log.flush()
        (text,) = sink.getvalue().splitlines()
        assert json.loads(text) == {**msgspec.to_builtins(line(model='a"b\n')), "event": "request"}

    @pytest.mark.parametrize("field", RequestLine.__struct_fields__)
    def test_every_field_is_there_even_when_it_is_not_known(self, field: str) -> None:
        sink = Sink()
        log = RequestLog(sink, json=True)
        log.write(line(**UNROUTED))
        log.flush()
        assert field in json.loads(sink.getvalue())

    def test_lines_wait_for_a_flush(self) -> None:
        sink = Sink()
        log = RequestLog(sink, json=False)
        log.write(line())
        log.write(line())
        assert sink.writes == 0
        log.flush()
        log.flush()
        assert sink.writes == 1
        assert sink.getvalue().count(b"\n") == 2

    def test_too_many_do_not_wait(self) -> None:
        sink = Sink()
        log = RequestLog(sink, json=True, limit=3)
        for _ in range(7):
            log.write(line())
        assert (sink.writes, sink.getvalue().count(b"\n")) == (2, 6)


class TestText:
    def test_a_line_for_a_person(self) -> None:
        assert as_text(line()).decode() == (
            "07:00:00.123 200 ok        completions model=m worker=gpu-1:8000 (cached) prompt=50 "
            "cached=48/32 ttft=12 ms took=46 ms id=r1\n"
        )

    def test_what_is_not_known_is_a_dash(self) -> None:
        text = as_text(line(**UNROUTED)).decode()
        assert "model=- worker=-" in text
        assert "prompt=- cached=0/- ttft=-" in text
        assert "error=No. id=r1" in text


@given(st.floats(0, 4e9))
def test_timestamps_are_iso_8601_in_utc(epoch: float) -> None:
    parsed = datetime.fromisoformat(timestamp(epoch))
    assert parsed.tzinfo == UTC
    assert parsed.timestamp() == pytest.approx(epoch, abs=1.1e-3)


@given(st.lists(st.floats(0, 4e9), min_size=1, max_size=5))
def test_fast_timestamps_are_the_same(epochs: list[float]) -> None:
    fast = Timestamps()
    for epoch in epochs:
        for moment in (epoch, int(epoch) + 0.999, int(epoch) + 0.0):
            ours, exact = (
                datetime.fromisoformat(text) for text in (fast(moment), timestamp(moment))
            )
            assert abs((ours - exact).total_seconds()) < 0.0015


class TestProcessLog:
    @pytest.fixture(autouse=True)
    def root(self) -> Iterator[logging.Logger]:
        root = logging.getLogger()
        handlers, level = root.handlers[:], root.level
        yield root
        root.handlers[:] = handlers
        root.setLevel(level)

    def test_records_are_json_objects(self, capsys: pytest.CaptureFixture[str]) -> None:
        configure_logging(json=True, level="info")
        logging.getLogger("router.x").info("worker %s is %s", "a", "up")
        logging.getLogger("router.x").debug("no")
        entry = json.loads(capsys.readouterr().err)
        assert datetime.fromisoformat(entry.pop("ts")).tzinfo == UTC
        assert entry == {
            "event": "log",
            "level": "info",
            "logger": "router.x",
            "message": "worker a is up",
        }

    def test_records_are_text(self, capsys: pytest.CaptureFixture[str]) -> None:
        configure_logging(json=False, level="warning")
        logging.getLogger("router.x").info("no")
        logging.getLogger("router.x").warning("yes")
        assert capsys.readouterr().err.endswith("WARNING router.x: yes\n")

    def test_configuring_twice_logs_once(self, capsys: pytest.CaptureFixture[str]) -> None:
        for _ in range(2):
            configure_logging(json=False, level="info")
        logging.getLogger("router.x").info("once")
        assert capsys.readouterr().err.count("once") == 1

    def test_a_traceback_stays_on_its_line(self) -> None:
        with pytest.raises(ValueError, match="invalid") as caught:
            int("x\ny")
        info = (caught.type, caught.value, caught.tb)
        record = logging.LogRecord("r", logging.ERROR, "f", 1, "m", None, info)
        text = JsonFormatter().format(record)
        assert "\n" not in text
        assert "Traceback" in json.loads(text)["exception"]

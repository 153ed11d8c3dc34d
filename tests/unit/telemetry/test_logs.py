"""Request lines and the process's own log."""

import contextlib
import io
import json
import logging
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from router.telemetry.logs import (
    JsonFormatter,
    RequestLine,
    RequestLog,
    ThreadedSink,
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
        "queue_ms": 0.0,
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
    "queue_ms": 0.0,
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


class Pipe:
    """A pipe's two ends, and a reader that may stall or leave."""

    def __init__(self) -> None:
        self.reader, self.writer = os.pipe()
        self.closed = False
        self.sinks: list[ThreadedSink] = []

    def sink(self, **options: Any) -> ThreadedSink:
        """One that writes to it."""
        self.sinks.append(ThreadedSink(self.writer, **options))
        return self.sinks[-1]

    def fill(self) -> int:
        """Make it full; returns how many bytes that took."""
        os.set_blocking(self.writer, False)
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                count += os.write(self.writer, b"." * 4096)
        os.set_blocking(self.writer, True)
        return count

    def read(self, count: int) -> bytes:
        """Exactly `count` bytes."""
        data = b""
        while len(data) < count:
            data += os.read(self.reader, count - len(data))
        return data

    def leave(self) -> None:
        """The reader goes away."""
        if not self.closed:
            os.close(self.reader)
        self.closed = True


@pytest.fixture
def pipe() -> Iterator[Pipe]:
    pipe = Pipe()
    yield pipe
    pipe.leave()
    for sink in pipe.sinks:  # a thread must not outlive its descriptor
        sink.close(10.0)
    os.close(pipe.writer)


def eventually(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


class TestThreadedSink:
    def test_order_is_kept_and_closing_waits_for_all(self, pipe: Pipe) -> None:
        sink = pipe.sink()
        lines = [b"line %d\n" % n for n in range(5000)]
        expected = b"".join(lines)
        got: list[bytes] = []
        reader = threading.Thread(target=lambda: got.append(pipe.read(len(expected))))
        reader.start()
        for each in lines:
            sink.write(each)
        sink.close(10.0)
        reader.join(10.0)
        assert got == [expected]
        assert sink.dropped_lines == 0

    def test_more_than_a_pipe_holds_arrives_whole(self, pipe: Pipe) -> None:
        sink = pipe.sink()
        data = bytes(range(256)) * 4096
        sink.write(data)
        assert pipe.read(len(data)) == data
        sink.close(5.0)

    def test_a_reader_that_stalls_holds_up_nobody(self, pipe: Pipe) -> None:
        pipe.fill()
        sink = pipe.sink(limit_bytes=100_000)
        dropped: list[int] = []
        sink.on_drop = dropped.append
        batch = b"x" * 999 + b"\n"
        longest = 0.0
        for _ in range(300):
            began = time.perf_counter()
            sink.write(batch)
            sink.flush()
            longest = max(longest, time.perf_counter() - began)
        assert longest < 0.1
        assert sink.dropped_lines == sum(dropped) == 200

    def test_it_goes_on_when_the_reader_does(self, pipe: Pipe) -> None:
        filled = pipe.fill()
        sink = pipe.sink(limit_bytes=10)
        sink.write(b"kept 1\n")
        sink.write(b"lost\nlost\n")
        assert sink.dropped_lines == 2
        assert pipe.read(filled + 7)[filled:] == b"kept 1\n"
        eventually(lambda: sink._done == 7)
        sink.write(b"kept 2\n")
        assert pipe.read(7) == b"kept 2\n"
        sink.close(5.0)
        assert sink.dropped_lines == 2

    def test_a_pipe_made_non_blocking_loses_nothing(self, pipe: Pipe) -> None:
        filled = pipe.fill()
        os.set_blocking(pipe.writer, False)
        sink = pipe.sink()
        sink.write(b"line\n" * 50_000)
        time.sleep(0.05)
        assert pipe.read(filled + 250_000)[filled:] == b"line\n" * 50_000
        sink.close(5.0)
        assert sink.dropped_lines == 0

    def test_a_reader_that_leaves_is_told_of_once(
        self, pipe: Pipe, caplog: pytest.LogCaptureFixture
    ) -> None:
        pipe.leave()
        sink = pipe.sink()
        dropped: list[int] = []
        sink.on_drop = dropped.append
        for _ in range(3):
            sink.write(b"a\nb\n")
        eventually(lambda: sink.dropped_lines == 6)
        sink.close(5.0)
        assert sum(dropped) == 6
        assert [record.message for record in caplog.records] == [
            "the request log cannot be written: [Errno 32] Broken pipe"
        ]

    def test_a_reader_that_leaves_while_it_is_written_to(self, pipe: Pipe) -> None:
        pipe.fill()
        sink = pipe.sink()
        sink.write(b"a\n")
        time.sleep(0.05)
        pipe.leave()
        eventually(lambda: sink.dropped_lines == 1)
        sink.close(5.0)

    def test_writing_goes_on_when_it_can_again(
        self, pipe: Pipe, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        write, room = os.write, threading.Event()

        def disk(fd: int, data: bytes) -> int:
            if fd == pipe.writer and not room.is_set():
                raise OSError(28, "No space left on device")
            return write(fd, data)

        monkeypatch.setattr(os, "write", disk)
        sink = pipe.sink()
        sink.write(b"lost\n")
        eventually(lambda: sink.dropped_lines == 1)
        room.set()
        sink.write(b"kept\n")
        assert pipe.read(5) == b"kept\n"
        sink.close(5.0)
        assert [record.message for record in caplog.records] == [
            "the request log cannot be written: [Errno 28] No space left on device"
        ]

    def test_drops_are_told_in_the_caller_s_thread(self, pipe: Pipe) -> None:
        pipe.leave()
        sink = pipe.sink()
        threads: set[threading.Thread] = set()
        sink.on_drop = lambda lines: threads.add(threading.current_thread())
        sink.write(b"a\n")
        eventually(lambda: sink.dropped_lines == 1)
        sink.write(b"a\n")
        sink.close(5.0)
        assert threads == {threading.current_thread()}

    def test_closing_gives_up_on_a_stalled_reader(
        self, pipe: Pipe, caplog: pytest.LogCaptureFixture
    ) -> None:
        pipe.fill()
        sink = pipe.sink()
        sink.write(b"never\n")
        began = time.monotonic()
        sink.close(0.1)
        assert 0.1 <= time.monotonic() - began < 2
        assert "6 bytes of the request log were not written" in caplog.text
        pipe.leave()
        sink._thread.join(5.0)

    def test_what_comes_after_closing_is_dropped(self, pipe: Pipe) -> None:
        sink = pipe.sink()
        sink.close(5.0)
        sink.write(b"late\n")
        sink.close(5.0)
        assert sink.dropped_lines == 1

    def test_no_thread_without_lines(self, pipe: Pipe) -> None:
        before = threading.active_count()
        sink = pipe.sink()
        assert threading.active_count() == before
        sink.close(5.0)

    def test_no_thread_after_closing(self, pipe: Pipe) -> None:
        sink = pipe.sink()
        sink.write(b"a\n")
        sink.close(5.0)
        assert not sink._thread.is_alive()

    def test_request_lines_go_through_it(self, pipe: Pipe) -> None:
        sink = pipe.sink()
        log = RequestLog(sink, json=True)
        log.write(line())
        log.flush()
        sink.close(5.0)
        assert json.loads(os.read(pipe.reader, 10_000))["request_id"] == "r1"

    def test_a_process_ends_although_nobody_reads(self, pipe: Pipe) -> None:
        """The thread still waits in its write when the interpreter ends."""
        pipe.fill()
        code = (
            "import sys; from router.telemetry.logs import ThreadedSink\n"
            "sink = ThreadedSink(sys.stdout.fileno()); sink.write(b'x\\n' * 100); sink.close(0.1)"
        )
        ended = subprocess.run(
            [sys.executable, "-c", code],
            cwd=Path(__file__).parents[3],
            stdout=pipe.writer,
            stderr=subprocess.PIPE,
            text=True,
            timeout=30,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr
        assert ended.stderr.strip().endswith(
            "200 bytes of the request log were not written: nobody reads it"
        )


class TestText:
    def test_its_time_is_that_of_the_terminal_s_other_lines(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        try:
            with monkeypatch.context() as patch:
                patch.setenv("TZ", "XXX+05:30")
                time.tzset()
                assert as_text(line()).startswith(b"01:30:00.123 200 ")
        finally:
            time.tzset()

    def test_a_line_for_a_person(self) -> None:
        assert as_text(line()).decode() == (
            "07:00:00.123 200 ok        completions model=m worker=gpu-1:8000 (cached) prompt=50 "
            "cached=48/32 ttft=12 ms took=46 ms id=r1\n"
        )

    def test_waiting_is_told_where_there_was_some(self) -> None:
        assert b"cached=48/32 queued=1500 ms ttft" in as_text(line(queue_ms=1499.6))
        assert b" tenant=acme model=" in as_text(line(tenant="acme"))

    def test_what_is_not_known_is_a_dash(self) -> None:
        text = as_text(line(**UNROUTED)).decode()
        assert "model=- worker=-" in text
        assert "prompt=- cached=0/- ttft=-" in text
        assert "error=No. id=r1" in text

    @pytest.mark.parametrize(
        ("name", "shown"),
        [
            ("a\nb", r"a\nb"),
            ("\x1b[2J", r"\x1b[2J"),
            ("\x9b", r"\x9b"),
            ("\u202e", r"\u202e"),
            ("\ud800", r"\ud800"),
            ("größe", "größe"),
        ],
    )
    def test_what_a_client_says_moves_no_cursor(self, name: str, shown: str) -> None:
        text = as_text(line(model=name, error=f"The model {name}.", request_id=name)).decode()
        assert text.endswith("\n")
        assert text[:-1].isprintable()
        assert f"model={shown} " in text
        assert f"error=The model {shown}. id={shown}\n" in text


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
        logging.captureWarnings(capture=False)

    @pytest.fixture(autouse=True)
    def hooks(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """They are put back."""
        for owner, name in (
            (sys, "excepthook"),
            (sys, "unraisablehook"),
            (threading, "excepthook"),
        ):
            monkeypatch.setattr(owner, name, getattr(owner, name))

    def test_records_are_json_objects(self, capsys: pytest.CaptureFixture[str]) -> None:
        configure_logging(json=True, level="info")
        logging.getLogger("router.x").info("worker %s is %s", "a", "up")
        logging.getLogger("router.x").debug("no")
        text = capsys.readouterr().err
        assert '"event":"log"' in text  # spelt as in request lines: people grep for it
        entry = json.loads(text)
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

    @pytest.mark.parametrize("text", ["naïve", "\udcff", "a\nb\r\u2028c", "\x00\x1b[31m", '"}{'])
    def test_whatever_a_record_says_it_is_one_line_of_ascii(self, text: str) -> None:
        record = logging.LogRecord("r", logging.INFO, "f", 1, "said %s", (text,), None)
        line = JsonFormatter().format(record)
        assert line.isascii()
        assert line.isprintable()
        assert json.loads(line)["message"] == f"said {text}"

    @pytest.mark.parametrize(("message", "args"), [("%d", ("x",)), ("%s %s", (1,)), ("none", (1,))])
    def test_arguments_that_do_not_fit_are_told_as_json_too(
        self, message: str, args: tuple[object, ...]
    ) -> None:
        record = logging.LogRecord("r", logging.INFO, "f", 1, message, args, None)
        told = json.loads(JsonFormatter().format(record))["message"]
        assert told.startswith(f"{message!r} cannot be formatted with 1 arguments: TypeError(")

    def test_a_stack_stays_on_its_line_too(self, capsys: pytest.CaptureFixture[str]) -> None:
        configure_logging(json=True, level="info")
        logging.getLogger("router.x").info("here", stack_info=True)
        assert "test_logs.py" in json.loads(capsys.readouterr().err)["stack"]

    def test_all_that_a_process_says_is_json(self) -> None:
        """Other libraries' records, warnings, and exceptions that nobody catches, wherever they come from."""
        ended = subprocess.run(
            [sys.executable, "-W", "always", "-c", TALK],
            cwd=Path(__file__).parents[3],
            env={**os.environ, "PYTHONIOENCODING": "ascii"},
            capture_output=True,
            timeout=30,
            check=False,
        )
        assert ended.returncode == 1
        lines = [json.loads(line) for line in ended.stderr.decode("ascii").splitlines()]
        assert {line["event"] for line in lines} == {"log"}
        assert {line["logger"] for line in lines} == {
            "asyncio",
            "py.warnings",
            "router.telemetry.logs",
            "uvicorn.error",
        }
        told = json.dumps(lines)
        for what in (
            "never retrieved",
            "two\\nlines",
            "in a thread",
            "in a finalizer",
            "at the end",
            "Invalid HTTP",
        ):
            assert what in told


TALK = r"""
import asyncio, gc, logging, threading, warnings
import uvicorn
from router.telemetry.logs import configure_logging

configure_logging(json=True, level="info")
uvicorn.Config("none:none", log_config=None)
logging.getLogger("uvicorn.error").warning("Invalid HTTP request received: \u00ef")
warnings.warn("two\nlines")

async def failing():
    raise ValueError("in a task")

async def main():
    asyncio.get_running_loop().create_task(failing())
    await asyncio.sleep(0.01)
    gc.collect()

asyncio.run(main())

def fail():
    raise ValueError("in a thread")

thread = threading.Thread(target=fail)
thread.start()
thread.join()

class Broken:
    def __del__(self):
        raise ValueError("in a finalizer")

Broken()
raise ValueError("at the end")
"""

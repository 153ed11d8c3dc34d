"""Many streams at once: what the worker writes, what the client counts, what is printed."""

import argparse
import asyncio
from typing import Any

import pytest

from bench.dataplane import soak as dataplane_soak
from bench.dataplane.http1 import EVENT_END
from bench.dataplane.prompts import Shape, templates
from bench.streams import soak
from bench.streams.__main__ import as_json, parser, report, shapes_of
from bench.streams.client import StreamClient, Tally, open_streams
from bench.streams.mock import serve, stamped_event
from bench.streams.run import Outcome, Shapes, most_streams
from tests.fakes.ports import free_ports
from tests.unit.bench.manual import check_commands, check_options

HEAD = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n"
END = b"9\r\ndata: {}\n\n\r\n10\r\ndata: [DONE]\n\n\r\n0\r\n\r\n"


class Sink(asyncio.Transport):
    def __init__(self) -> None:
        super().__init__()
        self.written = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.written += bytes(data)

    def close(self) -> None:
        self.closed = True


def client(tokens: int) -> tuple[StreamClient, Tally, Sink]:
    tally = Tally(measuring=True)
    made, sink = StreamClient(b"GET", tokens, tally), Sink()
    made.connection_made(sink)
    return made, tally, sink


def test_the_manual_is_right() -> None:
    check_commands("streams", parser())
    check_options("streams", options())


def options() -> argparse.ArgumentParser:
    """Those of both commands."""
    both = parser()
    known = {option for action in both._actions for option in action.option_strings}
    for action in soak.parser()._actions:
        for option in set(action.option_strings) - known:
            both.add_argument(option)
    return both


def test_every_event_has_its_time_and_the_same_length() -> None:
    first, later = stamped_event(1), stamped_event(10**18)
    assert len(first) == len(later)
    assert b'"content":"0000000000000000001"' in first
    assert later.endswith(EVENT_END)


@pytest.mark.parametrize("size", [1, 7, 100, 10_000])
def test_events_are_counted_wherever_they_are_cut(size: int) -> None:
    made, tally, sink = client(2)
    raw = HEAD + stamped_event(1) + stamped_event(2) + END
    for at in range(0, len(raw), size):
        made.data_received(raw[at : at + size])
    made.connection_lost(None)
    assert (tally.chunks, len(tally.ages_s), tally.ended, tally.failures) == (2, 2, 1, {})
    assert (tally.open, sink.closed, sink.written) == (0, True, b"GET")


def test_what_does_not_go_well_is_counted() -> None:
    short, tally, _ = client(3)
    short.data_received(HEAD + stamped_event(1) + END)
    assert tally.failures == {"1 tokens instead of 3": 1}
    cut, tally, _ = client(3)
    cut.data_received(HEAD + stamped_event(1))
    cut.connection_lost(None)
    assert tally.failures == {"connection lost: closed": 1}
    refused, tally, _ = client(3)
    refused.data_received(b"HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n")
    assert tally.failures == {"status 503, [DONE]: False": 1}


async def test_streams_of_a_real_worker() -> None:
    [port] = free_ports(1)
    worker = asyncio.ensure_future(serve(port, 0.02))
    await asyncio.sleep(0.1)
    tally = Tally(measuring=True)
    [made] = templates(Shape(256, stream=True, tokens=5, groups=1), "w")
    await open_streams(port, [made.request(n) for n in range(8)], 5, 0.05, tally)
    async with asyncio.timeout(20):
        while tally.open:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
    worker.cancel()
    await asyncio.gather(worker, return_exceptions=True)
    assert (tally.ended, tally.failures) == (8, {})
    assert all(age >= 0 for age in tally.ages_s)


async def test_a_port_that_nobody_listens_on() -> None:
    [port] = free_ports(1)
    tally = Tally()
    await open_streams(port, [b"", b""], 5, 0.0, tally)
    assert sum(tally.failures.values()) == 2


def test_there_must_be_a_moment_with_all_streams() -> None:
    args = parser().parse_args(["--streams", "10"])
    assert shapes_of(args) == Shapes(10, 40, 1.0, 10)
    with pytest.raises(SystemExit):
        shapes_of(parser().parse_args(["--tokens", "5"]))
    assert most_streams(10) == 10
    assert most_streams(10**9) < 10**9


def test_report() -> None:
    tally = Tally(ended=2)
    tally.ages_s.extend([0.001, 0.003])
    slow = Tally(ended=2)
    slow.ages_s.extend([0.002, 0.005])
    direct = Outcome(tally, 0, 0, 0, 0, 2, 2)
    through = Outcome(slow, 70, 72, 71, 21.5, 2, 2)
    told = report(direct, through)
    assert "| added |  |  | +2.00 | +2.00 | +2.00 |  |" in told
    assert "(1024.0 KB each)" in told
    assert as_json(through)["cpu_us_per_chunk"] == 21.5


def test_soak_says_how_much_grew_per_request() -> None:
    phase = dataplane_soak.Phase(512, 1_000_000)
    level = dataplane_soak.Outcome(phase, [50.0] + [80.0] * 40, 10, 0)
    growing = dataplane_soak.Outcome(phase, [50.0 + n for n in range(41)], 10, 0)
    assert soak.grown_b(level) == 0
    assert soak.grown_b(growing) == pytest.approx(41 * 1024 * 1024 / 1e6)
    assert soak.row(level)[:3] == ["1000000", "100000", "50.0"]

"""The router as a process."""

import sys

import pytest

from router.telemetry.metrics import Metrics
from tests.unit.telemetry.scrape import scraped


def test_the_version() -> None:
    assert scraped(Metrics("1.2"))["router_build_info", (("version", "1.2"),)] == 1


def test_how_late_the_loop_is() -> None:
    metrics = Metrics()
    for late_s in (0.0002, 0.3):
        metrics.process.loop_lag.observe(late_s)
    found = scraped(metrics)
    assert found["router_loop_lag_seconds_bucket", (("le", "0.001"),)] == 1
    assert found["router_loop_lag_seconds_bucket", (("le", "0.25"),)] == 1
    assert found["router_loop_lag_seconds_count", ()] == 2


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells")
@pytest.mark.parametrize(
    "name",
    ["cpu_seconds_total", "resident_memory_bytes", "open_fds", "max_fds", "start_time_seconds"],
)
def test_what_the_system_knows_of_the_process(name: str) -> None:
    assert scraped(Metrics())[f"process_{name}", ()] > 0


def test_whether_it_was_told_to_stop() -> None:
    metrics = Metrics()
    assert scraped(metrics)["router_draining", ()] == 0
    metrics.process.draining = lambda: True
    assert scraped(metrics)["router_draining", ()] == 1

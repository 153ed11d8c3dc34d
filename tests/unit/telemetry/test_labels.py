"""What is known beforehand is what the code counts by."""

import re
from pathlib import Path

import pytest

from router import errors
from router.edge.limits import out_of_body_memory, too_many_connections
from router.proxy.retry import Step
from router.telemetry import labels
from router.telemetry.labels import from_zero
from router.telemetry.metrics import Metrics
from tests.unit.telemetry.scrape import scraped

ROUTER = Path(labels.__file__).parents[1]


def test_what_was_counted_and_what_was_not() -> None:
    assert dict(from_zero({"a": 2, "other": 1}, ("a", "b"))) == {"a": 2, "other": 1, "b": 0}


@pytest.mark.parametrize("name", ["retries", "resumed", "rejected", "degraded"])
def test_counters_begin_at_zero(name: str) -> None:
    found = {
        key: value for key, value in scraped(Metrics()).items() if key[0] == f"router_{name}_total"
    }
    assert found
    assert set(found.values()) == {0.0}


def test_retries() -> None:
    steps = {step.value for step in Step} - {Step.GIVE_UP.value}
    assert steps | {"refused", "resumed"} == set(labels.RETRIES)


def test_resumed() -> None:
    source = (ROUTER / "resumption.py").read_text()
    assert set(re.findall(r'resumed\("(\w+)"\)', source)) == set(labels.RESUMED)


def test_rejected() -> None:
    found = {
        error.code
        for error in (
            errors.no_worker(""),
            errors.queue_full(1, 1),
            errors.waited_too_long(1, 1),
            errors.SHUTTING_DOWN,
            errors.out_of_sockets("w", ""),
            out_of_body_memory(1),
            too_many_connections(1),
        )
    }
    assert found == set(labels.REJECTED)


def test_degraded() -> None:
    source = "".join(path.read_text() for path in ROUTER.glob("*.py"))
    assert set(re.findall(r'degraded\["(\w+)"\]', source)) == set(labels.DEGRADED)


def test_shared_failures() -> None:
    source = (ROUTER / "shared/base.py").read_text()
    assert all(f"`{reason}`" in source for reason in labels.SHARED_FAILURES)

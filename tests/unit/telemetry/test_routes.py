"""What is counted by model and endpoint."""

from time import monotonic

import pytest

from router.telemetry.metrics import Metrics
from router.telemetry.routes import UNKNOWN, RouteSamples
from tests.unit.telemetry.scrape import scraped


def test_a_route_s_series() -> None:
    metrics = Metrics()
    series = metrics.route("m", "completions")
    assert metrics.route("m", "completions") is series
    series.outcomes["ok"] += 2
    series.outcomes["cancelled"] += 1
    series.prompt_tokens += 50
    series.completion_tokens += 7
    series.duration.observe(0.2)
    series.queue_wait.observe(1.5)
    series.ttft.observe(0.02)
    series.itl.observe(0.02, 4)
    series.tpot.observe(0.02)
    found = scraped(metrics)
    labels = (("endpoint", "completions"), ("model", "m"))
    assert found["router_requests_total", (*labels, ("outcome", "ok"))] == 2
    assert found["router_requests_total", (*labels, ("outcome", "cancelled"))] == 1
    assert found["router_prompt_tokens_total", labels] == 50
    assert found["router_completion_tokens_total", labels] == 7
    for name, count in {
        "router_request_duration_seconds": 1,
        "router_queue_wait_seconds": 1,
        "router_time_to_first_token_seconds": 1,
        "router_inter_token_latency_seconds": 4,
        "router_time_per_output_token_seconds": 1,
    }.items():
        assert found[f"{name}_count", labels] == count
    assert found["router_request_duration_seconds_sum", labels] == 0.2
    duration = "router_request_duration_seconds_bucket"
    assert found[duration, (labels[0], ("le", "0.1"), labels[1])] == 0
    assert found[duration, (labels[0], ("le", "0.25"), labels[1])] == 1


def test_odd_model_names_do_not_break_the_exposition() -> None:
    metrics = Metrics()
    metrics.route('a"b\\c\nd', "x").outcomes["ok"] += 1
    labels = (("endpoint", "x"), ("model", 'a"b\\c\nd'), ("outcome", "ok"))
    assert scraped(metrics)["router_requests_total", labels] == 1


LABELS = (("endpoint", "x"), ("model", "m"), ("outcome", "ok"))


def test_a_model_that_nobody_has_is_forgotten_after_an_hour() -> None:
    routes = RouteSamples()
    for model in ("m", "n", UNKNOWN):
        routes(model, "x").outcomes["ok"] += 1
        routes(model, "y").outcomes["ok"] += 1
    routes.keep({"m", "n"}, 0.0)
    routes.keep({"n"}, 10.0)
    routes.keep({"n"}, 3609.0)
    assert len(routes._routes) == 6
    routes.keep({"n"}, 3610.0)
    assert set(routes._routes) == {(model, path) for model in ("n", UNKNOWN) for path in "xy"}
    routes("m", "x")
    routes.keep({"n"}, 3611.0)
    assert ("m", "x") in routes._routes


def test_one_that_comes_back_is_kept() -> None:
    routes = RouteSamples()
    series = routes("m", "x")
    for second in range(0, 36_000, 1800):
        routes.keep({"m"} if second % 3600 else {}, second)
    assert routes("m", "x") is series


def test_scrapes_see_to_that(monkeypatch: pytest.MonkeyPatch) -> None:
    metrics = Metrics()
    metrics.queue_depths = dict
    metrics.route("m", "x").outcomes["ok"] += 1
    assert scraped(metrics)["router_requests_total", LABELS] == 1
    monkeypatch.setattr("router.telemetry.metrics.monotonic", lambda: monotonic() + 3601)
    assert ("router_requests_total", LABELS) not in scraped(metrics)

"""The points of the plots."""

from router.console.history import FIELDS, History
from router.telemetry.metrics import TOKEN_BUCKETS_S, Histogram
from tests.unit.console.lines import line

NOW = {"inflight": 3.0, "queue": 4.0}


def gaps(*seconds: float) -> Histogram:
    histogram = Histogram(TOKEN_BUCKETS_S)
    for each in seconds:
        histogram.observe(each)
    return histogram


def test_a_point_of_nothing() -> None:
    history = History()
    history.end(1000.0, [], NOW)
    (point,) = history.points
    assert point["t"] == 1000.0
    assert [point[name] for name in ("ttft50", "itl99", "hit", "predicted")] == [None] * 4
    assert (point["ok"], point["inflight"], point["queue"]) == (0.0, 3.0, 4.0)
    assert set(point) == set(FIELDS)


def test_percentiles_are_those_of_the_window() -> None:
    history = History(interval_s=2.0, window=2)
    history.add([line(ttft_ms=1000.0)])
    history.end(2.0, [], NOW)
    for ttft_ms in (10.0, 30.0):
        history.add([line(ttft_ms=ttft_ms), line(ttft_ms=20.0)])
        history.end(4.0, [], NOW)
    assert history.points[0]["ttft50"] == 1000.0
    assert history.points[-1]["ttft50"] == 20.0
    assert history.points[-1]["ttft99"] == 30.0


def test_gaps_count_since_the_window_began() -> None:
    history = History(window=1)
    old, new = gaps(*[0.0009] * 100), gaps(*[0.0009] * 100, *[0.018] * 10)
    history.end(0.0, [old], NOW)
    history.end(2.0, [old], NOW)
    history.end(4.0, [new], NOW)
    assert history.points[1]["itl50"] is None
    assert 15.0 < (history.points[2]["itl50"] or 0.0) <= 20.0


def test_rates_are_per_second() -> None:
    history = History(interval_s=2.0, window=5)
    history.add([line()] * 4 + [line(outcome="cancelled")] * 2)
    history.end(2.0, [], NOW)
    assert (history.points[0]["ok"], history.points[0]["cancelled"]) == (2.0, 1.0)
    assert history.rate == 3.0
    history.end(4.0, [], NOW)
    assert history.rate == 1.5


def test_only_so_many_points_are_kept() -> None:
    history = History(interval_s=2.0, span_s=20.0)
    for second in range(50):
        history.end(float(second), [], NOW)
    assert history.columns()["t"] == [float(second) for second in range(40, 50)]
    assert history.columns(1)["t"] == [49.0]


def test_what_ended_is_given_back() -> None:
    history = History()
    history.add([line()])
    assert history.end(0.0, [], NOW).workers["a"].requests == 1
    assert not history.end(2.0, [], NOW).workers

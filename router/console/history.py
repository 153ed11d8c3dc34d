"""The last minutes as points for the plots, each of the seconds before it."""

from collections import deque
from collections.abc import Iterable, Mapping
from itertools import chain

from router.console.percentiles import SHARES, of_buckets, of_values
from router.console.tally import Tally, Work
from router.telemetry.labels import OUTCOMES
from router.telemetry.logs import RequestLine
from router.telemetry.metrics import TOKEN_BUCKETS_S, Histogram

Point = dict[str, float | None]

FIELDS = (
    "t",
    *("ttft50", "ttft95", "ttft99", "itl50", "itl95", "itl99", "hit", "predicted"),
    *OUTCOMES,
    *("inflight", "queue"),
)


class History:
    """A point per `interval_s` for `span_s`. A point tells of the `window` intervals before it: exact percentiles (ms)
    of times to first token, of the requests that ended; percentiles (ms) of gaps between tokens, estimated from
    buckets; hit rates; requests per second by outcome. `inflight` and `queue` are as they were at that moment.
    """

    def __init__(self, *, interval_s: float = 2.0, span_s: float = 600.0, window: int = 5) -> None:
        self.interval_s = interval_s
        self.window_s = interval_s * window
        self.points: deque[Point] = deque(maxlen=round(span_s / interval_s))
        self.current = Tally()
        self._tallies: deque[Tally] = deque(maxlen=window)
        self._gaps: deque[list[int]] = deque(maxlen=window + 1)

    def add(self, lines: Iterable[RequestLine]) -> None:
        """These ended."""
        self.current.add(lines)

    def end(self, at: float, gaps: Iterable[Histogram], now: Mapping[str, float]) -> Tally:
        """The interval is over at `at` (Unix time): make its point; what ended in it. `now` goes into it as it is."""
        ended, self.current = self.current, Tally()
        ended.ttft_ms.sort()
        self._tallies.append(ended)
        self._gaps.append(_sum(gaps))
        self.points.append({"t": round(at, 1), **self._times(), **self._counts(), **now})
        return ended

    def columns(self, last: int | None = None) -> dict[str, list[float | None]]:
        """The points, all of them or the `last`, by field."""
        points = list(self.points) if last is None else list(self.points)[-last:]
        return {field: [point.get(field) for point in points] for field in FIELDS}

    @property
    def rate(self) -> float:
        """Requests that end per second."""
        total = sum(sum(tally.outcomes.values()) for tally in self._tallies)
        return total / (self.interval_s * max(1, len(self._tallies)))

    def work(self) -> Work:
        """What the workers did in the window."""
        total = Work()
        for tally in self._tallies:
            total.add(tally.work())
        return total

    def _times(self) -> Point:
        # Runs that are sorted already: sorting them together is merging them.
        ttft_ms = sorted(chain.from_iterable(tally.ttft_ms for tally in self._tallies))
        before, after = self._gaps[0], self._gaps[-1]
        gaps = [new - old for new, old in zip(after, before, strict=True)]
        point: Point = {}
        for share in SHARES:
            name = f"{share * 100:.0f}"
            point[f"ttft{name}"] = _rounded(of_values(ttft_ms, share))
            point[f"itl{name}"] = _rounded(of_buckets(TOKEN_BUCKETS_S, gaps, share), 1e3)
        return point

    def _counts(self) -> Point:
        seconds = self.interval_s * len(self._tallies)
        work = self.work()
        point: Point = {
            "hit": _rounded(work.hit_rate, digits=4),
            "predicted": _rounded(work.predicted_rate, digits=4),
        }
        for outcome in OUTCOMES:
            count = sum(tally.outcomes.get(outcome, 0) for tally in self._tallies)
            point[outcome] = round(count / seconds, 2)
        return point


def _sum(histograms: Iterable[Histogram]) -> list[int]:
    total = [0] * (len(TOKEN_BUCKETS_S) + 1)
    for histogram in histograms:
        if any(histogram.counts):
            total = [a + b for a, b in zip(total, histogram.counts, strict=True)]
    return total


def _rounded(value: float | None, times: float = 1.0, digits: int = 2) -> float | None:
    return None if value is None else round(value * times, digits)

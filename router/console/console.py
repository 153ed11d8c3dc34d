"""Follows what the router does, and tells those who watch it, as server-sent events."""

from collections import deque
from collections.abc import AsyncGenerator, Callable, Iterable, Mapping
from datetime import UTC, datetime
from time import perf_counter
from typing import Any, NamedTuple

import msgspec

from router.console.feed import COLUMNS, Feed, row
from router.console.history import History
from router.console.snapshot import Rows, changes, fleet_row, models_of
from router.console.tally import Recent
from router.console.viewers import Viewer, Viewers
from router.errors import RouterError
from router.fleet.fleet import Fleet
from router.fleet.worker import Worker
from router.telemetry.logs import RequestLine
from router.telemetry.metrics import Histogram
from router.telemetry.sharing import SharedSample

_MOST_LINES = 8192
"""Requests that end between two calls of `keep`; the oldest of more are not counted."""

_MOST_ROWS = 50
"""Requests shown of those that end between two calls of `keep`: nobody reads more."""

_LARGE_FLEET = 64
_ENCODER = msgspec.json.Encoder()

About = Mapping[str, str | float | bool | None]


class Sources(NamedTuple):
    """Where the console looks. `describe`: a worker as `/workers` has it; `gaps`: between tokens; `queue_depth`: how
    many requests wait; `shared`: how the shared Redis is, None where there is none; `stopping`: the router is.
    """

    fleet: Fleet
    describe: Callable[[Worker], Mapping[str, Any]]
    gaps: Callable[[], Iterable[Histogram]]
    queue_depth: Callable[[], int]
    shared: Callable[[], SharedSample | None]
    stopping: Callable[[], bool]


class Console:
    """`take` is told each request that ended; `keep` is to be called every so often, and does the rest."""

    def __init__(
        self, sources: Sources, about: About, clock: Callable[[], float] | None = None
    ) -> None:
        """`about`: what a page is told of the router first; `clock`: Unix time."""
        self._lines: deque[RequestLine] = deque(maxlen=_MOST_LINES)
        self.take = self._lines.append
        self._sources = sources
        self._clock = clock or _unix_time
        self._about = {**about, "started": round(self._clock())}
        self._feed = Feed()
        self._history = History()
        self._recent = Recent(step_s=10.0, steps=30)
        self._viewers = Viewers()
        self._rows: Rows = {}
        self._models: list[str] = []
        self._point_at = self._look_at = 0.0

    # -- following -----------------------------------------------------------------------------

    def keep(self, now: float) -> None:
        """Count what has ended since, and tell those who watch. `now`: `perf_counter()`."""
        lines = [*self._lines]
        self._lines.clear()
        if lines:
            self._history.add(lines)
            self._feed.add(lines)
        if now >= self._point_at:
            self._end_interval(now)
        if self._viewers:
            self._tell(lines, now)

    def _end_interval(self, now: float) -> None:
        self._point_at = now + self._history.interval_s
        sources = self._sources
        standing = {"inflight": self._inflight(), "queue": sources.queue_depth()}
        ended = self._history.end(self._clock(), sources.gaps(), standing)
        self._recent.add(ended.workers, now)
        if self._viewers:
            self._viewers.push(_event("points", {"full": False, **self._history.columns(1)}))

    def _tell(self, lines: list[RequestLine], now: float) -> None:
        if self._sources.stopping():
            self._viewers.push(_event("bye", {}))
            self._viewers.end()
            return
        if lines:
            rows = [row(line) for line in lines[-_MOST_ROWS:]]
            skipped = len(lines) - len(rows)
            self._viewers.push(_event("requests", {"rows": rows, "skipped": skipped}))
        if now >= self._look_at:
            self._viewers.push(self._news(now))

    def _news(self, now: float) -> bytes:
        """The fleet, as far as it is not what it was."""
        before, models = self._rows, self._models
        self._look(now)
        changed, removed = changes(before, self._rows)
        news = {"full": False, "rows": changed, "removed": removed, **self._totals()}
        if models != self._models:
            news["models"] = self._models
        return _event("fleet", news)

    def _look(self, now: float) -> None:
        sources = self._sources
        self._look_at = now + (1.0 if len(sources.fleet) <= _LARGE_FLEET else 2.0)
        self._rows = {
            worker.id: fleet_row(sources.describe(worker), self._recent) for worker in sources.fleet
        }
        self._models = models_of(self._rows.values())

    # -- watching ------------------------------------------------------------------------------

    def join(self) -> Viewer:
        """Somebody wants to watch: `watch` has the events. Raises `RouterError`, 503, when that is not to be had."""
        if self._sources.stopping():
            raise RouterError(503, "router_stopping", "This router is being stopped.")
        if not self._viewers:
            self._look(perf_counter())
        return self._viewers.join()

    def leave(self, viewer: Viewer) -> None:
        """It watches no longer."""
        self._viewers.leave(viewer)

    async def watch(self, viewer: Viewer) -> AsyncGenerator[bytes, None]:
        """Everything, and then what changes, as server-sent events; until the router stops."""
        viewer.drop()  # what it was told before this is part of everything
        yield self._everything()
        over = False
        while not over:
            events = await viewer.wait()
            over = viewer.over
            if events is None and not over:
                events = self._everything()
            if events:
                yield events

    def details(self, worker: str) -> Mapping[str, Any] | None:
        """All that is known of a worker; None: there is none of this id."""
        known = self._sources.fleet.get(worker)
        return None if known is None else self._sources.describe(known)

    @property
    def watched_by(self) -> int:
        """How many watch."""
        return len(self._viewers)

    def _everything(self) -> bytes:
        fleet = {"full": True, "rows": [*self._rows.items()], "removed": [], "models": self._models}
        hello = {**self._about, "now": self._clock(), "request_columns": COLUMNS}
        requests = {"full": True, "rows": self._feed.rows(), "skipped": 0}
        return b"".join(
            (
                _event("hello", hello),
                _event("fleet", {**fleet, **self._totals()}),
                _event("points", {"full": True, **self._history.columns()}),
                _event("requests", requests),
            )
        )

    def _totals(self) -> dict[str, Any]:
        work = self._history.work()
        rows = [row for row in self._rows.values() if row["role"] != "fallback"]
        shared = self._sources.shared()
        return {
            "workers": len(rows),
            "up": sum(row["up"] for row in rows),
            "rate": round(self._history.rate, 1),
            "inflight": self._inflight(),
            "queue": self._sources.queue_depth(),
            "hit": work.hit_rate,
            "predicted": work.predicted_rate,
            "shared": None
            if shared is None
            else {"up": shared.up, "routers": shared.leaders + shared.followers},
        }

    def _inflight(self) -> int:
        return sum(worker.load.own for worker in self._sources.fleet)


def _event(name: str, data: Mapping[str, Any]) -> bytes:
    return b"event: %b\ndata: %b\n\n" % (name.encode("ascii"), _ENCODER.encode(data))


def _unix_time() -> float:
    return datetime.now(UTC).timestamp()

"""What requests that ended came to, in all and by worker."""

from collections import defaultdict, deque
from collections.abc import Iterable, Mapping

from router.telemetry.logs import RequestLine


class Work:
    """Requests of one worker and their tokens.

    `cached` of `counted` prompt tokens were found in its cache, as it said itself; `predicted` of `prompt` were
    expected there. Only requests whose answers told their usage count.
    """

    __slots__ = ("cached", "counted", "predicted", "prompt", "requests")

    def __init__(self) -> None:
        self.requests = self.prompt = self.predicted = self.counted = self.cached = 0

    def add(self, other: "Work", times: int = 1) -> None:
        """Count `other` as well, or (`times` -1) no longer."""
        self.requests += times * other.requests
        self.prompt += times * other.prompt
        self.predicted += times * other.predicted
        self.counted += times * other.counted
        self.cached += times * other.cached

    @property
    def hit_rate(self) -> float | None:
        """The share of prompt tokens that were cached; None: no answer told."""
        return self.cached / self.counted if self.counted else None

    @property
    def predicted_rate(self) -> float | None:
        """The share that was predicted; None: no answer told its prompt's length."""
        return self.predicted / self.prompt if self.prompt else None


class Tally:
    """Requests that ended in some interval. `outcomes`: how many, by outcome; `ttft_ms`: of streams."""

    __slots__ = ("outcomes", "ttft_ms", "workers")

    def __init__(self) -> None:
        self.outcomes: defaultdict[str, int] = defaultdict(int)
        self.ttft_ms: list[float] = []
        self.workers: defaultdict[str, Work] = defaultdict(Work)

    def add(self, lines: Iterable[RequestLine]) -> None:
        """Count these."""
        outcomes, ttft_ms, workers = self.outcomes, self.ttft_ms, self.workers
        for line in lines:
            outcomes[line.outcome] += 1
            if line.ttft_ms is not None:
                ttft_ms.append(line.ttft_ms)
            if line.worker is not None:
                _add(workers[line.worker], line)

    def work(self) -> Work:
        """That of all workers."""
        total = Work()
        for work in self.workers.values():
            total.add(work)
        return total


def _add(work: Work, line: RequestLine) -> None:
    work.requests += 1
    prompt = line.prompt_tokens
    if prompt:
        work.prompt += prompt
        work.predicted += line.predicted_cached_tokens or 0
        if line.cached_tokens is not None:
            work.counted += prompt
            work.cached += line.cached_tokens


class Recent:
    """What each worker did lately: `rate`, requests per second of the last `step_s`; `work`, of the last `steps` of
    them and the one that is not over.
    """

    def __init__(self, *, step_s: float, steps: int) -> None:
        self._step_s = step_s
        self._steps = steps
        self._past: deque[Mapping[str, Work]] = deque()
        self._sum: defaultdict[str, Work] = defaultdict(Work)
        self._now: defaultdict[str, Work] = defaultdict(Work)
        self._since: float | None = None

    def add(self, workers: Mapping[str, Work], now: float) -> None:
        """This came to an end since the last call; `now`: `perf_counter()`."""
        if self._since is None:
            self._since = now
        for worker, work in workers.items():
            self._now[worker].add(work)
            self._sum[worker].add(work)
        if now - self._since >= self._step_s:
            self._since = now
            self._past.append(self._now)
            self._now = defaultdict(Work)
            if len(self._past) > self._steps:
                self._forget(self._past.popleft())

    def _forget(self, old: Mapping[str, Work]) -> None:
        for worker, work in old.items():
            total = self._sum[worker]
            total.add(work, -1)
            if not total.requests:
                del self._sum[worker]

    def rate(self, worker: str) -> float | None:
        """Requests that ended there, per second; None: it is too early to tell."""
        if not self._past:
            return None
        work = self._past[-1].get(worker)
        return work.requests / self._step_s if work is not None else 0.0

    def work(self, worker: str) -> Work:
        """What it did."""
        return self._sum.get(worker, _NONE)


_NONE = Work()

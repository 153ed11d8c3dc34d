"""A worker that serves one model with continuous batching, in virtual time.

`scheduler` says what is in a step, `hardware.Hardware` how long the step takes. While requests only decode, the
durations of steps are an arithmetic series, so that any number of them is one calculation.
"""

from math import inf

from router.simulate.hardware import Hardware
from router.simulate.job import Job
from router.simulate.pool import Pool
from router.simulate.scheduler import Scheduler
from router.simulate.series import Series


class Engine:
    """One worker. Times are seconds of virtual time and must not run backwards from call to call.

    `speed` divides the duration of every step. With `record_changes`, `changes` says when which block was stored
    (True) or removed (False); the reader clears it.
    """

    def __init__(
        self,
        hardware: Hardware,
        block_tokens: int,
        *,
        speed: float = 1.0,
        record_changes: bool = False,
    ) -> None:
        self._base_s = hardware.base_s / speed
        self._weights_s = hardware.weights_s / speed
        self._token_s = hardware.token_s / speed
        self._kv_s = hardware.kv_s / speed
        self._attention_s = hardware.attention_s / speed
        self._pool = Pool(hardware.kv_tokens // block_tokens, record_changes=record_changes)
        self._scheduler = Scheduler(hardware, block_tokens, self._pool)
        self._reports: list[tuple[float, Job, bool]] = []
        self._end = inf  # of the step in progress
        self._series = Series(0, 0.0, 0.0, 0.0)
        self._series_of = 0  # requests that decode in it

    @property
    def waiting(self) -> int:
        """Requests that have not started, or were preempted."""
        return len(self._scheduler.waiting)

    @property
    def waiting_tokens(self) -> int:
        """Tokens that those have to compute before their next token comes, cached ones too."""
        return self._scheduler.waiting.tokens

    @property
    def running(self) -> int:
        """Requests in the batch."""
        return len(self._scheduler.running)

    @property
    def kv_usage(self) -> float:
        """The share of blocks that requests use (0 to 1)."""
        return 1 - self._pool.free / self._pool.capacity

    @property
    def changes(self) -> list[tuple[float, int, bool]]:
        """Blocks stored and removed since the reader last cleared this list."""
        return self._pool.changes

    @property
    def next_time(self) -> float:
        """When to call `advance` next if nothing is submitted or aborted before; inf when idle.

        No first token and no end comes earlier. It is the time of the next one, unless that depends on a step that
        is still to be scheduled: then it is the end of the last step that does not.
        """
        scheduler = self._scheduler
        if not scheduler.settled:
            return self._end
        step = scheduler.ends[0][0]
        if scheduler.growths and scheduler.growths[0][0] < step:
            ahead = (step - scheduler.steps) // scheduler.block_tokens + 1
            if scheduler.waiting or scheduler.decoding * ahead > self._pool.free:
                step = scheduler.growths[0][0]
        return self._series.end(step - 1)

    def submit(self, job: Job, now: float) -> None:
        """`job` arrives. It is seen when the step in progress ends, at once if there is none.

        Raises ValueError if it would never fit.
        """
        tokens = job.prompt_tokens + job.output_tokens
        if tokens > self._pool.capacity * self._scheduler.block_tokens:
            raise ValueError(f"{tokens} tokens do not fit into {self._pool.capacity} blocks")
        self._run(now)
        job.reset(now)
        self._scheduler.add(job)
        if self._end == inf:
            self._begin(now)

    def abort(self, job: Job, now: float) -> None:
        """The client left: `job` is dropped when the step in progress ends. Nothing if it is not here."""
        self._run(now)
        self._scheduler.remove(job)

    def crash(self, now: float) -> list[Job]:
        """Everything is lost, the cache and unread changes too. Returns the jobs that were here."""
        self._run(now)
        jobs = list(self._scheduler.jobs)
        self._scheduler.clear()
        self._end = inf
        return jobs

    def advance(self, until: float) -> list[tuple[float, Job, bool]]:
        """Run all steps that end by `until`. Returns what they gave, in order: time, job, and True for a first
        token or False for an end.
        """
        self._run(until)
        reports, self._reports = self._reports, []
        return reports

    def _run(self, until: float) -> None:
        while self._end <= until and self._end < inf:
            if not (self._scheduler.settled and self._skip(until)):
                self._finish()
                self._begin(self._end)

    def _skip(self, until: float) -> bool:
        """Go to the last step that begins by `until` or before the first that is not like this one.

        False if that is this one.
        """
        scheduler, series = self._scheduler, self._series
        step = scheduler.ends[0][0] - 1
        if scheduler.growths and scheduler.growths[0][0] <= step:
            step = scheduler.growths[0][0] - 1
        if step == scheduler.steps:
            return False
        if series.end(step - 1) > until:
            step = series.at(until)
        scheduler.skip(step - scheduler.steps)
        self._end = series.end(step)
        return True

    def _finish(self) -> None:
        """The step in progress ends."""
        now, report = self._end, self._reports.append
        for job, first in self._scheduler.complete():
            if first:
                job.first_at = now
            else:
                job.ended_at = now
            report((now, job, first))

    def _begin(self, now: float) -> None:
        """The next step is scheduled and starts, if there is anything to do."""
        scheduler = self._scheduler
        self._pool.now = now
        tokens = scheduler.schedule()
        if not tokens:
            self._end = inf
            return
        seconds = (
            self._base_s
            + max(self._weights_s, tokens * self._token_s)
            + scheduler.read * self._kv_s
            + scheduler.attended * self._attention_s
        )
        if tokens > scheduler.decoding:
            self._series_of = 0
            self._end = now + seconds
            return
        # Requests join only after steps with a prompt: as many as before are the same as before.
        if scheduler.decoding != self._series_of:
            self._series_of = scheduler.decoding
            self._series = Series(scheduler.steps, now, seconds, tokens * self._kv_s)
        self._end = self._series.end(scheduler.steps)

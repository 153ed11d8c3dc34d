"""Slices of the loop, timed."""

from time import thread_time

from router.events.ingest import Ingest


class TimedIngest(Ingest):
    """Knows the most CPU that a slice took: wall time has the other processes' turns in it."""

    longest_cpu_s = 0.0

    def slice(self) -> bool:
        started = thread_time()
        more = super().slice()
        self.longest_cpu_s = max(self.longest_cpu_s, thread_time() - started)
        return more

"""Counts of several sources together."""

from router.events.counters import Counters, together


def test_counts_are_added_and_the_longest_lag_is_taken() -> None:
    parts = [Counters(batches=2, gaps=1, lag_s=0.5), Counters(batches=3, lag_s=0.25), Counters()]
    assert together(parts) == Counters(batches=5, gaps=1, lag_s=0.5)
    assert together([]) == Counters()

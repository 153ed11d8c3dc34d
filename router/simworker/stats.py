"""Counters and histograms of one engine."""

from bisect import bisect_left
from dataclasses import dataclass, field

from router.simworker.sequence import Sequence

TTFT_BUCKETS = (
    0.001, 0.005, 0.01, 0.02, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
    160.0, 640.0, 2560.0,
)  # fmt: skip
ITL_BUCKETS = (
    0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.4, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0, 20.0, 40.0, 80.0,
)  # fmt: skip
LATENCY_BUCKETS = (
    0.3, 0.5, 0.8, 1.0, 1.5, 2.0, 2.5, 5.0, 10.0, 15.0, 20.0, 30.0, 40.0, 50.0, 60.0, 120.0, 240.0, 480.0, 960.0,
    1920.0, 7680.0,
)  # fmt: skip
TOKEN_BUCKETS = (
    1.0,
    2.0,
    5.0,
    10.0,
    20.0,
    50.0,
    100.0,
    200.0,
    500.0,
    1000.0,
    2000.0,
    5000.0,
    10000.0,
    20000.0,
    50000.0,
)
FINISH_REASONS = ("stop", "length", "abort", "error", "repetition")


class Histogram:
    """Counts per bucket (the last one is +Inf) and the sum of what was observed."""

    def __init__(self, bounds: tuple[float, ...]) -> None:
        self.bounds = bounds
        self.counts = [0] * (len(bounds) + 1)
        self.sum = 0.0

    def observe(self, value: float) -> None:
        """Count a value."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.sum += value


@dataclass(slots=True)
class Stats:
    """Everything that vLLM would count; tokens unless the name says otherwise."""

    queries: int = 0
    hits: int = 0
    prompt_tokens: int = 0
    generated_tokens: int = 0
    preemptions: int = 0
    rejected_requests: int = 0
    finished: dict[str, int] = field(default_factory=lambda: dict.fromkeys(FINISH_REASONS, 0))
    ttft: Histogram = field(default_factory=lambda: Histogram(TTFT_BUCKETS))
    itl: Histogram = field(default_factory=lambda: Histogram(ITL_BUCKETS))
    e2e: Histogram = field(default_factory=lambda: Histogram(LATENCY_BUCKETS))
    queue_time: Histogram = field(default_factory=lambda: Histogram(LATENCY_BUCKETS))
    prefill_time: Histogram = field(default_factory=lambda: Histogram(LATENCY_BUCKETS))
    decode_time: Histogram = field(default_factory=lambda: Histogram(LATENCY_BUCKETS))
    prompt_lengths: Histogram = field(default_factory=lambda: Histogram(TOKEN_BUCKETS))
    output_lengths: Histogram = field(default_factory=lambda: Histogram(TOKEN_BUCKETS))

    def admitted(self, sequence: Sequence, now: float) -> None:
        """A sequence left the queue; only its first time counts."""
        if sequence.scheduled_at is not None:
            return
        sequence.scheduled_at = now
        self.queries += sequence.prompt_tokens
        self.hits += sequence.cached_tokens or 0
        self.queue_time.observe(now - sequence.arrived_at)

    def sampled(self, sequence: Sequence, now: float) -> None:
        """A sequence has a token more."""
        self.generated_tokens += 1
        if sequence.last_token_at is None:
            sequence.first_token_at = now
            self.prompt_tokens += sequence.prompt_tokens
            self.ttft.observe(now - sequence.arrived_at)
            self.prefill_time.observe(now - (sequence.scheduled_at or now))
        else:
            self.itl.observe(now - sequence.last_token_at)
        sequence.last_token_at = now

    def ended(self, sequence: Sequence, finish_reason: str, now: float) -> None:
        """A sequence has all its tokens."""
        self.finished[finish_reason] += 1
        self.e2e.observe(now - sequence.arrived_at)
        self.decode_time.observe(now - (sequence.first_token_at or now))
        self.prompt_lengths.observe(sequence.prompt_tokens)
        self.output_lengths.observe(sequence.generated)

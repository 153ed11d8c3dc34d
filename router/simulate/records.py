"""What a run gave, call by call, and the figures that are made of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from router.simulate.hardware import Hardware


@dataclass(slots=True)
class Record:
    """One answered call, as the client saw it; seconds. `tpot_s`: per token after the first."""

    arrived_at: float
    tenant: str
    worker: int
    prompt_tokens: int
    cached_tokens: int
    ttft_s: float
    tpot_s: float
    duration_s: float
    queued_s: float


@dataclass(slots=True)
class Result:
    """One run: a policy on a workload at a load."""

    policy: str
    workload: str
    load: float
    hardware: Hardware
    records: list[Record] = field(default_factory=list)
    dropped: int = 0
    seconds: float = 0.0
    """How long the run took, in CPU seconds of this machine."""

    def ttfts(self) -> list[float]:
        """Times to first token, ascending."""
        return sorted(record.ttft_s for record in self.records)

    @property
    def mean_ttft(self) -> float:
        """Seconds."""
        return mean([record.ttft_s for record in self.records])

    @property
    def p99_ttft(self) -> float:
        """Seconds."""
        return quantile(self.ttfts(), 0.99)

    @property
    def mean_tpot(self) -> float:
        """Seconds per token."""
        return mean([record.tpot_s for record in self.records])

    @property
    def mean_duration(self) -> float:
        """Seconds from arrival to the last token."""
        return mean([record.duration_s for record in self.records])

    @property
    def hit_rate(self) -> float:
        """Share of prompt tokens that were cached."""
        total = sum(record.prompt_tokens for record in self.records)
        return sum(record.cached_tokens for record in self.records) / total if total else 0.0

    @property
    def goodput(self) -> float:
        """Share of calls within the objectives for first token and time per token."""
        ttft, itl = self.hardware.slo_ttft_s, self.hardware.slo_itl_s
        good = sum(record.ttft_s <= ttft and record.tpot_s <= itl for record in self.records)
        return good / len(self.records) if self.records else 0.0


def mean(values: Sequence[float]) -> float:
    """Arithmetic mean; 0 for none."""
    return sum(values) / len(values) if values else 0.0


def quantile(ascending: Sequence[float], share: float) -> float:
    """The value below which `share` of them lie (nearest rank); 0 for none."""
    if not ascending:
        return 0.0
    return ascending[min(len(ascending) - 1, int(share * len(ascending)))]

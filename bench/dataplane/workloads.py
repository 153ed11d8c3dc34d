"""The loads that every router is put under, and what a run of each must reach to count."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

ITL_S = 0.020  # time between the events of a stream
MIN_PACE = 0.97  # part of the offered events below which a streamed run is saturated
MAX_ERRORS = 0.01


@dataclass(frozen=True, slots=True)
class Workload:
    """Closed loop; `warmup_s` contains `ramp_s`, over which the connections are opened.

    With a `rate_per_s` that all routers can keep up with they meet the same load: a slow router that is driven
    as fast as it goes finds its workers asleep, and pays for waking them.
    """

    title: str
    unit: Literal["request", "chunk"]
    connections: int
    prompt_bytes: int
    tokens: int = 16
    ramp_s: float = 0
    warmup_s: float = 1
    rate_per_s: int | None = None

    @property
    def offered_per_s(self) -> float | None:
        """Events per second that the workers offer; None when nothing is paced."""
        return self.connections / ITL_S if self.unit == "chunk" else None

    def flags(self) -> list[str]:
        """The load generator's flags."""
        flags = (
            f"--connections {self.connections} --prompt-bytes {self.prompt_bytes} --tokens {self.tokens}"
            f" --ramp {self.ramp_s} --warmup {self.warmup_s}"
        )
        if self.rate_per_s:
            flags += f" --rate {self.rate_per_s}"
        return flags.split() + (["--stream"] if self.unit == "chunk" else [])


WORKLOADS: dict[str, Workload] = {
    "r1k": Workload("1 KB request", "request", 16, 1024),
    "p1k": Workload(
        "1 KB request, 3,000/s", "request", 64, 1024, ramp_s=0.3, warmup_s=1.5, rate_per_s=3000
    ),
    "r100k": Workload("100 KB request", "request", 8, 100_000),
    "s100": Workload("chunk, 100 streams", "chunk", 100, 1024, 128, ramp_s=2.5, warmup_s=3),
    "s500": Workload("chunk, 500 streams", "chunk", 500, 1024, 128, ramp_s=2.5, warmup_s=3.5),
}

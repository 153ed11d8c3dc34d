"""What is asked of a fleet (pure)."""

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Workload:
    """Requests, alike. `shared` is the share of a prompt that earlier requests had too; `prefixes`: how many such beginnings there are."""

    context: int
    """Tokens of a prompt."""
    output: int
    """Tokens of an answer."""
    concurrency: int
    """Requests in progress, over all workers."""
    rate: float | None
    """Requests/s, over all workers."""
    shared: float
    prefixes: int
    ttft_s: float
    tpot_s: float

    @property
    def tokens(self) -> int:
        """Of a request at its end."""
        return self.context + self.output

    @property
    def prefix_tokens(self) -> int:
        """Of a prompt's shared beginning, in whole blocks of 16."""
        return int(self.context * self.shared) // 16 * 16

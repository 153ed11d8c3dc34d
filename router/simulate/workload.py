"""What a simulated fleet is asked to do: sessions of calls with lengths and block ids, no text (pure)."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Call:
    """One request. An id stands for everything up to the end of its block: equal ids, equal prefixes.

    `blocks` are the full blocks of the prompt. `answer_blocks` are those that fill up as the answer grows,
    beginning with the block in which the prompt ends; nobody shares the ones that have no id.
    """

    prompt_tokens: int
    output_tokens: int
    blocks: list[int]
    answer_blocks: list[int]


@dataclass(frozen=True, slots=True)
class Step:
    """Calls that are sent at once, `think_s` after the last answer of the step before (0 for the first)."""

    calls: tuple[Call, ...]
    think_s: float


@dataclass(frozen=True, slots=True)
class Session:
    """Steps that wait for each other.

    `name` is what a client would send as its session id, "" for none. Several may carry the same one:
    parallel lanes of a session, or requests of an open trace that continue each other.
    `start_s` counts from the start of the run at speed 1; at speed s it is divided by s, think times are not.
    """

    name: str
    tenant: str
    start_s: float
    steps: Sequence[Step]


@dataclass(frozen=True, slots=True)
class Workload:
    """Sessions in the order in which they start, for a fleet of `workers` unless told otherwise.

    A workload without feedback (open loop) has sessions of one step with one call.
    """

    name: str
    block_tokens: int
    workers: int
    sessions: list[Session]

    def calls(self) -> Iterator[Call]:
        """Every call, session after session."""
        for session in self.sessions:
            for step in session.steps:
                yield from step.calls


def upper_bound_hit(workload: Workload) -> float:
    """The share of prompt tokens that one cache for the whole fleet, never full, would find (0 to 1).

    Sessions are taken one after the other, in the order in which they start. Answers are cached too. As in the
    engines, the last token of a prompt is always computed, and with it its block.
    """
    seen: set[int] = set()
    found = prompt_tokens = 0
    for call in workload.calls():
        usable = (call.prompt_tokens - 1) // workload.block_tokens
        found += next(
            (n for n, block in enumerate(call.blocks[:usable]) if block not in seen), usable
        )
        prompt_tokens += call.prompt_tokens
        seen.update(call.blocks)
        seen.update(call.answer_blocks)
    return found * workload.block_tokens / prompt_tokens if prompt_tokens else 0.0

"""vLLM V1's scheduler: one token budget per step, running sequences first, chunked prefill (pure)."""

from collections import deque
from dataclasses import dataclass, field
from typing import Protocol

from router.simworker.cache import BlockPool
from router.simworker.hashing import extend_chain
from router.simworker.sequence import Sequence, State


class StoreLog(Protocol):
    """Who is told what enters the cache."""

    def stored(self, sequence: Sequence, first: int, last: int) -> None:
        """Blocks `first` to `last` (exclusive) of a sequence are findable."""


@dataclass(slots=True)
class Step:
    """Sequences of one forward pass with the number of tokens computed for each."""

    entries: list[tuple[Sequence, int]] = field(default_factory=list)
    preempted: list[Sequence] = field(default_factory=list)
    admitted: list[Sequence] = field(default_factory=list)

    @property
    def tokens(self) -> int:
        """Tokens in the pass."""
        return sum(count for _, count in self.entries)

    @property
    def prefill_tokens(self) -> int:
        """Tokens of sequences that are not just decoding their next token."""
        return sum(count for sequence, count in self.entries if count > 1 or not sequence.generated)


@dataclass(frozen=True, slots=True)
class Sampled:
    """Outcome of a step for one sequence."""

    sequence: Sequence
    token: int | None
    finish_reason: str | None


class Scheduler:
    """Decides each step's contents. Blocks are published when scheduled, so batch-mates share them."""

    def __init__(
        self,
        pool: BlockPool,
        *,
        max_num_seqs: int,
        max_num_batched_tokens: int,
        log: StoreLog | None = None,
    ) -> None:
        self.pool = pool
        self.running: list[Sequence] = []
        self.waiting: deque[Sequence] = deque()
        self._max_num_seqs = max_num_seqs
        self._budget = max_num_batched_tokens
        self._log = log

    def __repr__(self) -> str:
        return f"<Scheduler {len(self.running)} running, {len(self.waiting)} waiting>"

    def add(self, sequence: Sequence) -> None:
        """Queue a sequence."""
        extend_chain(sequence.hashes, sequence.tokens, self.pool.block_size, sequence.key)
        self.waiting.append(sequence)

    def abort(self, sequence: Sequence) -> bool:
        """Drop a sequence and free its blocks; False if it had ended."""
        if sequence.state is State.DONE:
            return False
        if sequence.state is State.RUNNING:
            self.running.remove(sequence)
        else:
            self.waiting.remove(sequence)
        self._end(sequence)
        return True

    def schedule(self) -> Step:
        """The next step."""
        step = Step()
        budget = self._schedule_running(step)
        if not step.preempted:
            self._schedule_waiting(step, budget)
        return step

    def complete(self, step: Step) -> list[Sampled]:
        """What the step sampled; sequences aborted meanwhile are left out."""
        outcome = []
        for sequence, count in step.entries:
            if sequence.state is not State.RUNNING:
                continue
            sequence.computed += count
            if sequence.computed == len(sequence.tokens):
                outcome.append(self._sample(sequence))
        return outcome

    def _sample(self, sequence: Sequence) -> Sampled:
        token = None
        if sequence.limit:
            token = sequence.next_token()
            sequence.tokens.append(token)
        finish_reason = None
        if sequence.generated >= sequence.limit:
            finish_reason = sequence.final_reason
            self.running.remove(sequence)
            self._end(sequence)
        return Sampled(sequence, token, finish_reason)

    def _schedule_running(self, step: Step) -> int:
        budget = self._budget
        for sequence in tuple(self.running):
            if sequence.state is not State.RUNNING:
                continue
            count = min(len(sequence.tokens) - sequence.computed, budget)
            if count and self._make_room(sequence, count, step):
                self._extend(sequence, count)
                step.entries.append((sequence, count))
                budget -= count
        return budget

    def _make_room(self, sequence: Sequence, count: int, step: Step) -> bool:
        """Preempt the newest until `sequence` can grow; False if it had to go itself."""
        while self._missing(sequence, count) > self.pool.free:
            victim = self.running.pop()
            self._preempt(victim)
            step.preempted.append(victim)
            if victim is sequence:
                return False
        return True

    def _schedule_waiting(self, step: Step, budget: int) -> None:
        while self.waiting and budget and len(self.running) < self._max_num_seqs:
            sequence = self.waiting[0]
            if not self._admit(sequence):
                break
            self.waiting.popleft()
            self.running.append(sequence)
            sequence.state = State.RUNNING
            count = min(len(sequence.tokens) - sequence.computed, budget)
            self._extend(sequence, count)
            step.entries.append((sequence, count))
            step.admitted.append(sequence)
            budget -= count

    def _admit(self, sequence: Sequence) -> bool:
        """Take over cached blocks if the pool can hold all of the rest."""
        size = self.pool.block_size
        # At least one token is left to compute: its logits give the first output token.
        hits = self.pool.match(sequence.hashes[: (len(sequence.tokens) - 1) // size])
        needed = -(-len(sequence.tokens) // size) - len(hits)
        if needed > self.pool.free - self.pool.idle(hits):
            return False
        self.pool.share(hits)
        sequence.blocks = hits
        sequence.published = len(hits)
        sequence.computed = len(hits) * size
        if sequence.cached_tokens is None:
            sequence.cached_tokens = sequence.computed
        return True

    def _missing(self, sequence: Sequence, count: int) -> int:
        needed = -(-(sequence.computed + count) // self.pool.block_size)
        return max(0, needed - len(sequence.blocks))

    def _extend(self, sequence: Sequence, count: int) -> None:
        """Give the sequence blocks for `count` more tokens and publish the ones they complete."""
        sequence.blocks += self.pool.take(self._missing(sequence, count))
        size = self.pool.block_size
        extend_chain(sequence.hashes, sequence.tokens, size, sequence.key)
        first, last = sequence.published, (sequence.computed + count) // size
        if last <= first:
            return
        for index in range(first, last):
            self.pool.publish(sequence.blocks[index], sequence.hashes[index])
        sequence.published = last
        if self._log:
            self._log.stored(sequence, first, last)

    def _preempt(self, sequence: Sequence) -> None:
        self._release(sequence)
        sequence.state = State.WAITING
        sequence.computed = 0
        sequence.preemptions += 1
        self.waiting.appendleft(sequence)

    def _end(self, sequence: Sequence) -> None:
        self._release(sequence)
        sequence.state = State.DONE

    def _release(self, sequence: Sequence) -> None:
        self.pool.release(sequence.blocks[::-1])  # tails are evicted before what they hang on
        sequence.blocks = []
        sequence.published = 0

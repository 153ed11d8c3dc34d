"""Which requests of a simulated worker compute how many tokens in a step; counts steps, knows no durations.

The rules are those of vLLM V1 (0.32): running requests first, then waiting ones while tokens are left; prompts in
parts; a request starts only if the whole of it fits; when a running one needs a block and none is free, the newest
is preempted and computed again later. A block can be found from the moment in which the step that fills it is
scheduled.

Of the running requests only the last can have a part of its prompt left, because none is admitted after one that
took all tokens of a step. The others gain one token per step and are not touched: how far they are follows from
the number of steps done, and two heaps say in which step one of them ends or fills or needs a block.
"""

from heapq import heapify, heappop, heappush

from router.simulate.hardware import Hardware
from router.simulate.job import Job
from router.simulate.pool import Pool
from router.simulate.sequence import Sequence
from router.simulate.waiting import Waiting

_Events = list[tuple[int, int, Sequence]]
"""A heap: steps done, the sequence's place in the batch, the sequence."""


class Scheduler:
    """The queue and the batch of one worker. A step is `schedule`, then `complete`; `skip` does many at once."""

    def __init__(self, hardware: Hardware, block_tokens: int, pool: Pool) -> None:
        self.block_tokens = block_tokens
        self.pool = pool
        self._budget = hardware.budget
        self._max_seqs = hardware.max_seqs
        self.clear()

    def clear(self) -> None:
        """Nothing is left, in the pool neither."""
        self.pool.clear()
        self.jobs: dict[Job, Sequence] = {}
        self.waiting = Waiting(self.pool, self.block_tokens)
        self.running: dict[int, Sequence] = {}
        """By place, oldest first."""
        self.steps = 0
        """Steps completed."""
        self.decoding = 0
        """Running requests whose prompts are computed."""
        self.context = 0
        """Tokens that those have computed."""
        self.ends: _Events = []
        """Decoding requests, by the number of steps after which they end."""
        self.growths: _Events = []
        """Decoding requests, by the number of steps after which the next fills or needs a block."""
        self.read = 0
        """Tokens of KV that the step's single tokens read."""
        self.attended = 0.0
        """Sum of n * (computed + n / 2) over the step's parts of more than one token."""
        self.settled = False
        """The next step is like this one until `ends`, `growths` or a call from outside say otherwise."""
        self._prefilled: list[Sequence] = []  # this step completes their prompts
        self._partial: Sequence | None = None
        self._leaving: list[Sequence] = []
        self._preempted = False  # in this step
        self._admitted = 0

    # -- from outside --------------------------------------------------------------------------

    def add(self, job: Job) -> None:
        """`job` joins the queue."""
        sequence = self.jobs[job] = Sequence(job)
        if not self.waiting:
            self.settled = False
        self.waiting.append(sequence)

    def remove(self, job: Job) -> None:
        """`job` leaves the queue now, or the batch when the step is complete; nothing if it is not here."""
        sequence = self.jobs.pop(job, None)
        if sequence is None:
            return
        self.settled = False
        if sequence.order:
            self._leaving.append(sequence)
        else:
            self.waiting.remove(sequence)

    # -- a step --------------------------------------------------------------------------------

    def schedule(self) -> int:
        """Fill the next step; returns its tokens, 0 if there is nothing to do."""
        self._preempted = False
        growths = self.growths
        while growths and growths[0][0] == self.steps:
            self._grow(heappop(growths)[2])
        self.read = self.context
        self.attended = 0.0
        left = self._budget - self.decoding
        if self._partial is not None:
            left -= self._continue(self._partial, left)
        if not self._preempted:
            left = self._admit(left)
        tokens = self._budget - left
        self.settled = 0 < tokens == self.decoding and not (
            self.waiting and (self._preempted or not left)
        )
        return tokens

    def complete(self) -> list[tuple[Job, bool]]:
        """The step is over: first tokens (True) and ends (False), in the order of the batch."""
        self.steps += 1
        self.context += self.decoding
        if self._leaving:
            self._let_go()
        events: list[tuple[Job, bool]] = []
        ends, steps = self.ends, self.steps
        while ends and ends[0][0] == steps:
            self._end(heappop(ends)[2], events)
        for sequence in self._prefilled:
            self._answer(sequence, events)
        self._prefilled.clear()
        return events

    def skip(self, steps: int) -> None:
        """The step in progress and others like it are over, `steps` in all."""
        self.steps += steps
        self.context += steps * self.decoding

    # -- the batch -----------------------------------------------------------------------------

    def _grow(self, sequence: Sequence) -> None:
        """The token that `sequence` computes in this step is the first or the last of a block."""
        pool, size = self.pool, self.block_tokens
        computed = sequence.length + self.steps - sequence.since
        if computed % size == 0:
            while not pool.free:
                if self._preempt() is sequence:
                    return
            pool.take(1)
        computed += 1
        if computed % size == 0:
            number = computed // size - 1
            self._publish(sequence, number, number + 1)
        self._foresee(sequence, computed)

    def _foresee(self, sequence: Sequence, computed: int) -> None:
        """Note when `sequence`, having computed so much, will grow next."""
        growth = sequence.next_growth(computed, self.block_tokens)
        if growth >= 0:
            steps = sequence.since + growth - sequence.length
            heappush(self.growths, (steps, sequence.order, sequence))

    def _continue(self, sequence: Sequence, left: int) -> int:
        """The next part of a prompt in progress; returns its tokens, 0 if it had to be preempted."""
        tokens = min(sequence.length - sequence.computed, left)
        after = sequence.computed + tokens
        if self._blocks(after) - self._blocks(sequence.computed) > self.pool.free:
            self._preempt()  # it is the newest
            return 0
        self._prefill(sequence, tokens)
        return tokens

    def _admit(self, left: int) -> int:
        """Waiting requests join while they fit and tokens are left; returns the tokens still left."""
        while left and len(self.running) < self._max_seqs:
            sequence = self.waiting.pop()
            if sequence is None:
                break
            self._admitted += 1
            sequence.order = self._admitted
            self.running[self._admitted] = sequence
            tokens = min(sequence.length - sequence.computed, left)
            self._prefill(sequence, tokens)
            left -= tokens
        return left

    def _prefill(self, sequence: Sequence, tokens: int) -> None:
        """`sequence` computes `tokens` of its prompt in this step."""
        size = self.block_tokens
        before = sequence.computed
        sequence.computed = after = before + tokens
        self.pool.take(self._blocks(after) - self._blocks(before))
        self._publish(sequence, before // size, after // size)
        if tokens == 1:
            self.read += before
        else:
            self.attended += tokens * (before + tokens / 2)
        if after == sequence.length:
            self._partial = None
            self._prefilled.append(sequence)
        else:
            self._partial = sequence

    def _publish(self, sequence: Sequence, first: int, last: int) -> None:
        """These of its blocks are full."""
        fresh = self.pool.publish(sequence.ids[first:last])
        sequence.held += fresh
        self.waiting.stored(fresh)

    def _answer(self, sequence: Sequence, events: list[tuple[Job, bool]]) -> None:
        """The prompt is computed: a token comes, the first one or the one after a preemption."""
        job = sequence.job
        sequence.generated += 1
        if sequence.generated == 1:
            events.append((job, True))
        left = job.output_tokens - sequence.generated
        if not left:
            self._end(sequence, events)
            return
        sequence.since = self.steps
        self.decoding += 1
        self.context += sequence.length
        heappush(self.ends, (self.steps + left, sequence.order, sequence))
        self._foresee(sequence, sequence.length)

    def _end(self, sequence: Sequence, events: list[tuple[Job, bool]]) -> None:
        self._drop(sequence)
        del self.jobs[sequence.job]
        events.append((sequence.job, False))

    def _preempt(self) -> Sequence:
        """The newest gives up its blocks and waits, before all others, to be computed again."""
        sequence = self.running[next(reversed(self.running))]
        self._drop(sequence)
        self._forget(sequence)
        sequence.length = sequence.job.prompt_tokens + sequence.generated
        sequence.job.preemptions += 1
        self.waiting.push(sequence)
        self._preempted = True
        return sequence

    def _let_go(self) -> None:
        """Those whose clients left while the step was in progress."""
        for sequence in self._leaving:
            self._drop(sequence)
            self._forget(sequence)
        self._leaving.clear()
        self._prefilled = [sequence for sequence in self._prefilled if sequence.order]

    def _drop(self, sequence: Sequence) -> None:
        """`sequence` leaves the batch and gives all its blocks back."""
        if sequence.since >= 0:
            decoded = self.steps - sequence.since
            sequence.since = -1
            sequence.computed += decoded
            sequence.generated += decoded
            self.decoding -= 1
            self.context -= sequence.computed
        elif sequence is self._partial:
            self._partial = None
        del self.running[sequence.order]
        sequence.order = 0
        held, sequence.held = sequence.held, []
        self.pool.release(held, self._blocks(sequence.computed) - len(held))

    def _forget(self, sequence: Sequence) -> None:
        """No step is waited for any more."""
        for events in (self.ends, self.growths):
            events[:] = [event for event in events if event[2] is not sequence]
            heapify(events)

    def _blocks(self, tokens: int) -> int:
        return -(-tokens // self.block_tokens)

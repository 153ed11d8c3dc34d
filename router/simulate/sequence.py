"""How far a simulated worker is with a job."""

from router.simulate.job import Job


class Sequence:
    """A job at its worker. While it decodes nothing here changes: the scheduler counts steps."""

    __slots__ = ("computed", "generated", "held", "ids", "job", "length", "order", "since")

    def __init__(self, job: Job) -> None:
        self.job = job
        self.ids = job.blocks + job.answer_blocks
        self.length = job.prompt_tokens
        """What has to be computed before its next token comes; while it decodes: before it began to."""
        self.computed = 0
        """Tokens whose KV is there, or was when it was preempted; while it decodes: when it began to."""
        self.generated = 0
        """Tokens answered; while it decodes: when it began to, the one that came then included."""
        self.held: list[int] = []
        """Its blocks that others can find."""
        self.order = 0
        """Its place in the batch, 0 outside it."""
        self.since = -1
        """Steps that were done when it began to decode, -1 if it does not."""

    def next_growth(self, computed: int, block_tokens: int) -> int:
        """The number of tokens, `computed` or more, to which the next one needs a block or fills one that has an id.

        -1 if its answer ends before.
        """
        number, place = divmod(computed, block_tokens)
        if place:
            computed += block_tokens - place - (number < len(self.ids))
        last = self.length + self.job.output_tokens - self.generated
        return computed if computed < last else -1

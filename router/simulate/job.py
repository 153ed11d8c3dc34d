"""A request as a simulated worker sees it."""

import math


class Job:
    """What is asked for, to whom it belongs, and what became of it at the last worker that had it.

    Times are those at the worker, in seconds of virtual time; NaN until they are known.
    """

    __slots__ = (
        "answer_blocks",
        "arrived_at",
        "blocks",
        "cached_tokens",
        "ended_at",
        "first_at",
        "output_tokens",
        "preemptions",
        "prompt_tokens",
        "recomputed",
        "session",
        "step",
        "tenant",
    )

    def __init__(
        self,
        prompt_tokens: int,
        output_tokens: int,
        blocks: list[int],
        answer_blocks: list[int],
    ) -> None:
        """`blocks` are the ids of the prompt's full blocks, `answer_blocks` of those that the answer fills.

        The first of `answer_blocks` is the block in which the prompt ends and the answer begins. Blocks that
        have no id are shared with nobody. Raises ValueError if there is nothing to compute or to answer.
        """
        if prompt_tokens < 1 or output_tokens < 1:
            raise ValueError(f"a job needs tokens: {prompt_tokens} in, {output_tokens} out")
        self.prompt_tokens = prompt_tokens
        self.output_tokens = output_tokens
        self.blocks = blocks
        self.answer_blocks = answer_blocks
        self.session = ""
        self.tenant = ""
        self.step = 0
        self.reset(math.nan)

    def __repr__(self) -> str:
        return f"<Job {self.session}/{self.step} {self.prompt_tokens}+{self.output_tokens} tokens>"

    def reset(self, arrived_at: float) -> None:
        """It begins anew at a worker."""
        self.arrived_at = arrived_at
        self.cached_tokens = 0
        """Tokens of the prompt that the worker held when it first took the job up."""
        self.first_at = math.nan
        self.ended_at = math.nan
        self.preemptions = 0
        self.recomputed = 0
        """Tokens that were computed more than once, because preemptions dropped them."""

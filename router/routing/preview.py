"""What a policy would choose, asked without it taking note of that."""

from collections.abc import Callable, Sequence

from router.routing.policy import Choice, Policy, Question

_DRAWS_PER_CANDIDATE = 8
_MAX_DRAWS = 256
"""Asked so often, a policy that draws one of k equals shows each with 1 - e^-8, while there are at most 32."""


class Remembering:
    """A policy that keeps note of its own choices: `decide` makes one, `note` remembers it."""

    __slots__ = ("_note", "decide")

    def __init__(self, decide: Policy, note: Callable[[Question, Choice], None]) -> None:
        self.decide = decide
        self._note = note

    def __call__(self, question: Question) -> Choice:
        """Choose and remember."""
        choice = self.decide(question)
        self._note(question, choice)
        return choice


def possible(policy: Policy, question: Question) -> Sequence[Choice]:
    """Where `policy` would send a request now, a choice for each worker that it may draw."""
    decide = policy.decide if isinstance(policy, Remembering) else policy
    draws = min(_DRAWS_PER_CANDIDATE * len(question.candidates), _MAX_DRAWS)
    choices = (decide(question) for _ in range(draws))
    return tuple({choice.worker: choice for choice in choices}.values())

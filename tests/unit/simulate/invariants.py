"""What holds for every workload, wherever it comes from."""

from itertools import pairwise

from router.simulate.workload import Call, Session, Workload


def check(workload: Workload) -> None:
    """Order, lengths, and ids that stand for everything before them."""
    starts = [session.start_s for session in workload.sessions]
    assert starts == sorted(starts)
    assert all(start >= 0 for start in starts)
    for session in workload.sessions:
        assert session.steps
        assert session.steps[0].think_s == 0
        assert all(step.calls and step.think_s >= 0 for step in session.steps)
    for call in workload.calls():
        _check_lengths(call, workload.block_tokens)
    _check_prefixes(workload)


def _check_lengths(call: Call, block_tokens: int) -> None:
    assert call.prompt_tokens >= 1
    assert call.output_tokens >= 1
    assert len(call.blocks) == call.prompt_tokens // block_tokens
    most = (call.prompt_tokens + call.output_tokens) // block_tokens
    assert len(call.blocks) + len(call.answer_blocks) <= most


def _check_prefixes(workload: Workload) -> None:
    before: dict[int, int | None] = {}
    for call in workload.calls():
        last = None
        for block in call.blocks + call.answer_blocks:
            assert before.setdefault(block, last) == last
            last = block


def continued(session: Session) -> list[tuple[Call, Call]]:
    """The calls that were alone in their step, each with every call of the next step."""
    return [
        (step.calls[0], call)
        for step, following in pairwise(session.steps)
        if len(step.calls) == 1
        for call in following.calls
    ]


def goes_on(call: Call, following: Call) -> bool:
    """Whether the following prompt begins with this prompt and all of its answer that has ids."""
    known = call.blocks + call.answer_blocks
    return following.blocks[: len(known)] == known

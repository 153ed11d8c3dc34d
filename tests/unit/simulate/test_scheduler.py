"""Steps: who computes how much. `test_engine` has the comparison with the rules written down naively."""

from dataclasses import replace

from router.simulate.hardware import PRESETS
from router.simulate.job import Job
from router.simulate.pool import Pool
from router.simulate.scheduler import Scheduler

BLOCK = 4


def scheduler(budget: int = 100, max_seqs: int = 10, blocks: int = 100) -> Scheduler:
    hardware = replace(PRESETS["h100-8b"], budget=budget, max_seqs=max_seqs)
    return Scheduler(hardware, BLOCK, Pool(blocks))


def job(prompt: int, output: int = 2, first: int = 0) -> Job:
    """Its blocks have the ids `first`, `first` + 1, ..., those of the answer included."""
    full = (prompt + output) // BLOCK
    ids = [first + n for n in range(full)]
    return Job(prompt, output, ids[: prompt // BLOCK], ids[prompt // BLOCK :])


def run(some: Scheduler) -> list[int]:
    """Tokens of each step until nothing is left."""
    tokens = []
    while step := some.schedule():
        tokens.append(step)
        some.complete()
    return tokens


def test_a_prompt_is_computed_in_parts_of_the_budget() -> None:
    some = scheduler(budget=10)
    some.add(job(25, 3))
    assert run(some) == [10, 10, 5, 1, 1]


def test_running_requests_come_first_and_the_rest_is_for_others() -> None:
    some = scheduler(budget=10)
    some.add(job(4, 5))
    some.add(job(13, 2, first=100))
    # 4 + 6 of the second prompt, then 1 + 7 of it, then both decode.
    assert run(some) == [10, 8, 2, 1, 1]


def test_no_more_than_max_seqs_run() -> None:
    some = scheduler(max_seqs=2)
    for n in range(3):
        some.add(job(5, 2, first=100 * n))
    assert some.schedule() == 10
    assert (len(some.running), len(some.waiting)) == (2, 1)
    assert run_on(some) == [2, 5, 1]


def run_on(some: Scheduler) -> list[int]:
    some.complete()
    return run(some)


def test_what_a_step_costs_is_told_apart() -> None:
    """Single tokens read the KV before them; parts of a prompt attend to it and to half of themselves."""
    some = scheduler(budget=10)
    some.add(job(4, 5))
    some.add(job(13, 2, first=100))
    some.schedule()
    assert (some.read, some.attended) == (0, 4 * 2 + 6 * 3)
    some.complete()
    some.schedule()
    assert (some.read, some.attended) == (4, 7 * (6 + 3.5))
    some.complete()
    some.schedule()
    assert (some.read, some.attended) == (5 + 13, 0)


def test_a_last_part_of_one_token_is_a_single_token() -> None:
    some = scheduler(budget=10)
    some.add(job(11, 1))
    some.schedule()
    some.complete()
    assert some.schedule() == 1
    assert (some.read, some.attended) == (10, 0)


def test_those_admitted_in_one_step_share_what_the_first_computes() -> None:
    some = scheduler()
    first, second = job(13, 1), job(14, 1)
    some.add(first)
    some.add(second)
    assert some.schedule() == 13 + 2
    assert (first.cached_tokens, second.cached_tokens) == (0, 12)
    assert some.pool.free == 100 - 5


def test_an_answer_is_found_by_what_follows_it() -> None:
    some = scheduler()
    some.add(job(6, 7))
    run(some)
    following = job(20, 1)
    some.add(following)
    some.schedule()
    # 12 of 13 tokens were computed: the last one answered never is.
    assert following.cached_tokens == 12


def test_the_newest_is_preempted_and_computed_again() -> None:
    some = scheduler(blocks=6)
    old, new = job(10, 6), job(10, 6, first=100)
    some.add(old)
    some.add(new)
    # Both prompts, two tokens each; both then want a fourth block and there is none.
    assert [step(some) for _ in range(3)] == [20, 2, 2]
    assert step(some) == 1
    assert (old.preemptions, new.preemptions) == (0, 1)
    assert (len(some.running), len(some.waiting)) == (1, 1)
    assert some.waiting.tokens == 13
    # The old one alone until it ends. What the new one had is evicted from its tail: 1 of 3 blocks.
    assert [step(some) for _ in range(2)] == [1, 1]
    assert step(some) == 13 - 8
    assert new.recomputed == 12 - 8
    assert new.cached_tokens == 0
    assert run(some) == [1, 1]


def step(some: Scheduler) -> int:
    tokens = some.schedule()
    some.complete()
    return tokens


def test_one_that_needs_a_block_and_is_the_newest_preempts_itself() -> None:
    some = scheduler(blocks=6)
    some.add(job(9, 6))
    new = job(12, 6, first=100)
    some.add(new)
    assert [step(some) for _ in range(2)] == [21, 1]
    assert new.preemptions == 1


def test_nobody_is_admitted_in_a_step_that_preempts() -> None:
    """Two with the same text, the second with copies: without them it would fit at once."""
    some = scheduler(blocks=5)
    first, second = job(8, 8), job(8, 8)
    some.add(first)
    some.add(second)
    assert [step(some) for _ in range(5)] == [8 + 4, 2, 2, 2, 2]
    assert some.pool.free == 0
    assert step(some) == 1
    assert not some.settled
    assert step(some) == 2
    assert (second.preemptions, second.recomputed) == (1, 0)


def test_events_are_in_the_order_of_the_batch() -> None:
    some = scheduler()
    first, second, third = job(5, 2), job(5, 2, first=100), job(5, 1, first=200)
    some.add(first)
    some.add(second)
    some.schedule()
    assert some.complete() == [(first, True), (second, True)]
    some.add(third)
    some.schedule()
    assert some.complete() == [(first, False), (second, False), (third, True), (third, False)]
    assert not some.jobs
    assert some.pool.free == 100


def test_it_is_settled_while_only_counting_is_needed() -> None:
    some = scheduler(max_seqs=1)
    some.add(job(5, 9))
    some.schedule()
    assert not some.settled, "a prompt"
    some.complete()
    some.schedule()
    assert some.settled
    some.add(job(5, 9, first=100))
    assert not some.settled, "it might be admitted"
    step(some)
    some.schedule()
    assert some.settled, "it was not"


def test_one_that_left_gives_its_blocks_back_after_the_step() -> None:
    some = scheduler()
    staying, decoding = job(5, 4), job(9, 9, first=100)
    some.add(staying)
    some.add(decoding)
    step(some)
    partial, waiting = job(200, 9, first=200), job(3, 9, first=900)
    some.add(partial)
    some.add(waiting)
    some.schedule()
    for each in (decoding, partial, waiting, waiting):
        some.remove(each)
    assert (len(some.running), len(some.waiting)) == (3, 0)
    assert some.complete() == []
    assert len(some.running) == 1
    assert run(some) == [1, 1]
    assert some.pool.free == 100

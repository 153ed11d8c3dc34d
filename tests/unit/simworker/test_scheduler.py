"""Steps are those of vLLM V1: shared budget, running first, chunks, sharing, preemption."""

from hypothesis import given
from hypothesis import strategies as st

from router.simworker.cache import BlockPool
from router.simworker.hashing import ChainKey
from router.simworker.scheduler import Scheduler
from router.simworker.sequence import Outbox, Sequence, State


def sequence(tokens: list[int], limit: int = 1, salt: str | None = None) -> Sequence:
    return Sequence(list(tokens), limit, Outbox(), key=ChainKey(cache_salt=salt))


def scheduler(blocks: int = 100, budget: int = 64, seqs: int = 8) -> Scheduler:
    return Scheduler(BlockPool(blocks, 4), max_num_seqs=seqs, max_num_batched_tokens=budget)


def run(engine: Scheduler, steps: int = 1000) -> int:
    """Step until nothing is left; the number of steps."""
    for done in range(steps):
        step = engine.schedule()
        if not step.entries:
            return done
        engine.complete(step)
    raise AssertionError("does not end")


def counts(engine: Scheduler) -> list[int]:
    step = engine.schedule()
    engine.complete(step)
    return [count for _, count in step.entries]


def test_a_long_prompt_is_computed_in_chunks() -> None:
    engine = scheduler(budget=10)
    engine.add(sequence(list(range(25)), limit=2))
    assert [counts(engine) for _ in range(5)] == [[10], [10], [5], [1], []]


def test_running_sequences_come_before_waiting_ones() -> None:
    engine = scheduler(budget=10)
    engine.add(sequence([1, 2, 3], limit=5))
    assert counts(engine) == [3]
    engine.add(sequence(list(range(100, 120))))
    assert counts(engine) == [1, 9]


def test_batch_mates_share_the_blocks_of_one_prompt() -> None:
    engine = scheduler()
    mates = [sequence(list(range(16))) for _ in range(3)]
    for mate in mates:
        engine.add(mate)
    assert counts(engine) == [16, 4, 4]
    assert [mate.cached_tokens for mate in mates] == [0, 12, 12]


def test_a_full_hit_leaves_a_token_to_compute() -> None:
    engine = scheduler()
    for length, cached in ((16, 0), (16, 12), (17, 16), (15, 12)):
        probe = sequence(list(range(length)))
        engine.add(probe)
        run(engine)
        assert probe.cached_tokens == cached


def test_output_blocks_are_found_by_the_next_turn() -> None:
    engine = scheduler()
    first = sequence(list(range(6)), limit=7)
    engine.add(first)
    run(engine)
    follow_up = sequence([*first.tokens, 7, 7, 7, 7])
    engine.add(follow_up)
    run(engine)
    assert len(first.tokens) == 13
    assert follow_up.cached_tokens == 12


def test_the_block_that_the_last_token_fills_is_not_cached() -> None:
    engine = scheduler()
    first = sequence(list(range(6)), limit=2)
    engine.add(first)
    run(engine)
    probe = sequence([*first.tokens, 1])
    engine.add(probe)
    run(engine)
    assert probe.cached_tokens == 4


def test_salts_do_not_share() -> None:
    engine = scheduler()
    for salt in ("a", "b"):
        probe = sequence(list(range(9)), salt=salt)
        engine.add(probe)
        run(engine)
        assert probe.cached_tokens == 0


def test_admission_waits_until_the_whole_prompt_fits() -> None:
    engine = scheduler(blocks=6, budget=8)
    holder = sequence(list(range(12)), limit=3)
    large = sequence(list(range(50, 70)))
    engine.add(holder)
    engine.add(large)
    engine.complete(engine.schedule())
    engine.complete(engine.schedule())
    assert large.state is State.WAITING
    run(engine)
    assert large.state is State.DONE


def test_max_num_seqs_bounds_the_batch() -> None:
    engine = scheduler(seqs=2)
    for start in (0, 10, 20):
        engine.add(sequence([start, start + 1], limit=3))
    assert counts(engine) == [2, 2]


def test_the_newest_is_preempted_and_finishes_later() -> None:
    engine = scheduler(blocks=6)
    old, new = sequence(list(range(8)), limit=8), sequence(list(range(50, 58)), limit=8)
    engine.add(old)
    engine.add(new)
    run(engine)
    assert (old.preemptions, new.preemptions > 0) == (0, True)
    assert old.generated == new.generated == 8


def test_limit_zero_only_reads_the_prompt() -> None:
    engine = scheduler()
    reader = sequence([1, 2, 3], limit=0)
    engine.add(reader)
    [sampled] = engine.complete(engine.schedule())
    assert (sampled.token, sampled.finish_reason, reader.generated) == (None, "length", 0)


def test_abort_frees_blocks_in_every_state() -> None:
    engine = scheduler(seqs=1)
    running, waiting = sequence([1] * 9, limit=5), sequence([2] * 9)
    engine.add(running)
    engine.add(waiting)
    step = engine.schedule()
    assert engine.abort(waiting)
    assert engine.abort(running)
    assert engine.complete(step) == []
    assert not engine.abort(running)
    assert (engine.pool.in_use, len(engine.running), len(engine.waiting)) == (0, 0, 0)


jobs = st.lists(
    st.tuples(st.integers(0, 2), st.integers(1, 20), st.integers(1, 12), st.integers(0, 9)),
    max_size=8,
)


@given(jobs, st.integers(10, 14), st.integers(1, 24))
def test_everything_ends_and_is_freed(
    jobs: list[tuple[int, int, int, int]], blocks: int, budget: int
) -> None:
    """Whatever the mix, all blocks come back; hits are prefixes that were computed before."""
    engine = scheduler(blocks=blocks, budget=budget, seqs=3)
    todo = [sequence([family] * length, limit=limit) for family, length, limit, _ in jobs]
    doomed = {id(one): after for one, (*_, after) in zip(todo, jobs, strict=True) if after % 3 == 0}
    for one in todo:
        engine.add(one)
    for number in range(2000):
        step = engine.schedule()
        assert engine.pool.in_use <= blocks
        assert step.tokens <= budget
        for one in todo:
            if doomed.get(id(one)) == number:
                engine.abort(one)
        if not step.entries:
            break
        engine.complete(step)
    assert all(one.state is State.DONE for one in todo)
    assert engine.pool.in_use == 0
    for one in todo:
        assert (one.cached_tokens or 0) < one.prompt_tokens
        if id(one) not in doomed:
            assert one.generated == one.limit

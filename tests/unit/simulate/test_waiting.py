"""The queue: who may start, and with what."""

from router.simulate.job import Job
from router.simulate.pool import Pool
from router.simulate.sequence import Sequence
from router.simulate.waiting import Waiting

BLOCK = 4


def sequence(tokens: int, first: int = 0) -> Sequence:
    """A prompt whose blocks have the ids `first`, `first` + 1, ..."""
    return Sequence(Job(tokens, 1, [first + n for n in range(tokens // BLOCK)], []))


def cache(pool: Pool, blocks: int, first: int = 0) -> None:
    """Nobody uses these blocks, but they can be found."""
    pool.take(blocks)
    pool.release(pool.publish([first + n for n in range(blocks)]), private=0)


def test_first_come_first_served() -> None:
    pool = Pool(10)
    waiting = Waiting(pool, BLOCK)
    first, second, preempted = sequence(8), sequence(3), sequence(5)
    waiting.append(first)
    waiting.append(second)
    waiting.push(preempted)
    assert (len(waiting), waiting.tokens) == (3, 16)
    assert [waiting.pop() for _ in range(4)] == [preempted, first, second, None]
    assert (len(waiting), waiting.tokens) == (0, 0)


def test_one_that_left_does_not_start() -> None:
    waiting = Waiting(Pool(10), BLOCK)
    first, second = sequence(8), sequence(3)
    waiting.append(first)
    waiting.append(second)
    waiting.remove(first)
    assert waiting.tokens == 3
    assert waiting.pop() is second


def test_another_first_is_looked_at_anew() -> None:
    pool = Pool(10)
    pool.take(6)
    waiting = Waiting(pool, BLOCK)
    large, small, smaller = sequence(17), sequence(16), sequence(5)
    waiting.append(large)
    waiting.append(small)
    assert waiting.pop() is None
    waiting.push(smaller)
    assert waiting.pop() is smaller
    assert waiting.pop() is None
    waiting.remove(large)
    assert waiting.pop() is small


def test_the_last_token_is_computed_and_with_it_its_block() -> None:
    pool = Pool(10)
    cache(pool, 4)
    for tokens, hits in ((16, 3), (17, 4), (15, 3), (12, 2)):
        waiting = Waiting(pool, BLOCK)
        one = sequence(tokens)
        waiting.append(one)
        assert waiting.pop() is one
        assert one.computed == one.job.cached_tokens == hits * BLOCK
        assert one.held == list(range(hits))
        pool.release(one.held, private=0)


def test_the_whole_prompt_must_fit() -> None:
    pool = Pool(10)
    pool.take(6)
    waiting = Waiting(pool, BLOCK)
    one = sequence(17)
    waiting.append(one)
    assert waiting.pop() is None
    pool.release([], private=1)
    assert waiting.pop() is one
    assert pool.free == 5, "it holds what is cached only"


def test_cached_blocks_count_once_when_they_are_free() -> None:
    """8 of 10 blocks are needed: two are cached, and free until they are held, so two others must not be in use."""
    pool = Pool(10)
    cache(pool, 2)
    pool.take(3)
    waiting = Waiting(pool, BLOCK)
    one = sequence(32)
    waiting.append(one)
    assert waiting.pop() is None, "6 more blocks, but only 5 would be left"
    pool.release([], private=1)
    assert waiting.pop() is one


def test_it_fits_once_others_store_its_blocks() -> None:
    pool = Pool(10)
    pool.take(6)
    waiting = Waiting(pool, BLOCK)
    one = sequence(21)
    waiting.append(one)
    assert waiting.pop() is None
    pool.publish([77])
    waiting.stored([77])
    assert waiting.pop() is None
    waiting.stored(pool.publish([0, 1]))
    assert waiting.pop() is one
    assert one.computed == 2 * BLOCK


def test_what_a_preemption_lost_is_counted() -> None:
    pool = Pool(10)
    cache(pool, 1)
    one = sequence(16)
    one.job.preemptions = 1
    one.computed = 14
    waiting = Waiting(pool, BLOCK)
    waiting.push(one)
    waiting.pop()
    assert one.job.recomputed == 14 - BLOCK
    assert one.job.cached_tokens == 0, "it says what the first try found"

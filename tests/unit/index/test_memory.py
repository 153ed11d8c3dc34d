"""The embedded index's own matters: eviction, capacity, slots. (What every index does: tests/conformance.)"""

from router.ids import WorkerId
from router.index.memory import MemoryIndex
from router.prompt.identity import Tail
from tests.conformance.index_suite import BLOCK_TOKENS, A, B, C, prompt

TAIL = Tail(10, 1, 100, 20)


def memory(blocks: float = 1e6, limit: int = 10**9) -> MemoryIndex:
    return MemoryIndex(capacity_tokens=blocks * BLOCK_TOKENS, max_blocks=limit)


def test_the_tail_of_the_longest_unused_prompt_goes_first() -> None:
    index = memory(blocks=5)
    index.sent(A, prompt("abc"))
    index.sent(A, prompt("xyz"))
    assert index.lookup(prompt("abc")) == {A: 2}
    assert index.lookup(prompt("xyz")) == {A: 3}


def test_a_prompt_used_again_stays() -> None:
    index = memory(blocks=6)
    index.sent(A, prompt("abc"))
    index.sent(A, prompt("xyz"))
    index.sent(A, prompt("abc"))
    index.sent(A, prompt("k"))
    assert index.lookup(prompt("abc")) == {A: 3}
    assert index.lookup(prompt("xyz")) == {A: 2}


def test_a_shared_prefix_outlives_what_hangs_on_it() -> None:
    index = memory(blocks=4)
    index.sent(A, prompt("abc"))
    index.sent(A, prompt("abx"))
    index.sent(A, prompt("ab"))
    index.sent(A, prompt("k"))
    assert index.lookup(prompt("abx")) == {A: 3}
    assert index.lookup(prompt("abc")) == {A: 2}


def test_a_prompt_larger_than_the_cache_keeps_its_start() -> None:
    index = memory(blocks=3)
    index.sent(A, prompt("abcdef"))
    assert index.lookup(prompt("abcdef")) == {A: 3}


def test_answers_push_prompts_out() -> None:
    index = memory(blocks=4)
    index.sent(A, prompt("abc"))
    index.occupy(A, 3 * BLOCK_TOKENS)
    assert index.lookup(prompt("abc")) == {A: 1}
    assert index.used_tokens(A) == 4 * BLOCK_TOKENS


def test_an_answer_larger_than_the_cache_empties_it() -> None:
    index = memory(blocks=4)
    index.sent(A, prompt("abc"))
    index.occupy(A, 100 * BLOCK_TOKENS)
    assert (index.blocks(A), index.used_tokens(A), len(index)) == (0, 0.0, 0)


def test_a_smaller_cache_forgets_at_once_and_a_larger_one_holds_more() -> None:
    index = memory(blocks=4)
    index.sent(A, prompt("abcd"))
    index.set_capacity(A, 2 * BLOCK_TOKENS)
    assert index.lookup(prompt("abcd")) == {A: 2}
    index.set_capacity(A, 8 * BLOCK_TOKENS)
    index.sent(A, prompt("abcdefgh"))
    assert index.lookup(prompt("abcdefgh")) == {A: 8}


def test_capacity_is_each_worker_s_own() -> None:
    index = memory(blocks=4)
    index.set_capacity(A, BLOCK_TOKENS)
    index.sent(A, prompt("abc"))
    index.sent(B, prompt("abc"))
    assert index.lookup(prompt("abc")) == {A: 1, B: 3}


def test_the_bound_over_all_takes_from_the_fullest() -> None:
    index = memory(limit=6)
    index.sent(A, prompt("abcde"))
    index.sent(B, prompt("xyz"))
    assert index.lookup(prompt("abcde")) == {A: 3}
    assert index.lookup(prompt("xyz")) == {B: 3}
    assert len(index) == 6


def test_as_much_as_is_over_the_bound_goes() -> None:
    index = memory(limit=4)
    for worker in (A, B, C):
        index.sent(worker, prompt("ab"))
    index.sent(C, prompt("xyz"))
    assert len(index) == 4
    assert index.lookup(prompt("xyz"))[C] >= 1, "the newest is known from its start on"


def test_a_removed_worker_s_place_is_taken_by_the_next() -> None:
    index = memory()
    index.sent(A, prompt("abc"))
    index.sent(B, prompt("ab"))
    index.remove(A)
    index.remove(A)
    index.sent(C, prompt("x"))
    assert index.lookup(prompt("abc")) == {B: 2}
    assert index.lookup(prompt("x")) == {C: 1}
    assert index._holders.bit_of(C).bit_length() == 1


def test_a_last_answer_does_not_bring_a_removed_worker_back() -> None:
    index, asked = memory(), prompt("abc")
    index.sent(A, asked)
    index.remove(A)
    index.occupy(A, 50.0)
    index.end(A, asked.keys[-1], TAIL)
    assert (len(index), repr(index)) == (0, "<MemoryIndex 0 blocks, 0 workers>")


def test_a_removed_worker_forgets_its_capacity() -> None:
    index = memory(blocks=4)
    index.set_capacity(A, BLOCK_TOKENS)
    index.remove(A)
    index.sent(A, prompt("abc"))
    assert index.lookup(prompt("abc")) == {A: 3}


def test_more_workers_than_an_int_has_bits() -> None:
    index = memory()
    workers = [WorkerId(f"w{number}:1") for number in range(200)]
    for worker in workers:
        index.sent(worker, prompt("ab"))
    assert index.lookup(prompt("abc")) == dict.fromkeys(workers, 2)


def test_nothing_is_left_behind() -> None:
    index = memory(blocks=4)
    for letters in ("abc", "abd", "xyz", "k"):
        index.sent(A, prompt(letters))
        index.sent(B, prompt(letters[::-1]))
        index.end(A, prompt(letters).keys[-1], TAIL)
    index.occupy(A, 3.0)
    index.clear(A)
    index.remove(B)
    assert (len(index), index.used_tokens(A), len(index._holders)) == (0, 0.0, 0)
    assert not index._shelves[A].tails


def test_token_counts_do_not_drift() -> None:
    index = memory(blocks=50)
    index.sent(A, prompt("a"))
    for number in range(2000):
        index.occupy(A, 0.1 + number / 7)
    index.clear(A)
    assert index.used_tokens(A) == 0.0


def test_a_prompt_s_end_is_kept_with_its_last_block() -> None:
    index = memory(blocks=3)
    asked = prompt("abc")
    index.sent(A, asked)
    index.end(A, asked.keys[-1], TAIL)
    assert index.tail(A, asked.keys[-1]) is TAIL
    assert index.tail(A, asked.keys[0]) is None
    assert index.tail(B, asked.keys[-1]) is None
    index.sent(A, prompt("x"))
    assert index.tail(A, asked.keys[-1]) is None


def test_the_end_of_a_prompt_that_is_not_held_is_not_kept() -> None:
    index = memory()
    index.end(A, prompt("a").keys[0], TAIL)
    assert index.tail(A, prompt("a").keys[0]) is None


def test_unknown_workers_hold_nothing() -> None:
    index = memory()
    assert (index.blocks(A), index.used_tokens(A)) == (0, 0.0)


def test_its_repr_says_how_much_it_knows() -> None:
    index = memory()
    index.sent(A, prompt("abc"))
    assert repr(index) == "<MemoryIndex 3 blocks, 1 workers>"


def test_what_was_refused_is_taken_back_and_what_was_there_before_stays() -> None:
    index = memory()
    index.sent(A, prompt("ab"))
    index.sent(B, prompt("abcd"))
    index.sent(A, prompt("abcd"))
    index.take_back(A, prompt("abcd"), 2)
    assert index.lookup(prompt("abcd")) == {A: 2, B: 4}
    assert (len(index), index.blocks(A), index.used_tokens(A)) == (6, 2, 2 * BLOCK_TOKENS)
    index.take_back(A, prompt("abcd"), 2)
    index.take_back(C, prompt("abcd"), 0)
    assert len(index) == 6
    index.take_back(A, prompt("ab"), 0)
    assert (index.blocks(A), index.used_tokens(A)) == (0, 0)

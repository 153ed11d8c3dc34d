"""Predictions kept honest by what answers report."""

import logging

import pytest

from router.index.memory import MemoryIndex
from router.index.predicted import PredictedIndex
from router.prompt.identity import Identity
from tests.conformance.index_suite import BLOCK_TOKENS, A, B, prompt

LETTERS = "abcdefghijklmnopqrst"
LONG = prompt(LETTERS)
KV_TOKENS = 1000


class Bench:
    """A predicted index with its memory in sight."""

    def __init__(self) -> None:
        self.memory = MemoryIndex(capacity_tokens=KV_TOKENS, max_blocks=10**9)
        self.index = PredictedIndex(self.memory, default_kv_tokens=KV_TOKENS)

    def capacity(self) -> float:
        return self.memory._shelves[A].capacity

    def sent(self, identity: Identity = LONG) -> None:
        self.index.sent(A, identity)


@pytest.fixture
def bench() -> Bench:
    return Bench()


def test_what_was_sent_is_held(bench: Bench) -> None:
    bench.sent()
    assert bench.index.lookup(LONG) == {A: len(LETTERS)}
    assert bench.index.blocks(A) == len(LETTERS)


def audits(bench: Bench, *found: int, predicted: float = 600.0) -> None:
    for actual in found:
        bench.index.audit(A, LONG, predicted=predicted, actual=actual)


def test_a_lost_cache_is_noticed_and_forgotten(
    bench: Bench, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    bench.sent()
    bench.sent(prompt("xyz"))
    audits(bench, 0, 0, 0)
    assert bench.index.lookup(prompt("xyz")) == {}
    assert bench.index.lookup(LONG) == {A: len(LETTERS)}, "this prompt is in its cache now"
    assert "cache was lost" in caplog.text


@pytest.mark.parametrize("found", [(0,), (0, 0), (0, 0, 600, 0, 0), (300, 300, 500, 300, 300)])
def test_a_few_answers_that_found_less_prove_nothing(bench: Bench, found: tuple[int, ...]) -> None:
    """Their prompts may have been refused, cancelled, or only tokenised."""
    bench.sent()
    bench.sent(prompt("xyz"))
    audits(bench, *found)
    assert bench.index.lookup(prompt("xyz"))
    assert bench.capacity() == KV_TOKENS


def test_a_worker_that_evicts_early_has_a_smaller_cache(bench: Bench) -> None:
    bench.sent()
    used = bench.memory.used_tokens(A)
    audits(bench, 300, 0, 300)
    assert bench.capacity() == pytest.approx(used * 0.9)
    assert bench.index.lookup(LONG)[A] < len(LETTERS)


def test_a_cache_is_never_taken_for_less_than_a_tenth(bench: Bench) -> None:
    bench.sent()
    audits(bench, *[300] * 300)
    assert bench.capacity() == pytest.approx(KV_TOKENS / 10)


def test_capacity_recovers_up_to_what_is_stated(bench: Bench) -> None:
    bench.index.state_cache(A, 2000, None)
    bench.sent()
    audits(bench, 300, 300, 300)
    low = bench.capacity()
    audits(bench, 600)
    assert low < bench.capacity() < low * 1.01
    audits(bench, *[700] * 3000)
    assert bench.capacity() == 2000


@pytest.mark.parametrize("actual", [0, 100, 255])
def test_small_predictions_are_not_audited(bench: Bench, actual: int) -> None:
    bench.sent()
    bench.index.audit(A, LONG, predicted=255.0, actual=actual)
    assert bench.index.lookup(LONG) == {A: len(LETTERS)}
    assert bench.capacity() == KV_TOKENS


def test_a_stated_capacity_replaces_what_was_learned(bench: Bench) -> None:
    bench.index.state_cache(A, 4000, 16)
    bench.sent()
    audits(bench, 300, 300, 300)
    learned = bench.capacity()
    assert learned < 4000
    bench.index.state_cache(A, 4000, 16)
    assert bench.capacity() == learned, "saying the same again teaches nothing"
    bench.index.state_cache(A, 5000, 16)
    assert bench.capacity() == 5000
    bench.index.state_cache(A, None, None)
    assert bench.capacity() == KV_TOKENS


def test_a_removed_worker_leaves_nothing(bench: Bench) -> None:
    bench.index.state_cache(A, 5000, 16)
    bench.sent()
    bench.index.remove(A)
    assert bench.index.lookup(LONG) == {}
    bench.sent()
    assert bench.capacity() == KV_TOKENS


def test_of_a_cache_that_others_fill_too_a_share_counts(bench: Bench) -> None:
    bench.index.state_cache(A, 4000, 16)
    bench.index.set_share(A, 0.25)
    assert bench.capacity() == 1000
    bench.index.state_cache(A, 8000, 16)
    assert bench.capacity() == 2000
    bench.index.set_share(A, 1.0)
    assert bench.capacity() == 8000


def test_before_the_worker_says_how_much_it_holds_too(bench: Bench) -> None:
    bench.index.set_share(A, 0.5)
    assert bench.capacity() == KV_TOKENS / 2


def test_what_was_learned_is_scaled_with_the_share(bench: Bench) -> None:
    bench.index.state_cache(A, 2000, None)
    bench.sent()
    audits(bench, 300, 300, 300)
    learned = bench.capacity()
    assert learned < 2000
    bench.index.set_share(A, 0.5)
    assert bench.capacity() == pytest.approx(learned / 2)
    bench.index.set_share(A, 1.0)
    assert bench.capacity() == pytest.approx(learned)


def test_capacity_recovers_up_to_the_share(bench: Bench) -> None:
    bench.index.state_cache(A, 2000, None)
    bench.index.set_share(A, 0.5)
    bench.sent()
    audits(bench, 300, 300, 300)
    assert bench.capacity() < 1000
    audits(bench, *[700] * 3000)
    assert bench.capacity() == 1000


def test_a_smaller_share_pushes_out_what_does_not_fit(bench: Bench) -> None:
    bench.sent()
    bench.index.set_share(A, 0.1)
    assert bench.memory.used_tokens(A) <= KV_TOKENS * 0.1
    assert bench.index.lookup(LONG).get(A, 0) < len(LETTERS)


def test_a_removed_worker_leaves_no_share(bench: Bench) -> None:
    bench.index.set_share(A, 0.5)
    bench.index.remove(A)
    bench.sent()
    bench.index.state_cache(A, 4000, 16)
    assert bench.capacity() == 4000


def test_a_cleared_worker_keeps_its_capacity(bench: Bench) -> None:
    bench.index.state_cache(A, 5000, 16)
    bench.sent()
    bench.index.clear(A)
    assert bench.index.lookup(LONG) == {}
    assert bench.capacity() == 5000


def test_nothing_held_is_nothing_cached(bench: Bench) -> None:
    assert bench.index.cached_tokens(A, LONG, 0) == 0.0


def test_cached_tokens_are_whole_blocks_of_the_engine_and_never_all(bench: Bench) -> None:
    bench.index.state_cache(A, 5000, 16)
    bench.sent()
    cached = bench.index.cached_tokens(A, LONG, len(LETTERS))
    assert cached % 16 == 0
    assert LONG.tokens - 17 <= cached < LONG.tokens


def test_a_block_size_of_the_engine_is_each_worker_s_own(bench: Bench) -> None:
    bench.index.state_cache(A, 5000, 256)
    bench.index.state_cache(B, 5000, None)
    blocks = 10
    assert bench.index.cached_tokens(A, LONG, blocks) == 256
    assert bench.index.cached_tokens(B, LONG, blocks) == pytest.approx(
        LONG.shared_tokens(blocks) - 1, abs=1
    )


def test_an_answered_prompt_is_known_to_its_last_token(bench: Bench) -> None:
    bench.sent()
    bench.index.answered(A, LONG, 700, 50)
    assert bench.index.cached_tokens(A, LONG, len(LETTERS)) == 699
    longer = prompt(LETTERS + "x")
    assert bench.index.cached_tokens(A, longer, len(LETTERS)) == 699


def test_another_worker_s_answer_says_nothing(bench: Bench) -> None:
    bench.sent()
    bench.index.sent(B, LONG)
    bench.index.answered(A, LONG, 700, 50)
    assert bench.index.cached_tokens(B, LONG, len(LETTERS)) < LONG.tokens


def test_what_a_parting_prompt_found_is_remembered(bench: Bench) -> None:
    """Prompts that part at one block find the same there, whatever the text's length says."""
    bench.sent()
    parting, next_one = prompt(LETTERS[:10] + "xy"), prompt(LETTERS[:10] + "vw")
    estimate = bench.index.cached_tokens(A, parting, 10)
    actual = int(estimate) + 40
    bench.index.found(A, parting, 10, actual)
    assert bench.index.cached_tokens(A, next_one, 10) == actual
    assert bench.index.cached_tokens(A, next_one, 9) < actual, "of that block alone"


@pytest.mark.parametrize("share", [0.0, 0.3, 3.0])
def test_what_an_eviction_or_a_mistake_shows_is_not_remembered(bench: Bench, share: float) -> None:
    bench.sent()
    parting = prompt(LETTERS[:10] + "xy")
    estimate = bench.index.cached_tokens(A, parting, 10)
    bench.index.found(A, parting, 10, int(estimate * share))
    assert bench.index.cached_tokens(A, parting, 10) == estimate


def test_a_continued_answer_is_no_parting(bench: Bench) -> None:
    """It found its answer's tokens too; another prompt that parts there will not."""
    bench.sent()
    bench.index.answered(A, LONG, 700, 50)
    bench.index.found(A, prompt(LETTERS + "x"), len(LETTERS), 690)
    bench.memory.clear(A)
    bench.sent()
    assert bench.index.cached_tokens(A, LONG, len(LETTERS)) != 690


def test_answers_take_room(bench: Bench) -> None:
    bench.sent()
    before = bench.memory.used_tokens(A)
    bench.index.answered(A, LONG, 700, 50)
    assert bench.memory.used_tokens(A) == before + 50
    bench.index.answered(A, prompt("", rest="hi"), 5, 0)
    assert bench.memory.used_tokens(A) == before + 50


def test_a_full_cache_forgets_the_oldest(bench: Bench) -> None:
    bench.sent()
    for number in range(20):
        bench.sent(prompt(chr(200 + number) * 3))
    assert bench.memory.used_tokens(A) <= KV_TOKENS
    assert bench.index.lookup(LONG).get(A, 0) < len(LETTERS)


def test_one_block_is_what_the_suite_says() -> None:
    assert LONG.tokens == len(LETTERS) * BLOCK_TOKENS

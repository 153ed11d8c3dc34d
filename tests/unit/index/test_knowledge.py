"""Who is asked about which prompt: what workers say, or what they were sent. (As an index: tests/conformance.)"""

import logging
from time import perf_counter

import pytest
from msgspec.structs import replace

from router.ids import Tier, WorkerId
from router.index import knowledge as module
from router.index.knowledge import Knowledge
from router.index.memory import MemoryIndex
from router.index.predicted import PredictedIndex
from router.index.union import UnionIndex
from router.prompt.identity import Identity, TokenIdentity
from router.prompt.stored import Loadable
from tests.conformance.index_suite import BLOCK_TOKENS, A, B, C, prompt

LETTERS = "abcdefgh"
BLOCK = 16
TEXT = prompt(LETTERS)
TOKENS = 100
"""Of the prompt by its tokens: six full blocks and a bit."""


def tokens(count: int = TOKENS, *, first: int = 1000, block: int = BLOCK) -> TokenIdentity:
    """The same prompt, as known by its tokens."""
    return TokenIdentity.of(list(range(first, first + count // block)), count, block, TEXT)


KNOWN = tokens()
KEYS = KNOWN.keys


class Bench:
    """Knowledge of workers of which `A` says what it holds, and its sources in sight."""

    def __init__(self) -> None:
        memory = MemoryIndex(capacity_tokens=1e9, max_blocks=10**9)
        self.predicted = PredictedIndex(memory, default_kv_tokens=10**9)
        self.reported = UnionIndex()
        self.wrong: list[WorkerId] = []
        self.knowledge = Knowledge(self.predicted, self.reported, self.wrong.append)
        self.knowledge.keep({A: BLOCK}, perf_counter())

    def later(self, seconds: float) -> None:
        """So much time passes."""
        self.knowledge.keep({A: BLOCK}, perf_counter() + seconds)

    def answers(
        self, *cached: int, predicted: float = 96.0, identity: TokenIdentity = KNOWN
    ) -> None:
        """`A` found so many tokens cached."""
        for actual in cached:
            self.knowledge.audit(A, identity, 6, (predicted, actual))


@pytest.fixture
def bench() -> Bench:
    return Bench()


class TestLookingUp:
    def test_a_worker_that_says_what_it_holds_is_believed(self, bench: Bench) -> None:
        bench.reported.stored(A, KEYS[:3])
        assert bench.knowledge.lookup(KNOWN) == {A: 3}

    def test_and_not_what_it_was_sent_before(self, bench: Bench) -> None:
        bench.predicted.sent(A, TEXT)
        assert bench.knowledge.lookup(KNOWN) == {}

    def test_of_others_what_they_were_sent_counts_in_blocks_of_tokens(self, bench: Bench) -> None:
        short = prompt(LETTERS[:2])
        bench.predicted.sent(B, short)
        cached = bench.predicted.cached_tokens(B, TEXT, 2)
        assert cached == pytest.approx(2 * BLOCK_TOKENS, abs=BLOCK_TOKENS)
        asked = tokens(1000)
        assert bench.knowledge.lookup(asked) == {B: cached // BLOCK}
        assert bench.knowledge.cached_tokens(B, asked, int(cached // BLOCK)) == cached

    def test_what_others_are_said_to_hold_does_not_count(self, bench: Bench) -> None:
        """Events came, but nobody listens any more."""
        bench.reported.stored(B, KEYS)
        assert bench.knowledge.lookup(KNOWN) == {}

    def test_text_that_is_taken_for_longer_than_it_is(self, bench: Bench) -> None:
        """Never more is held than the prompt has."""
        bench.predicted.sent(B, TEXT)
        assert TEXT.tokens > TOKENS
        assert bench.knowledge.lookup(KNOWN) == {B: len(KEYS)}
        assert bench.knowledge.cached_tokens(B, KNOWN, len(KEYS)) == TOKENS - 1

    def test_a_prompt_known_by_its_text_goes_by_what_was_sent(self, bench: Bench) -> None:
        bench.reported.stored(A, KEYS)
        assert bench.knowledge.lookup(TEXT) == {}
        bench.knowledge.sent(A, KNOWN)
        assert bench.knowledge.lookup(TEXT) == {A: len(LETTERS)}

    def test_each_worker_by_what_is_known_of_it(self, bench: Bench) -> None:
        bench.knowledge.keep({A: BLOCK, C: BLOCK}, perf_counter())
        bench.reported.stored(A, KEYS[:2])
        bench.reported.stored(C, KEYS[:4])
        bench.predicted.sent(B, TEXT)
        assert bench.knowledge.lookup(KNOWN) == {A: 2, B: 6, C: 4}

    def test_who_is_exact(self, bench: Bench) -> None:
        is_exact = bench.knowledge.is_exact
        assert is_exact(A, KNOWN)
        assert not is_exact(A, TEXT)
        assert not is_exact(B, KNOWN)


class TestElsewhere:
    """What other routers know."""

    @staticmethod
    def known(
        tokens: dict[WorkerId, int] | None = None, text: dict[WorkerId, int] | None = None
    ) -> TokenIdentity:
        by_text = replace(TEXT, elsewhere=text or {})
        return replace(KNOWN, by_text=by_text, elsewhere=tokens or {})

    def test_the_deeper_of_both_counts(self, bench: Bench) -> None:
        bench.reported.stored(A, KEYS[:3])
        assert bench.knowledge.lookup(self.known({A: 5})) == {A: 5}
        assert bench.knowledge.lookup(self.known({A: 2})) == {A: 3}

    def test_one_of_which_nothing_is_known_here(self, bench: Bench) -> None:
        assert bench.knowledge.lookup(self.known({A: 5})) == {A: 5}
        assert bench.knowledge.cached_tokens(A, self.known({A: 5}), 5) == 5 * BLOCK

    def test_tokens_of_workers_whose_events_nobody_follows_do_not_count(self, bench: Bench) -> None:
        assert bench.knowledge.lookup(self.known({B: 5})) == {}

    def test_nor_do_blocks_of_another_size(self, bench: Bench) -> None:
        bench.knowledge.keep({A: 2 * BLOCK}, perf_counter())
        assert bench.knowledge.lookup(self.known({A: 5})) == {}

    def test_text_that_others_sent_counts_as_ours_does(self, bench: Bench) -> None:
        assert bench.knowledge.lookup(replace(TEXT, elsewhere={A: 2, B: 4})) == {A: 2, B: 4}
        bench.predicted.sent(B, prompt(LETTERS[:6]))
        asked = replace(TEXT, elsewhere={A: 2, B: 4, C: 1})
        assert bench.knowledge.lookup(asked) == {A: 2, B: 6, C: 1}

    def test_it_counts_in_tokens_where_a_worker_does_not_tell(self, bench: Bench) -> None:
        cached = bench.predicted.cached_tokens(B, TEXT, 2)
        asked = replace(tokens(1000), by_text=replace(TEXT, elsewhere={A: 8, B: 2}))
        found = bench.knowledge.lookup(asked)
        assert found == {B: cached // BLOCK}
        assert bench.knowledge.cached_tokens(B, asked, found[B]) == cached

    def test_what_it_is_known_by_is_left_as_it_was(self, bench: Bench) -> None:
        bench.predicted.sent(A, TEXT)
        bench.knowledge.lookup(replace(TEXT, elsewhere={A: 99, B: 4}))
        assert bench.knowledge.lookup(TEXT) == {A: len(LETTERS)}


class TestCachedTokens:
    @pytest.mark.parametrize(
        ("count", "blocks", "cached"),
        [(100, 0, 0), (100, 1, 16), (100, 6, 96), (96, 6, 80), (97, 6, 96), (16, 1, 0), (0, 0, 0)],
    )
    def test_whole_blocks_but_never_the_last_token(
        self, bench: Bench, count: int, blocks: int, cached: int
    ) -> None:
        assert bench.knowledge.cached_tokens(A, tokens(count), blocks) == cached

    @pytest.mark.parametrize(
        ("worker", "blocks", "below", "cached"),
        [(A, 2, 64, 64), (A, 2, 16, 32), (A, 0, 100, 99), (A, 6, 100, 99), (B, 0, 64, 64)],
    )
    def test_what_lower_tiers_hold_is_in_reach_too(
        self, bench: Bench, worker: WorkerId, blocks: int, below: int, cached: int
    ) -> None:
        identity = KNOWN.with_stored({worker: Loadable(Tier.CPU, below)})
        assert bench.knowledge.cached_tokens(worker, identity, blocks) == cached
        assert bench.knowledge.cached_tokens(C, identity, 0) == 0, "others cannot load it"


class TestOnTheWay:
    def test_what_was_sent_is_held_at_once(self, bench: Bench) -> None:
        bench.knowledge.sent(A, KNOWN)
        bench.knowledge.sent(B, KNOWN)
        assert bench.knowledge.lookup(KNOWN) == {A: 6, B: 6}

    def test_what_the_worker_has_told_by_its_first_token_stays(self, bench: Bench) -> None:
        bench.knowledge.sent(A, KNOWN)
        bench.reported.stored(A, KEYS)
        bench.knowledge.begun(A, KNOWN)
        bench.later(100)
        assert bench.knowledge.lookup(KNOWN) == {A: 6}
        bench.reported.removed(A, KEYS[3:])
        assert bench.knowledge.lookup(KNOWN) == {A: 3}, "and goes when it is evicted"

    def test_what_it_never_tells_counts_for_a_little_while(self, bench: Bench) -> None:
        bench.knowledge.sent(A, KNOWN)
        bench.reported.stored(A, KEYS[:2])
        bench.knowledge.begun(A, KNOWN)
        bench.later(0)
        assert bench.knowledge.lookup(KNOWN) == {A: 6}, "its word may be on its way"
        bench.later(2)
        assert bench.knowledge.lookup(KNOWN) == {A: 2}

    def test_the_same_for_a_prompt_that_ended_before_it_began(self, bench: Bench) -> None:
        bench.knowledge.sent(A, KNOWN)
        bench.reported.stored(A, KEYS[:1])
        bench.knowledge.over(A, KNOWN)
        bench.later(0)
        assert bench.knowledge.lookup(KNOWN) == {A: 6}
        bench.later(2)
        assert bench.knowledge.lookup(KNOWN) == {A: 1}

    def test_one_of_two_that_are_on_their_way_ends(self, bench: Bench) -> None:
        longer = tokens(130)
        bench.knowledge.sent(A, KNOWN)
        bench.knowledge.sent(A, longer)
        bench.knowledge.over(A, longer)
        bench.later(2)
        assert bench.knowledge.lookup(longer) == {A: 6}

    def test_nothing_is_kept_of_what_is_over(self, bench: Bench) -> None:
        for _ in range(20):
            bench.knowledge.sent(A, KNOWN)
            bench.knowledge.begun(A, KNOWN)
            bench.knowledge.sent(A, KNOWN)
            bench.knowledge.over(A, KNOWN)
        bench.later(2)
        assert not bench.knowledge._later_steps
        assert bench.reported.lookup(KNOWN) == {}

    @pytest.mark.parametrize("identity", [TEXT, KNOWN], ids=["text", "tokens"])
    def test_others_are_told_of_all_that_is_sent(self, bench: Bench, identity: Identity) -> None:
        told: list[tuple[WorkerId, Identity]] = []
        bench.knowledge.on_sent = lambda worker, what: told.append((worker, what))
        bench.knowledge.sent(A, identity)
        bench.knowledge.sent(B, identity)
        assert told == [(A, identity), (B, identity)]
        bench.knowledge.begun(A, identity)
        bench.knowledge.over(B, identity)
        assert len(told) == 2

    def test_text_needs_no_word_of_its_end(self, bench: Bench) -> None:
        bench.knowledge.sent(A, TEXT)
        bench.knowledge.begun(A, TEXT)
        bench.knowledge.over(A, TEXT)
        assert not bench.knowledge._later_steps
        assert bench.knowledge.lookup(TEXT) == {A: len(LETTERS)}

    def test_who_falls_silent_is_known_by_what_it_was_sent(self, bench: Bench) -> None:
        bench.knowledge.sent(A, KNOWN)
        bench.reported.stored(A, KEYS)
        bench.knowledge.keep({}, perf_counter())
        assert bench.knowledge.exact == {}
        assert bench.knowledge.lookup(KNOWN) == {A: 6}
        bench.reported.removed(A, KEYS)
        assert bench.knowledge.lookup(KNOWN) == {A: 6}


class TestAuditing:
    def test_answers_that_contradict_a_worker_s_events_three_times(
        self, bench: Bench, caplog: pytest.LogCaptureFixture
    ) -> None:
        bench.answers(0, 0)
        assert bench.wrong == []
        bench.answers(0)
        assert bench.wrong == [A]
        assert bench.knowledge.exact == {}, "at once"
        (warning,) = (each for each in caplog.records if each.levelno == logging.WARNING)
        assert "worker gpu-a:8000" in warning.getMessage()
        assert "0 tokens cached, 96 expected" in warning.getMessage()

    def test_it_is_believed_again_after_a_while(self, bench: Bench) -> None:
        bench.answers(0, 0, 0)
        bench.later(module._DISTRUST_S[0] - 1)
        assert bench.knowledge.exact == {}
        bench.later(module._DISTRUST_S[0] + 1)
        assert bench.knowledge.exact == {A: BLOCK}

    def test_one_that_goes_on_like_that_is_left_alone_for_longer(self, bench: Bench) -> None:
        first, most = module._DISTRUST_S
        for pause_s in (first, 2 * first, 4 * first):
            bench.answers(0, 0, 0)
            bench.later(pause_s - 1)
            assert bench.knowledge.exact == {}
            bench.later(pause_s + 1)
            assert bench.knowledge.exact == {A: BLOCK}
        for _ in range(20):
            bench.answers(0, 0, 0)
            bench.later(most + 1)
        assert bench.knowledge.exact == {A: BLOCK}
        bench.answers(96)
        bench.answers(0, 0, 0)
        bench.later(first + 1)
        assert bench.knowledge.exact == {A: BLOCK}, "a hit that was foretold makes all good"

    @pytest.mark.parametrize("right", [96, 80, 112])
    def test_one_that_agrees_within_a_block_is_enough(self, bench: Bench, right: int) -> None:
        bench.answers(0, 0, right, 0, 0)
        assert bench.wrong == []

    def test_who_has_more_than_it_tells_is_not_asked_to_tell_it_again(self, bench: Bench) -> None:
        """It loads from somewhere that nobody tells of; what it does tell may be right."""
        bench.answers(96, 96, 96, predicted=0.0)
        assert bench.wrong == []
        assert bench.knowledge.exact == {}

    def test_what_was_decided_before_it_was_believed_proves_nothing(self, bench: Bench) -> None:
        for _ in range(5):
            bench.knowledge.audit(A, KNOWN, 6, (96.0, 0), perf_counter() - 60)
        assert bench.knowledge.exact == {A: BLOCK}

    def test_of_who_told_some_before_it_was_heard_the_greater_counts(self, bench: Bench) -> None:
        bench.knowledge.keep({}, perf_counter(), {A: BLOCK})
        bench.reported.stored(A, KEYS[:2])
        assert bench.knowledge.lookup(KNOWN) == {A: 2}
        bench.knowledge.sent(A, KNOWN)
        assert bench.knowledge.lookup(KNOWN) == {A: 6}
        assert bench.knowledge.cached_tokens(A, KNOWN, 6) >= 96
        assert not bench.knowledge.is_exact(A, KNOWN)
        bench.answers(0, 0, 0)
        assert bench.wrong == []

    def test_blocks_of_another_size_say_nothing(self, bench: Bench) -> None:
        bench.knowledge.keep({A: 2 * BLOCK}, perf_counter())
        bench.reported.stored(A, KEYS)
        assert bench.knowledge.lookup(KNOWN) == {}
        bench.answers(0, 0, 0)
        assert bench.knowledge.exact == {A: 2 * BLOCK}

    def test_what_could_be_loaded_says_nothing_of_the_worker(self, bench: Bench) -> None:
        below = KNOWN.with_stored({A: Loadable(Tier.CPU, 96)})
        bench.answers(0, 0, 0, 0, identity=below)
        assert bench.wrong == []

    def test_text_is_audited_as_text(self, bench: Bench) -> None:
        """Three answers that found nothing: the cache was lost."""
        other = prompt("zyx")
        for worker, identity in ((A, TEXT), (B, KNOWN)):
            bench.predicted.sent(worker, other)
            for _ in range(3):
                bench.knowledge.audit(worker, identity, 6, (600.0, 0))
            assert bench.predicted.lookup(other) == {}, worker
        assert bench.wrong == []

    def test_what_lower_tiers_gave_is_no_audit_of_text(self, bench: Bench) -> None:
        below = KNOWN.with_stored({B: Loadable(Tier.CPU, 96)})
        other = prompt("zyx")
        bench.predicted.sent(B, other)
        for _ in range(3):
            bench.knowledge.audit(B, below, 6, (600.0, 0))
        assert bench.predicted.lookup(other) == {B: 3}

    def test_what_was_found_corrects_the_next_guess_about_text(self, bench: Bench) -> None:
        bench.predicted.sent(A, prompt("ab"))
        blocks = bench.knowledge.lookup(TEXT)[A]
        guess = bench.knowledge.cached_tokens(A, TEXT, blocks)
        bench.knowledge.audit(A, TEXT, blocks, (guess, round(guess * 1.2)))
        assert bench.knowledge.cached_tokens(A, TEXT, blocks) == round(guess * 1.2)

    def test_an_answer_s_length_is_known_by_text(self, bench: Bench) -> None:
        bench.knowledge.sent(A, KNOWN)
        bench.knowledge.answered(A, KNOWN, 900, 20)
        assert bench.predicted.cached_tokens(A, TEXT, len(LETTERS)) == 899


class TestWorkers:
    def test_what_it_states_of_its_cache_is_for_the_guess(self, bench: Bench) -> None:
        bench.knowledge.state_cache(A, 5000, 64)
        bench.knowledge.sent(A, TEXT)
        assert bench.knowledge.cached_tokens(A, TEXT, 8) % 64 == 0
        assert bench.knowledge.blocks(A) == len(LETTERS)

    def test_one_that_was_started_anew_holds_what_its_events_say(self, bench: Bench) -> None:
        bench.knowledge.sent(A, KNOWN)
        bench.reported.stored(A, KEYS)
        bench.knowledge.clear(A)
        assert bench.knowledge.lookup(TEXT) == {}
        assert bench.knowledge.lookup(KNOWN) == {A: 6}

    def test_of_one_that_left_nothing_is_kept(self, bench: Bench) -> None:
        knowledge = bench.knowledge
        bench.reported.stored(A, KEYS[:2])
        for identity in (TEXT, KNOWN):
            knowledge.sent(A, identity)
        bench.answers(0, 0, 0, 0)
        knowledge.remove(A)
        knowledge.over(A, KNOWN)
        bench.later(2)
        assert knowledge.exact == {A: BLOCK}, "distrust went with it"
        assert knowledge.lookup(TEXT) == knowledge.lookup(KNOWN) == {}
        assert knowledge.blocks(A) == 0

    def test_its_place_is_another_s(self, bench: Bench) -> None:
        for number in range(100):
            worker = WorkerId(f"w{number}:1")
            bench.reported.stored(worker, KEYS)
            bench.knowledge.sent(worker, KNOWN)
            bench.knowledge.remove(worker)
            bench.reported.removed(worker, KEYS)
        assert len(bench.reported._holders._slots) == 1

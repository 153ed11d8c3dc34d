"""What every index must do, whatever it is made of.

A test class inherits `IndexSuite`, and `TokensSuite` for a whole `router.index.base.Index`, and makes the index
in a fixture; capacity is not a matter here (the index is large enough). `PromptMachine` compares an index step
by step with `NaiveIndex`.
"""

from collections import OrderedDict
from collections.abc import Mapping
from typing import Generic, Protocol, TypeVar

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from router.ids import WorkerId
from router.index.base import Index
from router.prompt.blocks import chain_seed, covered_bytes, text_keys
from router.prompt.identity import Identity
from router.prompt.token_rates import TOKENS_PER_BYTE

A, B, C = (WorkerId(f"gpu-{name}:8000") for name in "abc")
BLOCK_BYTES = covered_bytes(1)
BLOCK_TOKENS = BLOCK_BYTES * TOKENS_PER_BYTE


class Prefixes(Protocol):
    """The part of `router.index.base.Index` that is about who holds what."""

    def lookup(self, identity: Identity) -> Mapping[WorkerId, int]: ...

    def sent(self, worker: WorkerId, identity: Identity) -> None: ...

    def clear(self, worker: WorkerId) -> None: ...


def prompt(letters: str, *, model: str = "m", rest: str = "") -> Identity:
    """A prompt of one full block per letter (and less than one of `rest`)."""
    text = b"".join(letter.encode() * BLOCK_BYTES for letter in letters) + rest.encode()
    keys = text_keys(text, chain_seed(model.encode()))
    return Identity(text, keys, len(text) * TOKENS_PER_BYTE, TOKENS_PER_BYTE)


class IndexSuite:
    """Behaviour of an index, by examples."""

    def test_it_knows_nothing_at_first(self, index: Prefixes) -> None:
        assert index.lookup(prompt("abc")) == {}

    def test_what_was_sent_is_held_whole(self, index: Prefixes) -> None:
        index.sent(A, prompt("abc"))
        assert index.lookup(prompt("abc")) == {A: 3}

    def test_a_longer_prompt_is_held_as_far_as_it_was_sent(self, index: Prefixes) -> None:
        index.sent(A, prompt("abc"))
        assert index.lookup(prompt("abcde")) == {A: 3}

    def test_a_shorter_prompt_is_held_whole(self, index: Prefixes) -> None:
        index.sent(A, prompt("abc"))
        assert index.lookup(prompt("a")) == {A: 1}

    def test_prompts_are_held_up_to_where_they_part(self, index: Prefixes) -> None:
        index.sent(A, prompt("abc"))
        assert index.lookup(prompt("abxc")) == {A: 2}
        assert index.lookup(prompt("xabc")) == {}

    def test_each_worker_has_its_own_depth(self, index: Prefixes) -> None:
        index.sent(A, prompt("a"))
        index.sent(B, prompt("abc"))
        index.sent(C, prompt("abx"))
        assert index.lookup(prompt("abcd")) == {A: 1, B: 3, C: 2}

    def test_many_workers(self, index: Prefixes) -> None:
        workers = [WorkerId(f"w{number}:1") for number in range(100)]
        for depth, worker in enumerate(workers):
            index.sent(worker, prompt("abcdefghij"[: depth % 11]))
        found = index.lookup(prompt("abcdefghijkl"))
        assert found == {w: d % 11 for d, w in enumerate(workers) if d % 11}

    def test_an_empty_prompt_is_held_by_nobody(self, index: Prefixes) -> None:
        index.sent(A, prompt(""))
        index.sent(A, prompt("", rest="short"))
        assert index.lookup(prompt("")) == {}

    def test_less_than_a_block_does_not_count(self, index: Prefixes) -> None:
        index.sent(A, prompt("ab", rest="one"))
        assert index.lookup(prompt("ab", rest="two")) == {A: 2}

    def test_models_are_kept_apart(self, index: Prefixes) -> None:
        index.sent(A, prompt("abc", model="one"))
        assert index.lookup(prompt("abc", model="two")) == {}

    def test_sending_again_changes_nothing(self, index: Prefixes) -> None:
        index.sent(A, prompt("abc"))
        index.sent(A, prompt("ab"))
        index.sent(A, prompt("abc"))
        assert index.lookup(prompt("abc")) == {A: 3}

    def test_clearing_a_worker_leaves_the_others(self, index: Prefixes) -> None:
        index.sent(A, prompt("abc"))
        index.sent(B, prompt("ab"))
        index.clear(A)
        assert index.lookup(prompt("abc")) == {B: 2}

    def test_a_cleared_worker_starts_over(self, index: Prefixes) -> None:
        index.sent(A, prompt("abc"))
        index.clear(A)
        index.sent(A, prompt("a"))
        assert index.lookup(prompt("abc")) == {A: 1}

    def test_clearing_an_unknown_worker_is_no_error(self, index: Prefixes) -> None:
        index.clear(A)
        assert index.lookup(prompt("a")) == {}

    def test_looking_up_changes_nothing(self, index: Prefixes) -> None:
        index.sent(A, prompt("ab"))
        for _ in range(3):
            assert index.lookup(prompt("abc")) == {A: 2}
        assert index.lookup(prompt("c")) == {}

    @pytest.mark.parametrize("blocks", [1, 31, 32, 33, 100, 500])
    def test_every_depth_is_found(self, index: Prefixes, blocks: int) -> None:
        letters = ("abcdefghijklmnopqrstuvwxyz" * 30)[: blocks + 2]
        full = prompt(letters * 8)  # blocks grow, so take enough text and cut the keys
        held = Identity(full.prompt, full.keys[:blocks], full.tokens, full.tokens_per_byte)
        index.sent(A, held)
        assert index.lookup(full) == {A: min(blocks, len(full.keys))}


class TokensSuite:
    """What an index says of a prompt's cached tokens, as far as all of them agree."""

    def test_who_holds_nothing_has_nothing_cached(self, index: Index) -> None:
        assert index.cached_tokens(A, prompt("abc"), 0) == 0.0
        index.sent(A, prompt("abc"))
        assert index.cached_tokens(A, prompt("abc"), 0) == 0.0

    @pytest.mark.parametrize("rest", ["", "the rest"])
    def test_more_blocks_are_more_tokens_and_never_more_than_all(
        self, index: Index, rest: str
    ) -> None:
        asked = prompt("abcdef", rest=rest)
        index.sent(A, asked)
        cached = [index.cached_tokens(A, asked, blocks) for blocks in range(7)]
        assert cached == sorted(set(cached))
        assert cached[-1] <= asked.tokens

    def test_a_block_is_worth_about_its_tokens(self, index: Index) -> None:
        asked = prompt("abcdef")
        index.sent(A, asked)
        for blocks in range(1, 7):
            cached = index.cached_tokens(A, asked, blocks)
            assert abs(cached - blocks * BLOCK_TOKENS) <= BLOCK_TOKENS / 2


class NaiveIndex:
    """The oracle: per worker the prefixes held, least recently used first, with their tokens."""

    def __init__(self, capacity: float, limit: int) -> None:
        self.held: dict[WorkerId, OrderedDict[object, float]] = {}
        self.capacities: dict[WorkerId, float] = {}
        self.capacity, self.limit, self.fillers = capacity, limit, 0

    def put(self, worker: WorkerId, entries: list[tuple[object, float]]) -> None:
        held = self.held.setdefault(worker, OrderedDict())
        for prefix, tokens in entries:
            held.setdefault(prefix, tokens)
            held.move_to_end(prefix)
        while sum(held.values()) > self.capacities.get(worker, self.capacity):
            held.popitem(last=False)
        while (excess := sum(map(len, self.held.values())) - self.limit) > 0:
            fullest = max(self.held.values(), key=len)
            for _ in range(min(excess, len(fullest))):
                fullest.popitem(last=False)

    def sent(self, worker: WorkerId, letters: str) -> None:
        self.put(worker, [(letters[:n], BLOCK_TOKENS) for n in range(len(letters), 0, -1)])

    def occupy(self, worker: WorkerId, tokens: float) -> None:
        if worker in self.held:
            self.fillers += 1
            self.put(worker, [(self.fillers, tokens)])

    def lookup(self, letters: str) -> dict[WorkerId, int]:
        runs = {
            worker: max((n for n in range(len(letters) + 1) if letters[:n] in held), default=0)
            for worker, held in self.held.items()
        }
        return {worker: run for worker, run in runs.items() if run}


LETTERS = st.text("ab", max_size=6)
WORKERS = st.sampled_from([A, B, C])


Tested = TypeVar("Tested", bound=Prefixes)


class PromptMachine(RuleBasedStateMachine, Generic[Tested]):
    """Random sends and clears; subclasses set `index` and `naive` and add what their index can do more."""

    index: Tested
    naive: NaiveIndex

    @rule(worker=WORKERS, letters=LETTERS)
    def send(self, worker: WorkerId, letters: str) -> None:
        self.index.sent(worker, prompt(letters))
        self.naive.sent(worker, letters)

    @rule(worker=WORKERS)
    def clear(self, worker: WorkerId) -> None:
        self.index.clear(worker)
        self.naive.held.get(worker, OrderedDict[object, float]()).clear()

    @rule(letters=LETTERS)
    def ask(self, letters: str) -> None:
        assert self.index.lookup(prompt(letters)) == self.naive.lookup(letters)

    @invariant()
    def what_is_held_is_closed_under_prefixes(self) -> None:
        """Every prefix of what a worker holds of any known prompt is held too, to its full length."""
        known = {p for held in self.naive.held.values() for p in held if isinstance(p, str)}
        for letters in known:
            found = self.index.lookup(prompt(letters))
            assert found == self.naive.lookup(letters)
            for cut in range(len(letters)):
                shorter = self.index.lookup(prompt(letters[:cut]))
                assert all(shorter.get(w, 0) >= min(run, cut) for w, run in found.items())

"""Reports and predictions together: which of them say what. (What every index does: tests/conformance.)"""

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from router.ids import BlockKey, WorkerId
from router.index.union import UnionIndex
from tests.conformance.index_suite import LETTERS, WORKERS, A, B, C, prompt


def test_what_is_on_its_way_is_held_until_it_is_settled() -> None:
    index = UnionIndex()
    index.sent(A, prompt("abc"))
    assert index.lookup(prompt("abc")) == {A: 3}
    index.settled(A, prompt("abc"))
    assert index.lookup(prompt("abc")) == {}


def test_what_was_reported_meanwhile_stays() -> None:
    index = UnionIndex()
    index.sent(A, prompt("abc"))
    index.stored(A, prompt("ab").keys)
    assert index.lookup(prompt("abc")) == {A: 3}
    index.settled(A, prompt("abc"))
    assert index.lookup(prompt("abc")) == {A: 2}


def test_two_on_their_way_are_settled_one_by_one() -> None:
    index = UnionIndex()
    index.sent(A, prompt("ab"))
    index.sent(A, prompt("abc"))
    index.settled(A, prompt("abc"))
    assert index.lookup(prompt("abc")) == {A: 2}
    index.settled(A, prompt("ab"))
    assert index.lookup(prompt("abc")) == {}


def test_what_is_evicted_is_gone_unless_it_is_on_its_way() -> None:
    index = UnionIndex()
    index.stored(A, prompt("abc").keys)
    index.sent(A, prompt("ab"))
    index.removed(A, prompt("abc").keys)
    assert index.lookup(prompt("abc")) == {A: 2}
    index.settled(A, prompt("ab"))
    assert index.lookup(prompt("abc")) == {}


def test_predictions_may_not_count() -> None:
    index = UnionIndex(expect=False)
    index.sent(A, prompt("abc"))
    assert index.lookup(prompt("abc")) == {}
    index.stored(A, prompt("ab").keys)
    index.settled(A, prompt("abc"))
    assert index.lookup(prompt("abc")) == {A: 2}


def test_a_worker_that_starts_over_is_expected_to_hold_what_it_is_sent_then() -> None:
    """The requests that its restart ended are settled after the next one was sent."""
    index = UnionIndex()
    index.sent(A, prompt("abc"))
    index.clear(A)
    assert index.lookup(prompt("abc")) == {}
    index.sent(A, prompt("ab"))
    index.settled(A, prompt("abc"))
    assert index.lookup(prompt("abc")) == {A: 2}
    index.settled(A, prompt("ab"))
    assert index.lookup(prompt("abc")) == {}


def test_late_words_of_a_removed_worker_change_nothing() -> None:
    index = UnionIndex()
    index.stored(A, prompt("ab").keys)
    index.sent(A, prompt("abc"))
    index.remove(A)
    assert index.lookup(prompt("abc")) == {}
    index.settled(A, prompt("abc"))
    index.removed(A, prompt("ab").keys)
    index.removed(A, prompt("ab").keys)
    index.remove(A)
    index.stored(C, prompt("a").keys)
    assert index.lookup(prompt("abc")) == {C: 1}
    assert index._holders.bit_of(C) == 1, "its place is another's"


def test_the_place_of_a_removed_worker_is_kept_until_it_took_all_back() -> None:
    index = UnionIndex()
    index.stored(A, prompt("ab").keys)
    index.remove(A)
    index.stored(B, prompt("x").keys)
    assert index.lookup(prompt("ab")) == {}
    index.removed(A, prompt("ab").keys)
    assert not index._holders.keys(A)


def test_one_that_comes_back_is_found_again() -> None:
    index = UnionIndex()
    index.stored(A, prompt("ab").keys)
    index.remove(A)
    index.removed(A, prompt("ab").keys)
    index.stored(A, prompt("a").keys)
    assert index.lookup(prompt("ab")) == {A: 1}


def test_all_that_a_worker_holds_is_walked() -> None:
    """What it told, and what is expected."""
    index = UnionIndex()
    index.stored(A, prompt("ab").keys)
    index.sent(A, prompt("abc"))
    index.stored(B, prompt("x").keys)
    assert {key for keys in index.walk(A) for key in keys} == set(prompt("abc").keys)
    assert {key for keys in index.walk(B) for key in keys} == set(prompt("x").keys)
    assert list(index.walk(C)) == []
    index.removed(A, prompt("ab").keys)
    index.settled(A, prompt("abc"))
    assert list(index.walk(A)) == []


def test_nothing_of_a_removed_worker_is_kept() -> None:
    index = UnionIndex()
    index.stored(A, prompt("ab").keys)
    index.sent(A, prompt("abc"))
    left = index.begun(A, prompt("abc"))
    index.sent(A, prompt("abcd"))
    index.remove(A)
    index.removed(A, prompt("ab").keys)
    assert_empty(index)
    index.lapsed(A, left)
    index.settled(A, prompt("abcd"))
    assert_empty(index)


def test_what_was_told_when_it_was_read_is_not_expected_any_more() -> None:
    index = UnionIndex()
    index.stored(A, prompt("ab").keys)
    index.sent(A, prompt("abc"))
    assert index.begun(A, prompt("abc")) == prompt("abc").keys[2:]
    index.removed(A, prompt("ab").keys[1:])
    assert index.lookup(prompt("abc"))[A] != 2
    assert index._holders.count(A) == 2
    index.stored(A, prompt("abc").keys[2:])
    index.removed(A, prompt("abc").keys)
    assert_empty(index)


def test_what_is_never_told_lapses() -> None:
    index = UnionIndex()
    for _ in range(2):
        index.sent(A, prompt("abc"))
    for left in [index.begun(A, prompt("abc")) for _ in range(2)]:
        assert index.lookup(prompt("abc")) == {A: 3}
        index.lapsed(A, left)
    assert_empty(index)


def assert_empty(index: UnionIndex) -> None:
    """Nothing is kept of anybody."""
    assert not index._expected
    assert not index._awaited
    assert not index._holders
    assert not index._holders._taken


class UnderWay:
    """A prompt that was sent, as far as it is expected; `begun`: until it is told."""

    def __init__(self, worker: WorkerId, letters: str) -> None:
        self.worker, self.letters = worker, letters
        self.expected = prefixes(letters)
        self.left: list[BlockKey] | None = None


def prefixes(letters: str) -> set[str]:
    return {letters[:end] for end in range(1, len(letters) + 1)}


class UnionMachine(RuleBasedStateMachine):
    """Random sends, reports and evictions, beside a plain set per worker and one per prompt under way."""

    def __init__(self) -> None:
        super().__init__()
        self.index = UnionIndex()
        self.told: dict[WorkerId, set[str]] = {A: set(), B: set(), C: set()}
        self.under_way: list[UnderWay] = []

    @rule(worker=WORKERS, letters=LETTERS)
    def send(self, worker: WorkerId, letters: str) -> None:
        self.index.sent(worker, prompt(letters))
        self.under_way.append(UnderWay(worker, letters))

    @rule(data=st.data())
    def begin(self, data: st.DataObject) -> None:
        waiting = [each for each in self.under_way if each.left is None]
        if waiting:
            each = data.draw(st.sampled_from(waiting))
            each.left = self.index.begun(each.worker, prompt(each.letters))
            each.expected -= self.told[each.worker]

    @rule(data=st.data())
    def end(self, data: st.DataObject) -> None:
        if self.under_way:
            self._end(data.draw(st.sampled_from(self.under_way)))

    @rule(worker=WORKERS, letters=LETTERS)
    def report(self, worker: WorkerId, letters: str) -> None:
        self.index.stored(worker, prompt(letters).keys)
        self.told[worker] |= prefixes(letters)
        for each in self.under_way:
            if each.worker == worker and each.left is not None:
                each.expected -= prefixes(letters)

    @rule(worker=WORKERS, letters=LETTERS)
    def evict(self, worker: WorkerId, letters: str) -> None:
        """All that begins like this, tails first."""
        gone = [prefix for prefix in self.told[worker] if prefix.startswith(letters)]
        for prefix in sorted(gone, key=len, reverse=True):
            self.index.removed(worker, prompt(prefix).keys[-1:])
            self.told[worker].discard(prefix)

    @rule(worker=WORKERS, letters=LETTERS)
    def restart(self, worker: WorkerId, letters: str) -> None:
        """What was under way ends after the next one was sent."""
        lost = [each for each in self.under_way if each.worker == worker]
        self.index.clear(worker)
        self.told[worker].clear()
        self.send(worker, letters)
        for each in lost:
            self._end(each)

    @rule(worker=WORKERS)
    def leave(self, worker: WorkerId) -> None:
        """It takes back what it told after it was removed, and what was under way ends."""
        self.index.remove(worker)
        assert worker not in self.index.lookup(prompt("a"))
        self.index.removed(worker, [prompt(each).keys[-1] for each in self.told[worker]])
        self.told[worker].clear()
        for each in [each for each in self.under_way if each.worker == worker]:
            self._end(each)

    def _end(self, each: UnderWay) -> None:
        self.under_way.remove(each)
        if each.left is None:
            self.index.settled(each.worker, prompt(each.letters))
        else:
            self.index.lapsed(each.worker, each.left)

    def _known(self, worker: WorkerId) -> set[str]:
        mine = [each.expected for each in self.under_way if each.worker == worker]
        return self.told[worker].union(*mine)

    @invariant()
    def who_holds_what_is_known(self) -> None:
        for worker in self.told:
            wanted = {prompt(each).keys[-1] for each in self._known(worker)}
            assert set(self.index._holders.keys(worker)) == wanted

    @rule(letters=LETTERS)
    def ask(self, letters: str) -> None:
        """Where a prefix is whole: bisection cannot know better."""
        known = {worker: prefixes(letters) & self._known(worker) for worker in self.told}
        found = self.index.lookup(prompt(letters))
        for worker, held in known.items():
            if held == prefixes(letters[: len(held)]):
                assert found.get(worker, 0) == len(held)

    @invariant()
    def nothing_is_kept_that_nobody_holds(self) -> None:
        if not any(self.told.values()) and not self.under_way:
            assert_empty(self.index)


TestUnionMachine = UnionMachine.TestCase
TestUnionMachine.settings = settings(max_examples=80, stateful_step_count=30, deadline=None)

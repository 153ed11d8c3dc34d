"""Reports and predictions together: which of them say what. (What every index does: tests/conformance.)"""

from collections import Counter

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from router.ids import WorkerId
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
    index.settled(A, prompt("abc"))
    index.removed(A, prompt("ab").keys)
    index.remove(A)
    index.stored(C, prompt("a").keys)
    assert index.lookup(prompt("abc")) == {C: 1}
    assert max(index._holders.bits.values()) == 1, "its place is another's"


def test_nothing_of_a_removed_worker_is_kept() -> None:
    index = UnionIndex()
    index.stored(A, prompt("ab").keys)
    index.sent(A, prompt("abc"))
    index.remove(A)
    assert not index._expected
    assert not index._held
    assert not index._holders.bits


class UnionMachine(RuleBasedStateMachine):
    """Random sends, reports and evictions, beside two plain sets per worker."""

    def __init__(self) -> None:
        super().__init__()
        self.index = UnionIndex()
        self.held: dict[WorkerId, set[str]] = {}
        self.under_way: Counter[tuple[WorkerId, str]] = Counter()

    @rule(worker=WORKERS, letters=LETTERS)
    def send(self, worker: WorkerId, letters: str) -> None:
        self.index.sent(worker, prompt(letters))
        self.under_way[worker, letters] += 1

    @rule(data=st.data())
    def settle(self, data: st.DataObject) -> None:
        sent = sorted(self.under_way.elements())
        if sent:
            worker, letters = data.draw(st.sampled_from(sent))
            self._settle(worker, letters)

    @rule(worker=WORKERS, letters=LETTERS)
    def report(self, worker: WorkerId, letters: str) -> None:
        self.index.stored(worker, prompt(letters).keys)
        prefixes = {letters[:end] for end in range(1, len(letters) + 1)}
        self.held.setdefault(worker, set()).update(prefixes)

    @rule(worker=WORKERS, letters=LETTERS)
    def evict(self, worker: WorkerId, letters: str) -> None:
        """All that begins like this, tails first."""
        gone = [prefix for prefix in self.held.get(worker, ()) if prefix.startswith(letters)]
        for prefix in sorted(gone, key=len, reverse=True):
            self.index.removed(worker, prompt(prefix).keys[-1:])
            self.held[worker].discard(prefix)

    @rule(worker=WORKERS, letters=LETTERS)
    def restart(self, worker: WorkerId, letters: str) -> None:
        """What was under way is settled after the next one was sent."""
        lost = [sent for sent in self.under_way.elements() if sent[0] == worker]
        self.index.clear(worker)
        self.held.pop(worker, None)
        self.send(worker, letters)
        for sent in lost:
            self._settle(*sent)

    @rule(worker=WORKERS)
    def leave(self, worker: WorkerId) -> None:
        self.index.remove(worker)
        self.held.pop(worker, None)
        for sent in [sent for sent in self.under_way if sent[0] == worker]:
            self.index.settled(worker, prompt(sent[1]))
            del self.under_way[sent]

    @rule(letters=LETTERS)
    def ask(self, letters: str) -> None:
        depths = {worker: self._depth(worker, letters) for worker in (A, B, C)}
        wanted = {worker: depth for worker, depth in depths.items() if depth}
        assert self.index.lookup(prompt(letters)) == wanted

    def _settle(self, worker: WorkerId, letters: str) -> None:
        self.index.settled(worker, prompt(letters))
        self.under_way[worker, letters] -= 1

    def _depth(self, worker: WorkerId, letters: str) -> int:
        known = set(self.held.get(worker, ()))
        for (receiver, sent), times in self.under_way.items():
            if receiver == worker and times:
                known.update(sent[:end] for end in range(1, len(sent) + 1))
        return sum(letters[:end] in known for end in range(1, len(letters) + 1))

    @invariant()
    def nothing_is_kept_that_nobody_holds(self) -> None:
        if not any(self.held.values()) and not self.under_way.total():
            assert not self.index._holders.bits


TestUnionMachine = UnionMachine.TestCase
TestUnionMachine.settings = settings(max_examples=50, stateful_step_count=30, deadline=None)

"""What workers' events make of the index: subscribers, ledgers and the index together, against engines on paper.

After all work is done a lookup says what walking through the engines' blocks says.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule
from msgspec.msgpack import encode

from router.events import ledger as ledgers
from router.events.counters import Counters
from router.events.ledger import Ledger
from router.events.subscriber import Subscriber
from router.events.wire import AllBlocksCleared, BlockRemoved, BlockStored, Event
from router.ids import BlockKey, WorkerId
from router.index.union import UnionIndex
from router.prompt.identity import TokenIdentity
from router.prompt.token_blocks import token_keys
from tests.unit.events.engine import PaperEngine, PaperPublisher

SIZE = 2
WORKERS = [WorkerId("a:8000"), WorkerId("b:8000")]
ANY = st.sampled_from(WORKERS)
PROMPTS = st.text("ab", min_size=1, max_size=4)
"""A letter is a block."""

UPSETS = st.sampled_from(
    [
        *("clear", "leave", "lie"),
        *("restart", "restart that is noticed", "restart like a gap", "restart like the next"),
    ]
)

STEPS = st.lists(PROMPTS | PROMPTS | st.integers(0, 9), min_size=1, max_size=5)


def tokens(letters: str) -> list[int]:
    return [ord(letter) for letter in letters for _ in range(SIZE)]


def key(letters: str) -> BlockKey:
    """Of the block at the end of this prompt."""
    return token_keys(tokens(letters), SIZE)[-1]


def prefixes(letters: str) -> list[str]:
    return [letters[:end] for end in range(1, len(letters) + 1)]


class NaiveEngine(PaperEngine):
    """How many copies it has of every block; a block is called by the prompt that ends with it."""

    def __init__(self) -> None:
        super().__init__()
        self.copies: Counter[str] = Counter()

    def compute(self, letters: str) -> None:
        """What is not there; of a prompt that is there whole, the last block once more."""
        hits = 0
        while hits < len(letters) - 1 and self.copies[letters[: hits + 1]]:
            hits += 1
        self.announce(letters, hits)
        self.copies.update(prefixes(letters)[hits:])

    def announce(self, letters: str, start: int, session: str | None = None) -> None:
        names = [key(prefix) for prefix in prefixes(letters)]
        parent = names[start - 1] if start else None
        event = BlockStored(names[start:], parent, tokens(letters[start:]), SIZE, group_idx=0)
        event.session_id = session
        self.events.append(event)

    def evict(self, letters: str) -> None:
        """One copy; the last one goes after all blocks behind it."""
        if self.copies[letters] == 1:
            for each in [each for each in +self.copies if each.startswith(letters)]:
                for _ in range(self.copies[each] - (each == letters)):
                    self.lose(each)
        self.lose(letters)

    def lose(self, letters: str) -> None:
        self.copies[letters] -= 1
        self.events.append(BlockRemoved([key(letters)], None, 0))

    def clear(self) -> None:
        self.copies.clear()
        self.events.append(AllBlocksCleared())

    @property
    def held(self) -> set[str]:
        return set(+self.copies)


class Liar(PaperPublisher):
    def say(self, true: list[Event], told: list[Event]) -> tuple[int, bytes]:
        """The next batch, which is remembered in another wording."""
        self.now += 1
        batches = [(self._next, encode([self.now, events, 0])) for events in (true, told)]
        self._kept.append(batches[0])
        self._next += 1
        return batches[1]


class Line:
    """A worker, all that listens to it, and the prompts on their way there. `whole`: nothing that was missed cannot
    be had again.
    """

    def __init__(self, worker: WorkerId, index: UnionIndex, ring: int | None, replay: bool) -> None:
        self.worker, self.engine, self.counters = worker, NaiveEngine(), Counters()
        self.ledger = Ledger(worker, {"GPU": index}, self.counters)
        self.subscriber = Subscriber(self.ledger, self.counters, lambda _: None)
        self.publisher = Liar(self._deliver, ring)
        self.replays, self.keeps_all = replay, replay and ring is None
        self.sent: list[str] = []
        self.whole, self.here, self.quiet, self.lives = True, True, True, 0
        self.attach()

    def attach(self) -> None:
        self.here = True
        self.subscriber.attach(self.publisher.replay if self.replays else None)

    def publish(self, lose: bool) -> None:
        told_all = any(isinstance(event, AllBlocksCleared) for event in self.engine.events)
        lost = lose and bool(self.engine.events)
        self.quiet &= not lost
        self.whole = self.keeps_all or (not lost and (told_all or self.whole))
        self.publisher.losing = lose
        self.publisher.publish(self.engine)

    def ping(self, *, lose: bool = False) -> None:
        """News of nothing: it shows what was missed."""
        self.engine.events.append(BlockRemoved([], None, 0))
        self.publish(lose)

    def restart(self, how: str) -> None:
        """A new life, whose first batches may be lost: as many as make the next one look like one of the old life."""
        if "like" in how:
            self.drain()
        numbers = self.publisher._next
        self.engine.copies.clear()
        self.engine.events.clear()
        self.lives, self.quiet, life = self.lives + 1, False, self.publisher.restart()
        self.whole = self.keeps_all or how == "restart"
        lost = {"restart like a gap": numbers + 1, "restart like the next": numbers}
        for _ in range(lost.get(how, 0)):
            self.ping(lose=True)
        self.ping()
        if how in ("restart that is noticed", "restart like the next") and self.here:
            self.subscriber.check(life)

    def lie(self) -> None:
        """What is told is not what was said, and that is found out."""
        self.drain()
        untrue = BlockStored([key("c")], None, tokens("c"), SIZE, group_idx=0)
        self.subscriber.offer(*self.publisher.say([], [untrue]))
        self.drain()
        self.subscriber.resync()
        self.whole, self.quiet = self.keeps_all, False

    def drain(self) -> None:
        while self.subscriber.step():
            pass

    @property
    def told(self) -> set[str]:
        return self.engine.held if self.here else set()

    @property
    def known(self) -> set[str]:
        return self.told.union(*map(prefixes, self.sent))

    def _deliver(self, number: int, payload: bytes) -> None:
        if self.here:
            self.subscriber.offer(number, payload)


@contextmanager
def small_portions() -> Iterator[None]:
    before, ledgers.PORTION = ledgers.PORTION, 2
    try:
        yield
    finally:
        ledgers.PORTION = before


class ExactIndex(RuleBasedStateMachine):
    """Workers that keep all of their past."""

    ring: int | None = None

    @initialize(replay=st.just(value=True), steps=STEPS)
    def begin(self, replay: bool, steps: list[str | int]) -> None:
        self.index = UnionIndex()
        self.lines = {w: Line(w, self.index, self.ring, replay) for w in WORKERS}
        for worker in WORKERS:
            self.run(worker, steps, "told")

    # -- what engines do -----------------------------------------------------------------------

    @rule(worker=ANY, steps=STEPS, how=st.sampled_from(["told", "lost", "told later"]))
    def run(self, worker: WorkerId, steps: list[str | int], how: str) -> None:
        """Prompts are computed; numbers stand for evictions."""
        line = self.lines[worker]
        for step in steps:
            if isinstance(step, str):
                line.engine.compute(step)
            elif held := sorted(line.engine.held):
                line.engine.evict(held[step % len(held)])
        if how != "told later":
            line.publish(lose=how == "lost")

    @rule(worker=ANY, data=st.data())
    def report(self, worker: WorkerId, data: st.DataObject) -> None:
        engine = self.lines[worker].engine
        if engine.held:
            engine.announce(data.draw(st.sampled_from(sorted(engine.held))), 0, "session")

    @rule(worker=ANY, what=st.lists(st.tuples(UPSETS, st.integers(0, 3)), min_size=1, max_size=3))
    def upset(self, worker: WorkerId, what: list[tuple[str, int]]) -> None:
        """One thing after the other, with few steps of work between."""
        line = self.lines[worker]
        for how, steps in what:
            if how == "clear":
                line.engine.clear()  # told with the next batch
            elif how == "leave":
                self._leave(line)
            elif how == "lie" and line.here:
                line.lie()
            elif how.startswith("restart"):
                line.restart(how)
            self.work(worker, steps)

    def _leave(self, line: Line) -> None:
        if line.here:
            line.subscriber.leave()
            self.index.remove(line.worker)
            assert all(line.worker not in self.index.lookup(identity(each)) for each in line.known)
            line.here = line.quiet = False
            while line.sent:
                self.settle(line.worker, 0)

    @rule(worker=ANY)
    def come_back(self, worker: WorkerId) -> None:
        line = self.lines[worker]
        if not line.here:
            line.attach()
            line.whole = line.keeps_all

    # -- what happens to their words -----------------------------------------------------------

    @rule(worker=ANY, back=st.integers(0, 9))
    def come_twice(self, worker: WorkerId, back: int) -> None:
        self.lines[worker].publisher.losing = False
        self.lines[worker].publisher.again(back)

    @rule(worker=ANY, steps=st.integers(1, 8))
    def work(self, worker: WorkerId, steps: int) -> None:
        with small_portions():
            for _ in range(steps):
                self.lines[worker].subscriber.step()

    # -- what the router does ------------------------------------------------------------------

    @rule(worker=ANY, letters=PROMPTS)
    def send(self, worker: WorkerId, letters: str) -> None:
        if self.lines[worker].here:
            self.index.sent(worker, identity(letters))
            self.lines[worker].sent.append(letters)

    @rule(worker=ANY, which=st.integers(0, 9))
    def settle(self, worker: WorkerId, which: int) -> None:
        sent = self.lines[worker].sent
        if sent:
            self.index.settled(worker, identity(sent.pop(which % len(sent))))

    @rule(prompts=st.lists(PROMPTS, min_size=3, max_size=6))
    def ask(self, prompts: list[str]) -> None:
        """When all that there is to tell is told and worked on."""
        for line in self.lines.values():
            line.ping()
            with small_portions():
                line.drain()
            self.is_exact(line)
            counts_make_sense(line)
        for letters in prompts:
            found = self.index.lookup(identity(letters))
            for worker, line in self.lines.items():
                wanted = sum(prefix in line.known for prefix in prefixes(letters))
                if line.whole:
                    assert found.get(worker, 0) == wanted
                else:
                    assert found.get(worker, 0) <= wanted

    def is_exact(self, line: Line) -> None:
        held = set(self.index._holders.keys(line.worker))
        told = {key(prefix) for prefix in line.told}
        expected = {key(prefix) for sent in line.sent for prefix in prefixes(sent)}
        assert expected <= held <= told | expected
        assert line.ledger.blocks() <= len(told)
        if line.whole:
            assert held == told | expected
            assert line.ledger.blocks() == len(told)

    @invariant()
    def every_block_has_a_holder(self) -> None:
        if hasattr(self, "index"):
            table = self.index._holders
            everybody = sum(table._taken.values())
            for part in table.parts:
                assert all(held and not held & ~everybody for held in part.values())
            assert sum(map(table.count, table._taken)) == sum(
                held.bit_count() for part in table.parts for held in part.values()
            )

    def teardown(self) -> None:
        """When all have left nothing is kept."""
        if hasattr(self, "index"):
            self.ask(["aaaa", "abab", "bbbb"])
            for line in self.lines.values():
                self._leave(line)
                line.drain()
            assert not self.index._holders
            assert not self.index._holders._taken
            assert not self.index._expected


def identity(letters: str) -> TokenIdentity:
    return TokenIdentity.of(token_keys(tokens(letters), SIZE), len(letters) * SIZE, SIZE)


def counts_make_sense(line: Line) -> None:
    counters = line.counters
    for name in ("unknown", "sparse", "nameless", "refused", "unreadable", "dropped"):
        assert getattr(counters, name) == 0
    assert counters.restarts <= line.lives
    if line.quiet and not line.lives:
        assert (counters.gaps, counters.resyncs, counters.orphans) == (0, 0, 0)


class ForgottenPast(ExactIndex):
    """They keep few batches, or none: never is more thought to be held than is."""

    ring = 3

    @initialize(replay=st.booleans(), steps=STEPS)
    def begin(self, replay: bool, steps: list[str | int]) -> None:
        super().begin(replay, steps)


MANY = settings(max_examples=150, stateful_step_count=50, deadline=None)
TestExactIndex = ExactIndex.TestCase
TestExactIndex.settings = MANY
TestForgottenPast = ForgottenPast.TestCase
TestForgottenPast.settings = MANY

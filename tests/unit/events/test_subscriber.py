"""One source's batches: in order, each once, whatever gets lost or comes twice; against an engine on paper."""

from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from router.events import subscriber as module
from router.events.subscriber import OpenReplay, Reply, Subscriber
from tests.unit.events.engine import PaperEngine, PaperPublisher, PaperReplay
from tests.unit.events.support import SIZE, Book, recorded_frames, stored, tokens


class Line:
    """An engine, its publisher, and a subscriber that has all the time it wants."""

    def __init__(self, ring: int | None = None) -> None:
        self.book = Book()
        self.engine = PaperEngine()
        self.woken = 0
        self.subscriber = Subscriber(
            self.book.ledger, self.book.counters, self._wake, now=lambda: self.publisher.now + 0.25
        )
        self.publisher = PaperPublisher(self.subscriber.offer, ring)

    def attach(self, *, replay: bool = True) -> None:
        offered: OpenReplay | None = self.publisher.replay if replay else None
        self.subscriber.attach(offered)
        self.drain()

    def serve(self, first: int, blocks: int = 2, *, lose: bool = False) -> None:
        """A prompt with one token more than its blocks."""
        self.publisher.losing = lose
        self.engine.serve([*tokens(first, blocks), 0])
        self.publisher.publish(self.engine)
        self.publisher.losing = False

    def drain(self) -> None:
        for _ in range(10_000):
            if not self.subscriber.step():
                return
        pytest.fail("it never comes to rest")

    def exact(self) -> bool:
        self.drain()
        return self.book.held == self.engine.keys()

    def _wake(self, subscriber: Subscriber) -> None:
        assert subscriber is self.subscriber
        self.woken += 1


@pytest.fixture
def line() -> Line:
    return Line()


# -- without losses ------------------------------------------------------------------------------


def test_batches_are_applied_as_they_come(line: Line) -> None:
    line.attach()
    for first in (0, 100, 200, 0, 300):
        line.serve(first)
    assert line.exact()
    counters = line.book.counters
    assert (counters.batches, counters.gaps, counters.replays) == (4, 0, 1)
    assert counters.lag_s == 0.25


def test_it_asks_for_the_past_when_it_begins(line: Line) -> None:
    line.serve(0, lose=True)
    line.serve(100, lose=True)
    line.attach()
    assert line.exact()
    assert line.book.counters.batches == 2


def test_a_past_that_is_not_kept_is_gone() -> None:
    line = Line(ring=1)
    line.serve(0, lose=True)
    line.serve(100, lose=True)
    line.attach()
    line.drain()
    assert len(line.book.held) == 2
    line.serve(200)
    line.drain()
    assert (len(line.book.held), line.book.counters.resyncs) == (4, 0)


@pytest.mark.parametrize("replay", [True, False])
def test_who_begins_late_knows_whether_it_knows_all(replay: bool) -> None:
    line = Line()
    line.serve(0, lose=True)
    line.attach(replay=replay)
    line.serve(100)
    line.drain()
    assert line.subscriber.current
    assert line.subscriber.whole is replay
    assert line.exact() is replay


def test_an_emptied_cache_is_known_whole() -> None:
    line = Line()
    line.serve(0, lose=True)
    line.attach(replay=False)
    line.serve(100)
    line.drain()
    line.engine.reset()
    line.serve(200)
    line.drain()
    assert line.subscriber.whole
    assert line.exact()


def test_work_wakes_whoever_does_it(line: Line) -> None:
    line.attach()
    before = line.woken
    line.serve(0)
    assert line.woken == before + 1


# -- gaps ----------------------------------------------------------------------------------------


def test_a_gap_is_closed_by_a_replay(line: Line) -> None:
    line.attach()
    line.serve(0)
    line.serve(100, lose=True)
    line.serve(200)
    assert line.exact()
    counters = line.book.counters
    assert (counters.gaps, counters.resyncs, counters.batches) == (1, 0, 3)


def test_what_a_replay_leaves_out_is_asked_for_again(line: Line) -> None:
    line.attach()
    line.serve(0)
    for first in (100, 200, 300, 400):
        line.serve(first, lose=True)
    line.publisher.leaky = True
    line.serve(500)
    assert line.exact()
    assert line.book.counters.resyncs == 0


@pytest.mark.parametrize("replay", [True, False])
def test_a_gap_that_cannot_be_closed_starts_over(line: Line, replay: bool) -> None:
    line.attach(replay=replay)
    line.publisher.silent = True
    line.serve(0)
    line.serve(100, lose=True)
    line.serve(200)
    line.drain()
    assert line.book.held < line.engine.keys()
    assert len(line.book.held) == 2
    assert line.book.counters.resyncs == 1


def test_a_gap_longer_than_what_is_kept_starts_over_with_what_there_is() -> None:
    line = Line(ring=2)
    line.attach()
    line.serve(0)
    for first in (100, 200, 300):
        line.serve(first, lose=True)
    line.serve(400)
    line.drain()
    assert line.book.held < line.engine.keys()
    assert len(line.book.held) == 4
    assert line.book.counters.resyncs == 1


def test_a_full_inbox_is_a_gap_even_if_nothing_follows(
    line: Line, monkeypatch: pytest.MonkeyPatch
) -> None:
    line.attach()
    monkeypatch.setattr(module, "INBOX_BATCHES", 2)
    for first in (0, 100, 200, 300):
        line.serve(first)
    assert line.book.counters.dropped == 2
    assert line.exact()


def test_the_inbox_is_bounded_in_bytes_too(line: Line, monkeypatch: pytest.MonkeyPatch) -> None:
    line.attach()
    monkeypatch.setattr(module, "INBOX_BYTES", 300)
    for first in (0, 100, 200):
        line.serve(first)
    assert line.book.counters.dropped >= 1
    assert line.exact()
    before = line.book.counters.dropped
    line.serve(300)
    assert line.book.counters.dropped == before  # there is room again


# -- restarts ------------------------------------------------------------------------------------


def restart(line: Line) -> float:
    line.engine.pool.clear()
    line.engine.events.clear()
    return line.publisher.restart()


def test_numbers_that_begin_anew_tell_of_a_restart(line: Line) -> None:
    line.attach()
    for first in (0, 100):
        line.serve(first)
    line.drain()
    restart(line)
    line.serve(200)
    assert line.exact()
    assert line.book.counters.restarts == 1


def test_a_restart_is_seen_by_any_number_that_is_not_higher(line: Line) -> None:
    line.attach()
    for first in (0, 100, 200, 300):
        line.serve(first)
    line.drain()
    restart(line)
    line.serve(400, lose=True)
    line.serve(500)
    assert line.exact()


def test_a_restart_may_look_like_a_gap(line: Line) -> None:
    line.attach()
    line.serve(0)
    line.drain()
    restart(line)
    for first in (100, 200, 300):
        line.serve(first, lose=True)
    line.serve(400)
    assert line.exact()
    assert line.book.counters.resyncs == 1


@pytest.mark.parametrize("replay", [True, False])
@pytest.mark.parametrize("late", [True, False])
def test_a_restart_may_look_like_nothing_but_for_its_time(
    line: Line, replay: bool, late: bool
) -> None:
    line.attach(replay=replay)
    line.serve(0)
    line.drain()
    life = restart(line)
    line.serve(100, lose=True)
    if late:
        line.serve(200)
        line.drain()
        line.subscriber.check(life)
    else:
        line.subscriber.check(life)
        line.serve(200)
    line.serve(300)
    line.drain()
    assert line.book.held <= line.engine.keys()
    assert line.exact() or not replay


def test_each_life_is_asked_anew(line: Line) -> None:
    line.publisher.silent = True
    line.attach()
    line.serve(0, lose=True)
    line.serve(100)
    line.drain()
    restart(line)
    line.publisher.silent = False
    line.serve(200, lose=True)
    line.serve(300)
    assert line.exact()


def test_what_was_said_in_another_life_comes_too_late(line: Line) -> None:
    line.attach(replay=False)
    line.serve(0)
    line.drain()
    line.serve(100)  # not read yet
    line.subscriber.check(restart(line))
    line.serve(200)
    assert line.exact()


def test_nor_does_a_replay_of_another_life_count(line: Line) -> None:
    for first in (0, 100, 200):
        line.serve(first, lose=True)
    line.subscriber.attach(line.publisher.replay)
    for _ in range(2):
        line.subscriber.step()  # in the middle of the replay
    line.subscriber.check(restart(line))
    line.serve(300)
    assert line.exact()
    assert (line.book.counters.restarts, line.book.counters.batches) == (1, 2)


def test_a_restarted_worker_without_news_holds_nothing(line: Line) -> None:
    line.attach()
    line.serve(0)
    line.drain()
    restart(line)
    line.subscriber.check()
    assert line.exact()
    assert line.book.held == set()


def test_a_check_that_finds_nothing_changes_nothing(line: Line) -> None:
    line.attach()
    line.serve(0)
    line.drain()
    reports = line.book.gpu.reports
    line.subscriber.check(0.5)
    assert line.exact()
    assert line.book.gpu.reports == reports
    line.publisher.silent = True
    line.subscriber.check()
    assert line.exact()


# -- a past that does not help -------------------------------------------------------------------


NOISE = b"\xc1"
"""No msgpack at all."""


def batch(timestamp: float) -> bytes:
    return msgspec.msgpack.encode([timestamp, [], 0])


PAYLOADS = st.sampled_from([NOISE, NOISE + NOISE, batch(1.0), batch(2.0), batch(3.0)])


class Told:
    """A subscriber whose source repeats the same past, however often it is asked."""

    def __init__(self, *past: bytes) -> None:
        self.book = Book()
        self.asked: list[int] = []
        self.past = list(past)
        self.subscriber = Subscriber(self.book.ledger, self.book.counters, lambda _: None)
        self.subscriber.attach(self._open)

    def hear(self, number: int, payload: bytes) -> None:
        self.subscriber.offer(number, payload)
        assert any(not self.subscriber.step() for _ in range(200)), "it never comes to rest"

    def _open(self, first: int) -> PaperReplay:
        self.asked.append(first)
        return PaperReplay(list(enumerate(self.past))[first:], Reply.END)


def test_a_gap_behind_what_is_unreadable_and_last_is_asked_for_once() -> None:
    told = Told(batch(1.0), NOISE)
    told.hear(0, batch(1.0))
    told.hear(1, NOISE)
    asked = len(told.asked)
    told.hear(3, batch(3.0))
    assert told.asked[asked:] == [1]
    assert told.book.counters.resyncs == 1
    told.hear(4, batch(4.0))
    assert len(told.asked) == asked + 1


@pytest.mark.parametrize(("kept", "asked"), [(NOISE, [1]), (NOISE + NOISE, [1, 0])])
def test_what_is_unreadable_is_of_the_same_life_while_it_is_the_same(
    kept: bytes, asked: list[int]
) -> None:
    told = Told(batch(1.0))
    told.hear(0, batch(1.0))
    told.hear(1, NOISE)
    told.asked.clear()
    told.past = [batch(1.0), kept, batch(2.0), batch(3.0)]
    told.hear(3, batch(3.0))
    assert told.asked == asked
    assert told.book.counters.resyncs == len(asked) - 1


def test_a_past_with_an_earlier_clock_is_asked_for_once() -> None:
    told = Told(batch(1.0), batch(1.0))
    told.hear(1, batch(2.0))
    assert told.asked == [0]
    told.hear(2, batch(2.5))
    assert told.asked == [0]


@given(st.lists(PAYLOADS, max_size=5), st.lists(st.tuples(st.integers(0, 6), PAYLOADS), max_size=5))
def test_it_always_comes_to_rest(past: list[bytes], heard: list[tuple[int, bytes]]) -> None:
    told = Told(*past)
    for number, payload in heard:
        told.hear(number, payload)


# -- twice, and never ----------------------------------------------------------------------------


def test_a_batch_that_comes_twice_is_applied_once(line: Line) -> None:
    line.attach()
    for first in (0, 100):
        line.serve(first)
        line.publisher.again(0)
    line.publisher.again(1)
    assert line.exact()
    assert (line.book.counters.duplicates, line.book.counters.batches) == (3, 2)


def test_noise_is_counted_and_passed(line: Line) -> None:
    line.attach()
    line.serve(0)
    line.subscriber.offer(1, b"noise")
    line.subscriber.offer(2, msgspec.msgpack.encode([9.0, [{"type": "Odd"}], 0]))
    line.drain()
    counters = line.book.counters
    assert (counters.unreadable, counters.unknown, counters.gaps) == (1, 1, 0)
    assert line.exact()


def test_a_recorded_stream_is_followed() -> None:
    book = Book()
    subscriber = Subscriber(book.ledger, book.counters, lambda _: None)
    subscriber.attach(None)
    for _, number, payload in recorded_frames()[:4]:
        subscriber.offer(int.from_bytes(number, "big"), payload)
    while subscriber.step():
        pass
    assert (len(book.held), book.counters.batches, book.counters.gaps) == (4, 4, 0)


def test_after_the_end_nothing_happens(line: Line) -> None:
    line.attach()
    line.serve(0)
    line.subscriber.close()
    assert not line.subscriber.step()
    assert line.book.held == set()


def test_what_a_worker_that_left_reported_is_taken_back_step_by_step(line: Line) -> None:
    line.attach()
    line.serve(0)
    line.drain()
    line.serve(100)
    woken = line.woken
    line.subscriber.leave()
    assert line.woken == woken + 1
    line.drain()
    assert line.book.held == set()
    line.subscriber.check()
    line.drain()
    assert line.book.counters.replays == 1, "nobody is asked any more"


def test_a_worker_may_come_back_while_what_it_reported_is_taken_back(line: Line) -> None:
    line.attach()
    line.serve(0)
    line.serve(100)
    line.drain()
    line.subscriber.leave()
    line.subscriber.step()
    line.subscriber.attach(line.publisher.replay)
    line.serve(200)
    assert line.exact()


@pytest.mark.parametrize("replay", [True, False])
def test_what_is_wrong_is_void_and_told_anew(line: Line, replay: bool) -> None:
    line.attach(replay=replay)
    line.serve(0)
    line.serve(100)
    line.drain()
    line.subscriber.offer(2, msgspec.msgpack.encode([9.0, [stored(7, text=tokens(900))], 0]))
    line.drain()
    assert not line.book.held <= line.engine.keys()
    line.subscriber.resync()
    line.serve(200)
    line.drain()
    assert line.book.held <= line.engine.keys()
    assert len(line.book.held) == (6 if replay else 2)
    counters = line.book.counters
    assert (counters.resyncs, counters.gaps, counters.restarts) == (1, 0, 0)


def test_while_the_past_is_asked_for_nothing_is_current(line: Line) -> None:
    line.attach()
    assert not line.subscriber.current
    line.serve(0)
    line.drain()
    assert line.subscriber.current
    line.subscriber.resync()
    assert not line.subscriber.current
    line.drain()
    assert line.subscriber.current


def test_another_source_starts_from_nothing(line: Line) -> None:
    line.attach()
    line.serve(0)
    line.drain()
    other = Line()
    other.serve(100, lose=True)
    line.subscriber.attach(other.publisher.replay)
    line.drain()
    assert line.book.held == other.engine.keys()


# -- anything, in any order ----------------------------------------------------------------------

PROMPTS = st.builds(
    lambda shared, tail, extra: [*tokens(0, shared), *tokens(1000 * tail, 1), *range(extra)],
    st.integers(0, 5),
    st.integers(1, 3),
    st.integers(0, SIZE),
)


@contextmanager
def small_inbox(batches: int) -> Iterator[None]:
    before, module.INBOX_BATCHES = module.INBOX_BATCHES, batches
    try:
        yield
    finally:
        module.INBOX_BATCHES = before


class Stream(RuleBasedStateMachine):
    """Whatever happens on the way: in the end the index holds what the engine does."""

    ring: int | None = None

    @initialize(replay=st.just(value=True))
    def begin(self, replay: bool) -> None:
        self.line = Line(self.ring)
        self.line.attach(replay=replay)
        self.copies_missed = False

    @rule(prompt=PROMPTS, salt=st.sampled_from([None, "s"]), full=st.booleans(), lose=st.booleans())
    def serve(self, prompt: list[int], salt: str | None, full: bool, lose: bool) -> None:
        self.line.engine.serve(prompt, salt, full=full)
        self._publish(lose)

    @rule(prompt=PROMPTS)
    def compute_without_looking(self, prompt: list[int]) -> None:
        """Copies from the first block on look like a report: they are not counted."""
        self.line.engine.serve(prompt, look=False)
        self.copies_missed = True
        self._publish(lose=False)

    @rule()
    def reset(self) -> None:
        """Told with the next batch."""
        self.line.engine.reset()
        self.copies_missed = False

    @rule()
    def restart(self) -> None:
        life = restart(self.line)
        self.copies_missed = False
        self.line.subscriber.check(life)

    @rule(back=st.integers(0, 9))
    def come_twice(self, back: int) -> None:
        self.line.publisher.again(back)

    @rule(leaky=st.booleans())
    def leak(self, leaky: bool) -> None:
        self.line.publisher.leaky = leaky

    @rule(steps=st.integers(1, 6))
    def work(self, steps: int) -> None:
        for _ in range(steps):
            self.line.subscriber.step()

    @rule()
    def settle(self) -> None:
        """Nothing more is lost, and there is some news."""
        self.line.drain()
        self.line.engine.serve(tokens(next(FRESH) * 10_000, 2))
        self._publish(lose=False)
        self.line.drain()
        held, real = self.line.book.held, self.line.engine.keys()
        assert held <= real
        if self.ring is None and not self.copies_missed:
            assert held == real

    def _publish(self, lose: bool) -> None:
        self.line.publisher.losing = lose
        with small_inbox(5):
            self.line.publisher.publish(self.line.engine)
        self.line.publisher.losing = False


FRESH = count(1)


class ForgetfulStream(Stream):
    """The worker keeps few batches, or none, or does not answer: never is more thought to be held than is."""

    ring = 3

    @initialize(replay=st.booleans())
    def begin(self, replay: bool) -> None:
        super().begin(replay)

    @rule(silent=st.booleans())
    def fall_silent(self, silent: bool) -> None:
        self.line.publisher.silent = silent


MANY = settings(max_examples=150, stateful_step_count=40, deadline=None)
TestStream = Stream.TestCase
TestStream.settings = MANY
TestForgetfulStream = ForgetfulStream.TestCase
TestForgetfulStream.settings = MANY

"""Each item beats once a turn, late wheels catch up, finished items leave."""

from bench.dataplane.wheel import Wheel


class Counter:
    """Beats `limit` times."""

    def __init__(self, limit: int = 1000) -> None:
        self.beats, self.limit = 0, limit

    def beat(self) -> bool:
        self.beats += 1
        return self.beats < self.limit


def test_first_beat_comes_after_one_turn() -> None:
    wheel, item = Wheel(0.020, 0.001, now=0.0), Counter()
    wheel.advance(0.0055)
    wheel.add(item)
    wheel.advance(0.0235)
    assert item.beats == 0
    wheel.advance(0.0255)
    assert item.beats == 1


def test_a_late_wheel_makes_up_for_what_it_missed() -> None:
    wheel, item = Wheel(0.020, 0.001, now=0.0), Counter()
    wheel.add(item)
    wheel.advance(1.0005)
    assert item.beats == 50


def test_finished_items_leave() -> None:
    wheel, item = Wheel(0.020, 0.001, now=0.0), Counter(limit=3)
    wheel.add(item)
    wheel.advance(1.0)
    assert item.beats == 3


def test_next_due_is_the_next_tick() -> None:
    wheel = Wheel(0.020, 0.001, now=5.0)
    wheel.advance(5.0105)
    assert abs(wheel.next_due() - 5.011) < 1e-9

"""What numbers and times of batches say."""

import pytest

from router.events.continuity import Continuity, Verdict


@pytest.mark.parametrize(
    ("number", "timestamp", "verdict"),
    [
        (6, 9.0, Verdict.NEXT),
        (8, 9.0, Verdict.GAP),
        (5, 3.0, Verdict.DUPLICATE),
        (2, 1.0, Verdict.DUPLICATE),
        (5, 3.5, Verdict.RESTART),
        (0, 9.0, Verdict.RESTART),
    ],
)
def test_a_batch_is_judged_by_the_last_one(number: int, timestamp: float, verdict: Verdict) -> None:
    order = Continuity()
    order.accept(5, 3.0)
    assert order.judge(number, timestamp) is verdict


def test_only_number_0_has_nothing_before_it() -> None:
    order = Continuity()
    assert order.judge(0, 1.0) is Verdict.NEXT
    assert order.judge(1, 1.0) is Verdict.GAP
    order.accept(4, 1.0)
    order.forget()
    assert order.judge(0, 0.5) is Verdict.NEXT


def test_a_batch_is_known_again_by_its_number_and_time() -> None:
    order = Continuity()
    assert not order.is_last(0, 0.0)
    order.accept(5, 3.0)
    assert order.is_last(5, 3.0)
    assert not order.is_last(5, 3.1)
    assert not order.is_last(4, 3.0)


def test_an_unreadable_batch_is_passed_only_in_its_place() -> None:
    order = Continuity()
    order.skip(1, b"x")
    assert order.last is None
    order.skip(0, b"y")
    order.skip(2, b"z")
    assert order.last == 0
    assert order.judge(1, 1.0) is Verdict.NEXT


def test_an_unreadable_batch_is_known_again_by_its_bytes() -> None:
    order = Continuity()
    order.accept(5, 3.0)
    assert not order.is_last_unreadable(5, b"x")
    order.skip(6, b"x")
    assert order.is_last_unreadable(6, b"x")
    assert not order.is_last_unreadable(6, b"y")
    assert not order.is_last_unreadable(5, b"x")
    assert not order.is_last(6, 3.0)
    order.accept(7, 4.0)
    assert order.is_last(7, 4.0)
    assert not order.is_last_unreadable(7, b"x")


def test_it_knows_whether_it_began_before_some_moment() -> None:
    order = Continuity()
    assert not order.spans(5.0)
    order.accept(0, 4.0)
    order.accept(1, 6.0)
    assert order.spans(5.0)
    assert not order.spans(4.0)
    order.forget()
    order.accept(0, 7.0)
    assert not order.spans(5.0)

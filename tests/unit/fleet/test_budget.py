"""How many refused requests may be sent on."""

from hypothesis import given
from hypothesis import strategies as st

from router.fleet.budget import Budget


def spent(budget: Budget) -> int:
    """How many can be sent on at once."""
    number = 0
    while budget.enough:
        budget.spend()
        number += 1
    return number


def test_there_is_a_reserve_without_any_traffic() -> None:
    assert spent(Budget()) == 10
    assert spent(Budget(reserve=3.0)) == 3


def test_a_share_of_what_is_sent_may_be_sent_on() -> None:
    budget = Budget(reserve=0.0)
    assert not budget.enough
    budget = Budget(reserve=1.0)
    spent(budget)
    for _ in range(8):
        assert not budget.enough
        budget.earn(0.125)
    assert spent(budget) == 1


def test_what_is_saved_up_is_bounded() -> None:
    budget = Budget()
    for _ in range(10_000):
        budget.earn(0.2)
    assert spent(budget) == 100


def test_a_share_of_nothing_ends_it() -> None:
    budget = Budget()
    spent(budget)
    for _ in range(1000):
        budget.earn(0.0)
    assert not budget.enough


@given(st.lists(st.booleans(), max_size=400))
def test_over_any_course_it_is_not_more_than_that(course: list[bool]) -> None:
    budget, sent, on = Budget(), 0, 0
    for refused in course:
        sent += 1
        budget.earn(0.25)
        if refused and budget.enough:
            budget.spend()
            on += 1
    assert on <= 10 + sent * 0.25

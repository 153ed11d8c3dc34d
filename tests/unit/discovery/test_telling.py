"""Only news is told."""

from collections.abc import Sequence

from router.discovery.telling import news
from router.fleet.target import Target

A, B = Target(url="http://a"), Target(url="http://b")


def test_another_order_is_no_news() -> None:
    told: list[Sequence[Target]] = []
    tell = news(told.append)
    for targets in ([A, B], [B, A], (A, B), [A], [A], [], [], [B]):
        tell(targets)
    assert told == [[A, B], [A], [], [B]]


def test_the_first_is_told_though_it_is_empty() -> None:
    told: list[Sequence[Target]] = []
    tell = news(told.append)
    tell([])
    assert told == [[]]


def test_what_else_is_said_of_a_worker_is_news() -> None:
    told: list[Sequence[Target]] = []
    tell = news(told.append)
    tell([A])
    tell([Target(url=A.url, drained=True)])
    assert len(told) == 2

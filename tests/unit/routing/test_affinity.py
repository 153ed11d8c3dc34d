"""Stored responses and their workers."""

from router.ids import WorkerId
from router.routing.affinity import ResponseHomes

A, B = WorkerId("a"), WorkerId("b")


def test_a_response_is_found_where_it_was_made() -> None:
    homes = ResponseHomes()
    homes.remember("resp_1", A)
    assert homes.find("resp_1") == A


def test_unknown_and_no_responses_have_no_home() -> None:
    homes = ResponseHomes()
    assert homes.find("resp_1") is None
    assert homes.find(None) is None
    assert homes.find("") is None


def test_the_last_word_counts() -> None:
    homes = ResponseHomes()
    homes.remember("resp_1", A)
    homes.remember("resp_1", B)
    assert homes.find("resp_1") == B


def test_the_oldest_are_forgotten() -> None:
    homes = ResponseHomes(limit=2)
    homes.remember("resp_1", A)
    homes.remember("resp_2", A)
    homes.remember("resp_1", B)
    homes.remember("resp_3", A)
    assert homes.find("resp_1") == B
    assert homes.find("resp_2") is None
    assert homes.find("resp_3") == A

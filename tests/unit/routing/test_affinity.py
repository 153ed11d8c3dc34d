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


def test_others_are_told_of_what_answers_brought() -> None:
    homes, told = ResponseHomes(), list[tuple[str, WorkerId]]()
    homes.on_stored = lambda response_id, worker: told.append((response_id, worker))
    homes.stored("resp_1", A)
    assert (homes.find("resp_1"), told) == (A, [("resp_1", A)])


def test_but_not_of_what_they_say_themselves() -> None:
    homes, told = ResponseHomes(), list[str]()
    homes.on_stored = lambda response_id, _: told.append(response_id)
    homes.remember("resp_1", A)
    assert (homes.find("resp_1"), told) == (A, [])


def test_there_need_not_be_any() -> None:
    homes = ResponseHomes(limit=1)
    homes.stored("resp_1", A)
    homes.stored("resp_2", B)
    assert (homes.find("resp_1"), homes.find("resp_2")) == (None, B)

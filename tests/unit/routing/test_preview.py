"""Asking a policy what it would choose."""

import random

from router.prompt.identity import TextIdentity
from router.routing.policy import Choice, Question
from router.routing.preview import Remembering, possible
from tests.unit.support import chat, request, workers_of

ASKED = request(chat("word"))
WORKERS = workers_of("a", "b", "c", "d")
QUESTION = Question(ASKED, TextIdentity().identify(ASKED), WORKERS, {}, 1.0)


class TestRemembering:
    def test_it_notes_what_it_chose(self) -> None:
        noted: list[Choice] = []
        policy = Remembering(
            lambda q: Choice(q.candidates[2], "third"), lambda q, choice: noted.append(choice)
        )
        assert policy(QUESTION) == Choice(WORKERS[2], "third")
        assert noted == [Choice(WORKERS[2], "third")]

    def test_it_does_not_when_only_asked(self) -> None:
        noted: list[Choice] = []
        policy = Remembering(
            lambda q: Choice(q.candidates[2], "third"), lambda q, choice: noted.append(choice)
        )
        assert possible(policy, QUESTION) == (Choice(WORKERS[2], "third"),)
        assert noted == []


class TestPossible:
    def test_where_nothing_is_drawn_there_is_one_choice(self) -> None:
        assert possible(lambda q: Choice(q.candidates[1], "second"), QUESTION) == (
            Choice(WORKERS[1], "second"),
        )

    def test_all_that_can_be_drawn(self) -> None:
        draw = random.Random(1).choice
        choices = possible(lambda q: Choice(draw(q.candidates[1:]), "drawn"), QUESTION)
        assert {choice.worker for choice in choices} == set(WORKERS[1:])
        assert {choice.reason for choice in choices} == {"drawn"}

    def test_a_large_fleet_is_not_asked_for_ever(self) -> None:
        asked: list[Question] = []

        def first(q: Question) -> Choice:
            asked.append(q)
            return Choice(q.candidates[0], "first")

        many = workers_of(*(f"w{n}" for n in range(100)))
        possible(first, Question(ASKED, QUESTION.identity, many, {}, 1.0))
        assert len(asked) == 256

"""The closed loop of `bench.policies`, on a clock that jumps."""

import asyncio
from collections.abc import Coroutine, Iterator, Sequence
from itertools import count
from typing import Any, TypeVar

from bench.policies.client import Answer, FailedError, Message
from bench.policies.load import Outcome, Plan, drive
from bench.policies.workload import Session

T = TypeVar("T")
ANSWER_S = 0.5


class JumpingLoop(asyncio.SelectorEventLoop):
    """Never waits: its time goes on to the next timer when nothing else is to be done."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        if not self._ready and self._scheduled:  # type: ignore[attr-defined]
            self._now = max(self._now, self._scheduled[0].when())  # type: ignore[attr-defined]
        super()._run_once()  # type: ignore[misc]


def run(main: Coroutine[Any, Any, T]) -> T:
    with asyncio.Runner(loop_factory=JumpingLoop) as runner:
        return runner.run(main)


class Server:
    """Answers after `ANSWER_S`, and remembers what it was asked."""

    def __init__(self, fails: int = -1) -> None:
        self.asked: list[list[Message]] = []
        self.sessions: list[str] = []
        self.inflight = self.most = 0
        self._fails = fails

    async def __call__(self, messages: Sequence[Message], session: str) -> Answer:
        number = len(self.asked)
        self.asked.append(list(messages))
        self.sessions.append(session)
        self.inflight += 1
        self.most = max(self.most, self.inflight)
        await asyncio.sleep(ANSWER_S)
        self.inflight -= 1
        if number == self._fails:
            raise FailedError("status 503")
        return Answer(f"answer {number}", 0.1, ANSWER_S, 100, 50, 16, "w")


def numbered(turns: int, think_s: float = 0.5) -> Iterator[Session]:
    """Sessions whose questions say where they belong."""
    for number in count():
        questions = tuple(f"{number}.{turn}" for turn in range(turns))
        yield Session(f"s{number}", "sys", questions, (think_s,) * turns)


def load(server: Server, plan: Plan, turns: int = 3) -> Outcome:
    return run(drive(server, numbered(turns), plan))


def test_a_session_s_turns_follow_each_other_and_carry_its_history() -> None:
    server = Server()
    load(server, Plan(users=1, warmup_s=0, measured_s=4))
    first, second, third, fresh = server.asked
    assert first == [{"role": "system", "content": "sys"}, {"role": "user", "content": "0.0"}]
    said = {"role": "assistant", "content": "answer 0"}
    assert second == [*first, said, {"role": "user", "content": "0.1"}]
    assert third[: len(second)] == second
    assert fresh[1:] == [{"role": "user", "content": "1.0"}]
    assert server.sessions == ["s0", "s0", "s0", "s1"]


def test_every_user_has_one_request_in_flight_at_most() -> None:
    server = Server()
    outcome = load(server, Plan(users=7, warmup_s=0, measured_s=10))
    assert server.most == 7
    assert len(outcome.samples) == len(server.asked) == 70  # a second for each: 0.5 s + 0.5 s


def test_only_what_is_sent_after_the_warmup_counts() -> None:
    server = Server()
    outcome = load(server, Plan(users=1, warmup_s=2, measured_s=3))
    assert len(server.asked) == 5
    assert [sample.sent_s for sample in outcome.samples] == [2.5, 3.5, 4.5]
    assert [sample.turn for sample in outcome.samples] == [2, 0, 1]


def test_answers_on_their_way_at_the_end_are_waited_for_and_count() -> None:
    server = Server()
    outcome = load(server, Plan(users=1, warmup_s=0, measured_s=0.6))
    assert [sample.sent_s for sample in outcome.samples] == [0.5]
    assert server.inflight == 0


def test_a_failure_counts_and_ends_its_session() -> None:
    server = Server(fails=1)
    outcome = load(server, Plan(users=1, warmup_s=0, measured_s=3))
    assert outcome.errors == ["status 503"]
    assert len(outcome.samples) == 2
    assert [asked[-1]["content"] for asked in server.asked] == ["0.0", "0.1", "1.0"]


def test_a_failure_during_the_warmup_does_not_count() -> None:
    outcome = load(Server(fails=0), Plan(users=1, warmup_s=1, measured_s=2))
    assert outcome.errors == []

"""When names are asked for, and what answers are believed; tests/conformance/test_source_dns.py has the rest."""

import asyncio
from collections.abc import Callable
from math import inf

import pytest

from router.config_file import ConfigurationError
from router.discovery.answers import Answer, NoAnswerError, NoRecordsError
from router.discovery.dns import DnsWorkers, Pace, check
from router.fleet.target import Target

A, B = Target(url="http://10.0.0.1:80"), Target(url="http://10.0.0.2:80")
NONE = NoRecordsError("there is no such name")
ERROR = NoAnswerError("SERVFAIL")

Said = Answer | Exception


class Script:
    """A source that hears these answers, one after the other, and how long it paused after each."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, interval_s: float = 10.0) -> None:
        self.told: list[list[Target]] = []
        self.pauses: list[float] = []
        self.problems: list[str | None] = []
        self._said: list[Said] = []
        self.source = DnsWorkers("http://v.test", interval_s, ask=self._ask)
        monkeypatch.setattr("router.discovery.dns.asyncio.sleep", self._sleep)

    async def hear(self, *said: Said) -> None:
        self._said = list(said)
        with pytest.raises(asyncio.CancelledError):
            await self.source.run(lambda targets: self.told.append([*targets]))

    async def _ask(self) -> Answer:
        said = self._said.pop(0)
        if isinstance(said, Exception):
            raise said
        return said

    async def _sleep(self, seconds: float) -> None:
        self.pauses.append(seconds)
        self.problems.append(self.source.problem)
        if not self._said:
            raise asyncio.CancelledError


@pytest.fixture
def script(monkeypatch: pytest.MonkeyPatch) -> Script:
    return Script(monkeypatch)


def answer(*targets: Target, ttl_s: float = inf, odd: str | None = None) -> Answer:
    return Answer(targets, ttl_s, odd)


async def test_what_there_is_is_told_when_it_changes(script: Script) -> None:
    await script.hear(answer(A), answer(A), answer(A, B), answer(B, A), answer(B))
    assert script.told == [[A], [A, B], [B]]


@pytest.mark.parametrize(
    ("ttl_s", "pause_s"), [(inf, 10.0), (30.0, 10.0), (5.0, 5.0), (0.0, 1.0), (0.5, 1.0)]
)
async def test_it_is_asked_again_when_the_answer_no_longer_holds(
    script: Script, ttl_s: float, pause_s: float
) -> None:
    await script.hear(answer(A, ttl_s=ttl_s))
    assert script.pauses == [pause_s]


async def test_none_are_believed_the_third_time(
    script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    await script.hear(answer(A), NONE, NONE, NONE, NONE, answer(B))
    assert script.told == [[A], [], [B]]
    assert script.pauses == [10.0] * 6
    problem = "there is no such name; if that is so 3 times, it has no workers"
    assert script.problems == [None, problem, problem, None, None, None]
    assert [record.getMessage() for record in caplog.records if record.levelname == "WARNING"] == [
        f"dns http://v.test: {problem}",
        "dns http://v.test: there is no such name: it has no workers",
    ]


async def test_a_hiccup_takes_none_away(script: Script) -> None:
    await script.hear(answer(A), NONE, NONE, answer(A), NONE, ERROR, NONE, NONE, answer(A))
    assert script.told == [[A]]


async def test_none_from_the_beginning(script: Script) -> None:
    await script.hear(NONE, NONE, NONE)
    assert script.told == [[]]


async def test_errors_never_take_any_away(script: Script, caplog: pytest.LogCaptureFixture) -> None:
    await script.hear(answer(A), *[ERROR] * 8, answer(A))
    assert script.told == [[A]]
    assert script.problems == [None, *["SERVFAIL"] * 8, None]
    assert script.pauses == [10.0, 1.0, 2.0, 4.0, 8.0, *[10.0] * 4, 10.0]
    assert caplog.text.count("SERVFAIL") == 1


async def test_another_error_is_said_again(
    script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    await script.hear(ERROR, NoAnswerError("REFUSED"), ERROR)
    assert [record.getMessage() for record in caplog.records] == [
        "dns http://v.test: SERVFAIL",
        "dns http://v.test: REFUSED",
        "dns http://v.test: SERVFAIL",
    ]


async def test_a_defect_of_ours_takes_none_away(
    script: Script, caplog: pytest.LogCaptureFixture
) -> None:
    await script.hear(answer(A), ZeroDivisionError(), ZeroDivisionError(), answer(B))
    assert script.told == [[A], [B]]
    assert caplog.text.count("Traceback") == 1


async def test_records_that_are_odd_are_a_problem_of_the_rest(script: Script) -> None:
    await script.hear(answer(A, odd="x:0 is no worker's"), answer(A))
    assert script.told == [[A]]
    assert script.problems == ["x:0 is no worker's", None]


async def test_records_that_are_all_odd_take_none_away(script: Script) -> None:
    await script.hear(answer(A), *[answer(odd="x:0 is no worker's")] * 4, answer(B))
    assert script.told == [[A], [B]]
    assert script.problems == [None, *["x:0 is no worker's"] * 4, None]


async def test_another_family_is_believed_the_third_time(script: Script) -> None:
    """Of a name that has both, one answer that lacks one family makes other workers of all."""
    six = Target(url="http://[fd00::1]:80")
    await script.hear(
        answer(A), answer(six), answer(six), NONE, answer(A), answer(six), answer(six), ERROR,
        answer(six), answer(six), answer(A), *[answer(six)] * 3, answer(A),
    )  # fmt: skip
    assert script.told == [[A], [six], [A]]
    assert "only IPv6" in str(script.problems[1])
    assert script.problems[-2:] == [None, None]


async def test_a_family_that_is_the_only_one_is_told_at_once(script: Script) -> None:
    one, two = Target(url="http://[fd00::1]:80"), Target(url="http://[fd00::2]:80")
    await script.hear(answer(one), answer(two), answer(A))
    assert script.told == [[one], [two], [A]]


async def test_silence_is_a_problem() -> None:
    async def silence() -> Answer:
        return await asyncio.get_running_loop().create_future()

    source = DnsWorkers("http://v.test", ask=silence, pace=Pace(deadline_s=0.01))
    told: list[object] = []
    task = asyncio.get_running_loop().create_task(source.run(told.append))
    await _until(lambda: source.problem is not None)
    task.cancel()
    assert source.problem == "no answer within 0.01 s"
    assert told == []


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(30):
        while not condition():  # noqa: ASYNC110
            await asyncio.sleep(0.002)


def test_names() -> None:
    assert DnsWorkers("http://v.test:8000/x").name == "dns http://v.test:8000/x"
    assert DnsWorkers("srv://_http._tcp.v").name == "dns srv://_http._tcp.v"


def test_what_can_be_asked_for() -> None:
    assert check("http://v.test:8000") == "http://v.test:8000"
    with pytest.raises(ValueError, match="write"):
        check("v.test")
    with pytest.raises(ConfigurationError, match="write"):
        DnsWorkers("v.test")

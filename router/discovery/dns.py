"""Workers that DNS knows by a name they share."""

import asyncio
import logging
from collections.abc import Sequence
from typing import NamedTuple

from router.discovery.answers import Answer, NoAnswerError, NoRecordsError
from router.discovery.asking import Ask, asker
from router.discovery.base import Tell
from router.discovery.questions import Question
from router.discovery.system_resolver import Family
from router.discovery.telling import news
from router.fleet.target import Target
from router.upstream.pool import Address

logger = logging.getLogger(__name__)

_BELIEVED = 3
"""So many answers in a row that there are none are believed: name servers say that in a hiccup, too."""


class Pace(NamedTuple):
    """Seconds: how long an answer may take, and how soon after it the name may be asked for again."""

    deadline_s: float = 5.0
    soonest_s: float = 1.0


_PACE = Pace()


class DnsWorkers:
    """Tells of the workers that `url` stands for (`discovery.base.Source`); see `questions.Question`. The name is asked for
    every `interval_s`, sooner if the answer does not hold so long. Where there is none, or an error, what was told last
    stands. `nameservers`, as `10.0.0.10:53`, and SRV records need dnspython: raises `ConfigurationError` where it is
    missing, or `url` is wrong. An answer must be complete: Consul cuts short what it says over UDP (`udp_answer_limit`).
    """

    def __init__(
        self,
        url: str,
        interval_s: float = 10.0,
        *,
        family: Family = "auto",
        nameservers: Sequence[str] = (),
        pace: Pace = _PACE,
        ask: Ask | None = None,
    ) -> None:
        self.name = f"dns {url}"
        self.problem: str | None = None
        self._interval_s = interval_s
        self._pace = pace
        self._ask = ask or asker(url, family, nameservers)
        self._tell: Tell = _nobody
        self._failures = 0
        self._empty = 0
        self._six = 0
        self._four = False

    async def run(self, tell: Tell) -> None:
        """Ask for ever."""
        self._tell = news(tell)
        self._failures = self._empty = self._six = 0
        self._four = False
        while True:
            pause_s = await self._look()
            await asyncio.sleep(pause_s)

    async def _look(self) -> float:
        """Ask, and take in the answer; returns the seconds until the next time."""
        try:
            async with asyncio.timeout(self._pace.deadline_s):
                answer = await self._ask()
        except NoRecordsError as error:
            return self._none(str(error))
        except NoAnswerError as error:
            return self._failed(str(error))
        except TimeoutError:
            return self._failed(f"no answer within {self._pace.deadline_s:g} s")
        except Exception as error:  # noqa: BLE001 - whatever is wrong with us
            return self._failed(repr(error), error)
        return self._heard(answer)

    def _heard(self, answer: Answer) -> float:
        """Whoever is asked for IPv6 addresses was told that there are no others: it is believed like that there are none."""
        if answer.odd is not None and not answer.targets:
            return self._failed(answer.odd)
        self._failures = self._empty = 0
        four = _has_ipv4(answer)
        self._six = 0 if four else self._six + 1
        if self._four and 0 < self._six < _BELIEVED:
            self._say(f"it has only IPv6 addresses; if that is so {_BELIEVED} times, they count")
            return max(self._pace.soonest_s, self._interval_s)
        self._four = four
        self._say(answer.odd)
        self._tell(answer.targets)
        return max(self._pace.soonest_s, min(self._interval_s, answer.ttl_s))

    def _none(self, why: str) -> float:
        self._failures = 0
        self._empty += 1
        if self._empty < _BELIEVED:
            self._say(f"{why}; if that is so {_BELIEVED} times, it has no workers")
        elif self._empty == _BELIEVED:
            logger.warning("%s: %s: it has no workers", self.name, why)
            self.problem, self._four = None, False
            self._tell(())
        return max(self._pace.soonest_s, self._interval_s)

    def _failed(self, why: str, error: Exception | None = None) -> float:
        """It is tried again soon, then as often as ever."""
        self._say(why, error)
        self._empty = self._six = 0
        self._failures = min(self._failures + 1, 10)
        return max(self._pace.soonest_s, min(self._interval_s, 2.0 ** (self._failures - 1)))

    def _say(self, problem: str | None, error: Exception | None = None) -> None:
        if problem is not None and problem != self.problem:
            logger.warning("%s: %s", self.name, problem, exc_info=error)
        elif problem is None and self.problem is not None:
            logger.info("%s: is known again", self.name)
        self.problem = problem


def _has_ipv4(answer: Answer) -> bool:
    """Some worker is at an IPv4 address, or a name: an address of the other family is another worker."""
    return any(":" not in Address.parse(target.url).host for target in answer.targets)


def _nobody(targets: Sequence[Target]) -> None:
    del targets


def check(url: str) -> str:
    """The URL, if it can be asked for. Raises ValueError saying what is wrong with it."""
    Question.parse(url)
    return url

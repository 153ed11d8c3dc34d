"""What operators said of workers, told by whichever router was asked to and heeded by all."""

import hashlib
import hmac
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from hmac import compare_digest
from typing import Protocol

from msgspec.structs import replace

from router.discovery.registry import UNWANTED
from router.ids import WorkerId
from router.shared.base import Facts

logger = logging.getLogger(__name__)

_DRAINED = "/drained/"
_WANTED = "/wanted/"
"""What their names begin with where they are told; no worker is called like that."""
_UNPROVEN = ("", UNWANTED)
"""What anybody may say where there is no key: a worker less is used."""
_NOTHING = Facts()
_FORGOTTEN = "forgotten"
"""The `condition` of a word that takes back another only because nobody has known of the worker for long."""
_LATER_S = 1e-3
"""A word is at least so much later than the one before, whatever the clocks say."""


class Roster(Protocol):
    """What operators said here (`discovery.registry.Discovery`)."""

    on_drain: Callable[[WorkerId, bool], None]
    on_order: Callable[[WorkerId, str], None]
    on_forget: Callable[[WorkerId], None]

    def remembers(self, worker: WorkerId) -> bool:
        """Somebody knows the worker, or did not long ago."""

    def order(self, worker: WorkerId, order: str) -> None:
        """Another router was told so; empty: nothing any more."""

    def order_drain(self, worker: WorkerId, *, drained: bool) -> None:
        """Another router was told so."""


class Orders:
    """Keeps what was said of each worker last, by whichever router, and tells what the store lacks of it. Of two words the
    later counts. That a word is forgotten is told too, or a router that starts would heed it for whoever has the address
    then; a router that remembers the worker says the word again.

    That a worker is wanted is only told and heeded with a `key` that proves it: whoever can write to the store must not say
    where prompts go. Who has a key heeds nothing without proof: a router that anybody may tell to drain must not take workers
    away from all others. `now`: Unix time.
    """

    def __init__(self, now: Callable[[], float] | None = None) -> None:
        self.key: str | None = None
        self._now = now or _unix_time
        self._roster: Roster | None = None
        self._said: dict[WorkerId, Facts] = {}
        self._stored: dict[WorkerId, Facts] = {}
        self._refused: dict[WorkerId, Facts] = {}

    def follow(self, roster: Roster) -> None:
        """This is where operators' words are taken down."""
        self._roster = roster
        roster.on_drain, roster.on_order = self._drain, self._order
        roster.on_forget = self._forget

    def tell_again(self) -> None:
        """The store was emptied."""
        self._stored.clear()

    def news(self) -> dict[WorkerId, Facts]:
        """What the store lacks; `told` once it has it."""
        return {key: facts for key, facts in self._said.items() if facts != self._stored.get(key)}

    def told(self, news: Mapping[WorkerId, Facts]) -> None:
        """The store has these."""
        self._stored.update((key, facts) for key, facts in news.items() if key in self._said)

    def take(self, changed: Mapping[WorkerId, Facts]) -> None:
        """Heed what was said at other routers, where nothing else was said since."""
        for key, told in changed.items():
            if self._roster is None or not key.startswith((_DRAINED, _WANTED)):
                continue
            self._stored[key] = told
            if told.at <= self._said.get(key, _NOTHING).at:
                continue
            if not self._proven(key, told):
                if self._refused.get(key) != told:
                    logger.warning("%s is told by another router, but not with this admin_key", key)
                self._refused[key] = told
                continue
            self._heed(self._roster, key, told)

    def _heed(self, roster: Roster, key: WorkerId, told: Facts) -> None:
        drained = key.startswith(_DRAINED)
        worker = WorkerId(key.removeprefix(_DRAINED if drained else _WANTED))
        said = self._said.get(key, _NOTHING)
        stands = roster.remembers(worker) if _takes_away(said) else said.wanted
        if told.condition == _FORGOTTEN and stands:
            self._say(key, said, after=told.at)
            return
        self._said[key] = told
        if drained:
            roster.order_drain(worker, drained=told.drained)
        else:
            roster.order(worker, told.wanted)

    def _drain(self, worker: WorkerId, drained: bool) -> None:
        self._say(drain_key(worker), Facts(drained=drained))

    def _order(self, worker: WorkerId, order: str) -> None:
        if self.key or order in _UNPROVEN:
            self._say(wanted_key(worker), Facts(wanted=order))

    def _forget(self, worker: WorkerId) -> None:
        for key in (drain_key(worker), wanted_key(worker)):
            self._refused.pop(key, None)
            said = self._said.get(key, _NOTHING)
            if _takes_away(said) and (self.key or not said.proof):
                self._say(key, Facts(condition=_FORGOTTEN))

    def _say(self, key: WorkerId, facts: Facts, after: float = 0.0) -> None:
        at = max(self._now(), max(after, self._said.get(key, _NOTHING).at) + _LATER_S)
        facts = replace(facts, at=at, proof="")
        self._said[key] = replace(facts, proof=_proof(self.key, key, facts) if self.key else "")

    def _proven(self, key: WorkerId, told: Facts) -> bool:
        if not self.key:
            return told.wanted in _UNPROVEN
        return compare_digest(told.proof, _proof(self.key, key, told))


def _takes_away(said: Facts) -> bool:
    return said.drained or said.wanted == UNWANTED


def _proof(secret: str, key: WorkerId, facts: Facts) -> str:
    said = f"{key}\n{facts.wanted}\n{facts.drained}\n{facts.at!r}"
    said += f"\n{_FORGOTTEN}" * (facts.condition == _FORGOTTEN)
    return hmac.new(secret.encode(), said.encode(), hashlib.sha256).hexdigest()


def _unix_time() -> float:
    return datetime.now(UTC).timestamp()


def drain_key(worker: WorkerId) -> WorkerId:
    """Under which it is told whether the worker is drained."""
    return WorkerId(f"{_DRAINED}{worker}")


def wanted_key(worker: WorkerId) -> WorkerId:
    """Under which it is told whether the worker is wanted."""
    return WorkerId(f"{_WANTED}{worker}")

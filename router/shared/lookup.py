"""Asks the store what all routers know of a prompt, in time, or goes without."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from time import perf_counter

import msgspec

from router.ids import Tier, WorkerId
from router.prompt.identity import Identity, TokenIdentity
from router.prompt.segments import by_place
from router.prompt.stored import Loadable
from router.shared.base import (
    CPU,
    DISK,
    GPU,
    KINDS,
    TEXT,
    Holder,
    Store,
    StoreError,
    as_store_error,
)
from router.shared.board import BoardKeeper
from router.shared.bond import Bond
from router.telemetry.metrics import Histogram

logger = logging.getLogger(__name__)

_LOWER = {CPU: Tier.CPU, DISK: Tier.DISK}


class SharedLookup:
    """Gives identities what others know. `own`: workers whose events this router follows itself, and knows better."""

    def __init__(
        self,
        store: Store,
        board: BoardKeeper,
        bond: Bond,
        *,
        deadline_s: float,
        own: Callable[[WorkerId], bool],
        seconds: Histogram,
    ) -> None:
        self._store = store
        self._board = board
        self._bond = bond
        self._deadline_s = deadline_s
        self._own = own
        self._seconds = seconds

    async def known(self, identity: Identity) -> Identity:
        """The same, with what others know of it. Never raises."""
        if not identity.text.keys or not self._bond.asks():
            return identity
        started = perf_counter()
        try:
            async with asyncio.timeout(self._deadline_s):
                found = await self._ask(identity)
        except (StoreError, TimeoutError) as error:
            self._bond.missed(as_store_error(error))
            return identity
        except Exception as error:  # no mishap here is worth the request
            logger.exception("looking a prompt up in the shared store failed")
            self._bond.missed(StoreError("failed", str(error)))
            return identity
        self._bond.worked(asked=True)
        self._seconds.observe(perf_counter() - started)
        return found

    async def _ask(self, identity: Identity) -> Identity:
        board, text = self._board, identity.text
        questions = [by_place(text.keys)]
        if isinstance(identity, TokenIdentity):
            questions.append(identity.keys)
        answer = await self._store.look_up(
            board.epoch, questions, board.valid, rows=board.asks_rows()
        )
        if answer.rows is not None:
            board.read(answer.rows)
        text = msgspec.structs.replace(text, elsewhere=self._of(answer.runs[0], TEXT))
        if not isinstance(identity, TokenIdentity):
            return text
        return msgspec.structs.replace(
            identity,
            by_text=text,
            elsewhere=self._of(answer.runs[1], GPU),
            stored={**self._stored(identity, answer.runs[1]), **identity.stored},
        )

    def _of(self, runs: Mapping[Holder, int], kind: int) -> dict[WorkerId, int]:
        """Leading blocks by worker, of those whom others know better."""
        names = self._board.names
        found = {names.get(h // KINDS): n for h, n in runs.items() if h % KINDS == kind}
        return {w: n for w, n in found.items() if w and (kind == TEXT or not self._own(w))}

    def _stored(
        self, identity: TokenIdentity, runs: Mapping[Holder, int]
    ) -> dict[WorkerId, Loadable]:
        deepest: dict[WorkerId, Loadable] = {}
        for kind, tier in _LOWER.items():
            for worker, blocks in self._of(runs, kind).items():
                tokens = blocks * identity.block
                if worker not in deepest or tokens > deepest[worker].tokens:
                    deepest[worker] = Loadable(tier, tokens)
        return deepest

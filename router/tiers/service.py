"""Asks all sources about a prompt, in time, or goes without."""

import asyncio
import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from router.ids import Tier
from router.prompt.stored import Stored
from router.tiers.base import TierSource
from router.tiers.chunks import Chunker, Chunks

logger = logging.getLogger(__name__)

_LATE_LIMIT = 3
"""Answers of one source that may be late in a row."""


@dataclass(slots=True)
class _Asked:
    """A source, how often it was late since its last answer, and when it may be asked again."""

    source: TierSource
    late: int = 0
    resume_at: float = 0.0


class TierService:
    """What tiers below the workers hold of prompts.

    Every source gets `deadline_s`. One that fails, or is late some times in a row, is left alone for `pause_s`: while
    it is dead it costs nothing. Counts since the start: prompts `asked` about, answers that came `late` and that
    `failed`, and prompts `found`, by tier. None of it fails a request.
    """

    def __init__(
        self,
        sources: Iterable[TierSource],
        chunker: Chunker,
        *,
        deadline_s: float = 0.01,
        pause_s: float = 5.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.asked = 0
        self.late = 0
        self.failed = 0
        self.found: Counter[Tier] = Counter()
        self._sources = [_Asked(source) for source in sources]
        self._chunker = chunker
        self._deadline_s = deadline_s
        self._pause_s = pause_s
        self._clock = clock

    async def stored(self, ids: Sequence[int], root: str, salt: str | None = None) -> list[Stored]:
        """What is held of the prompt with these token ids, the longest for each tier and reach.

        `root`: where the engine loaded the model from, as in `/v1/models`. `salt`: the request's `cache_salt`.
        """
        now = self._clock()
        ready = [each for each in self._sources if each.resume_at <= now]
        if not ready or len(ids) < self._chunker.size:
            return []
        chunks = self._chunker.chunks(ids, root, salt or "")
        if not chunks.hashes:
            return []
        self.asked += 1
        answers = await asyncio.gather(*(self._ask(each, chunks) for each in ready))
        best: dict[tuple[Tier, frozenset[str] | None], Stored] = {}
        for each in sorted((one for answer in answers for one in answer), key=_tokens):
            best[each.tier, each.hosts] = each
        self.found.update({tier for tier, _ in best})
        return list(best.values())

    async def close(self) -> None:
        """Let go of all sources."""
        for each in self._sources:
            await each.source.close()

    async def _ask(self, asked: _Asked, chunks: Chunks) -> list[Stored]:
        try:
            async with asyncio.timeout(self._deadline_s):
                answer = await asked.source.stored(chunks)
        except TimeoutError:
            self.late += 1
            asked.late += 1
            if asked.late >= _LATE_LIMIT:
                self._pause(asked, f"no answer within {self._deadline_s:g} s, {asked.late} times")
            return []
        except Exception as error:  # noqa: BLE001 - no mishap here is worth the request
            self.failed += 1
            self._pause(asked, str(error) or repr(error))
            return []
        asked.late = 0
        return answer

    def _pause(self, asked: _Asked, why: str) -> None:
        now = self._clock()
        if asked.resume_at <= now:
            logger.warning("%s: %s; not asked for %g s", asked.source.name, why, self._pause_s)
        asked.resume_at = now + self._pause_s


def _tokens(stored: Stored) -> int:
    return stored.tokens

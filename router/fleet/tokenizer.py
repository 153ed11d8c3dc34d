"""Has workers tokenize, where a model's tokenizer is not at hand."""

from time import perf_counter

import msgspec

from router.errors import RouterError
from router.fleet.fleet import Fleet
from router.upstream.fetch import Answer, fetch
from router.upstream.pool import Pool

_ASK_S = 2.0
_ASK_PAUSE_S = 5.0


class _Model(msgspec.Struct):
    model: str | None = None


_MODEL = msgspec.json.Decoder(_Model)


class WorkerTokenizer:
    """Has the least busy worker of a question's model tokenize (`tokens.remote.Post`); after a failure nobody is asked
    for some seconds, so that a worker that hangs costs no other request its time.
    """

    def __init__(self, fleet: Fleet, api_key: str | None) -> None:
        self._fleet = fleet
        self._api_key = api_key
        self._resume_at = 0.0

    async def __call__(self, body: bytes) -> tuple[int, bytes]:
        if perf_counter() < self._resume_at:
            raise RouterError(503, "tokenize_paused", "it failed a moment ago")
        able = self._fleet.candidates(_MODEL.decode(body).model)
        workers = [worker for worker in able if worker.target.service is None]
        if not workers:  # a service is asked nothing, and has another key
            raise RouterError(503, "tokenize_paused", "no worker is there")
        pool = min(workers, key=lambda each: each.load.inflight).pool
        try:
            answer = await self._fetch(pool, body, reuse=True)
        except RouterError:  # a kept-alive connection may just have been closed
            answer = await self._fetch(pool, body, reuse=False)
        return answer.status, answer.body

    async def _fetch(self, pool: Pool, body: bytes, *, reuse: bool) -> Answer:
        key = self._api_key
        try:
            return await fetch(
                pool, "/tokenize", api_key=key, timeout_s=_ASK_S, body=body, reuse=reuse
            )
        except (RouterError, TimeoutError) as error:
            if not reuse or isinstance(error, TimeoutError):
                self._resume_at = perf_counter() + _ASK_PAUSE_S
            raise

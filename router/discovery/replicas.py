"""The router's own replicas: what an operator tells one of them is passed on to the others."""

import asyncio
import logging
import ssl
from collections.abc import Callable, Sequence

from router.discovery.base import Source
from router.errors import RouterError
from router.fleet.target import Target
from router.upstream.fetch import Call, bearer, send
from router.upstream.pool import Address, Pool

logger = logging.getLogger(__name__)

RELAYED = "x-router-relayed"
"""Marks what was passed on, so that it goes no further."""
_CONNECT_S = 2.0
_TIMEOUT_S = 5.0


class Replicas:
    """`source` finds them, this one among them: what they are told is true however often it is said. `key`: their
    `admin_key`; `tls`: makes what trusts their certificates, where they serve https; each time anew, as they change.
    """

    def __init__(
        self, source: Source, *, key: str | None, tls: Callable[[], ssl.SSLContext] | None
    ) -> None:
        self._source = source
        self._key = key
        self._tls = tls
        self._known: Sequence[Target] = ()

    async def run(self) -> None:
        """Follow who they are, for ever."""
        await self._source.run(self._hear)

    @property
    def name(self) -> str:
        """What finds them."""
        return self._source.name

    @property
    def problem(self) -> str | None:
        """What keeps others from being told, in plain words. This router is one of those that are found."""
        return self._source.problem or (None if self._known else "no pod is known, not even this")

    def _hear(self, replicas: Sequence[Target]) -> None:
        self._known = replicas

    async def pass_on(self, method: str, path: str, body: bytes) -> list[str]:
        """Tell all of them; the URLs of those that could not be told, and what keeps others from being known."""
        headers = [*bearer(self._key), (RELAYED.encode("ascii"), b"1")]
        if body:
            headers.append((b"content-type", b"application/json"))
        call = Call(method.encode("ascii"), path.encode("ascii"), headers, body)
        replicas = self._known
        tls = None if self._tls is None else await asyncio.to_thread(self._tls)
        told = await asyncio.gather(*(self._tell(each, call, tls) for each in replicas))
        untold = [each.url for each, heard in zip(replicas, told, strict=True) if not heard]
        return untold if self.problem is None else [*untold, f"{self.name}: {self.problem}"]

    async def _tell(self, replica: Target, call: Call, tls: ssl.SSLContext | None) -> bool:
        pool = Pool(Address.parse(replica.url), tls, connect_s=_CONNECT_S, idle_s=_TIMEOUT_S)
        what = f"{call.method.decode()} {call.path.decode()}"
        try:
            answer = await send(pool, call, timeout_s=_TIMEOUT_S)
        except (RouterError, TimeoutError) as error:
            why = str(error) or "no answer in time"
            logger.warning("%s was not passed on to %s: %s", what, replica.url, why)
            return False
        finally:
            pool.drop_idle()
        if answer.status >= 400:
            said = answer.body[:500].decode(errors="replace")
            logger.warning("%s answers %s with %d: %s", replica.url, what, answer.status, said)
        return answer.status < 400

"""Leases, facts and the places of responses, in a Redis or Valkey (`base.Registry`)."""

from collections.abc import Mapping, Sequence

import msgspec

from router.ids import WorkerId
from router.shared.base import Facts, Replica
from router.shared.link import Link, Plain, Script, Word
from router.shared.names import Names

LEASE_S = 3.0

_RESPONSE_S = 86_400
"""For so long it is remembered where a response is stored; vLLM keeps it until it ends."""

_FACTS = msgspec.msgpack.Decoder(Facts)


class RedisRegistry:
    """A lease lasts `lease_s`."""

    def __init__(self, link: Link, names: Names, *, lease_s: float = LEASE_S) -> None:
        self._link = link
        self._names = names
        self._lease_ms = round(lease_s * 1000)

    async def lease(
        self, replica: Replica, wanted: Sequence[WorkerId], returned: Sequence[WorkerId]
    ) -> dict[WorkerId, str]:
        """See `Registry`."""
        arguments: list[Word] = [replica.name, self._lease_ms, len(wanted), *wanted, *returned]
        reply = await self._link.run([Script("lease", self._names.of_board("leases"), arguments)])
        words = [word.decode() for word in reply[0]]
        return {WorkerId(w): name for w, name in zip(words[::2], words[1::2], strict=True)}

    async def facts(
        self, since: int, news: Mapping[WorkerId, Facts]
    ) -> tuple[int, dict[WorkerId, Facts]]:
        """See `Registry`. What cannot be read, as a later version of the router wrote it, is left out."""
        arguments: list[Word] = [since]
        for worker, facts in news.items():
            arguments += [worker, msgspec.msgpack.encode(facts)]
        keys = self._names.of_board("facts", "versions", "meta")
        (version, *words), *_ = await self._link.run([Script("facts", keys, arguments)])
        return version, _decoded(words)

    async def remember(self, response_id: str, worker: WorkerId) -> None:
        """See `Registry`."""
        await self._link.run([Plain(("SET", self._home(response_id), worker, "EX", _RESPONSE_S))])

    async def find(self, response_id: str) -> WorkerId | None:
        """See `Registry`."""
        (found,) = await self._link.run([Plain(("GET", self._home(response_id)))])
        return None if found is None else WorkerId(found.decode())

    def _home(self, response_id: str) -> bytes:
        return self._names.base + b"response:" + response_id.encode()


def _decoded(words: Sequence[bytes]) -> dict[WorkerId, Facts]:
    facts = {}
    for worker, packed in zip(words[::2], words[1::2], strict=True):
        try:
            facts[WorkerId(worker.decode())] = _FACTS.decode(packed)
        except (msgspec.DecodeError, UnicodeDecodeError):
            continue
    return facts

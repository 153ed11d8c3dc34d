"""The parts of LMCache's coordinator that a router asks: its directory of keys, and where its servers are."""

from collections import defaultdict
from collections.abc import Iterable
from types import TracebackType
from typing import Any, Self

from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker

Key = tuple[str, str, int, str]


class FakeCoordinator:
    """Answers as LMCache 0.5.6 does. `lookups` are the keys of each question, `requests` all paths asked for.

    `answer` (status and body) is given to every question instead, when it is set.
    """

    def __init__(self) -> None:
        self.hosts: dict[str, str] = {}
        self.lookups: list[list[dict[str, Any]]] = []
        self.requests: list[str] = []
        self.answer: tuple[int, bytes] | None = None
        self.http = FakeWorker()
        self.http.routes = {"/directory/lookup": self._lookup, "/instances": self._instances}
        self._placements: dict[Key, list[dict[str, Any]]] = defaultdict(list)

    @property
    def url(self) -> str:
        return self.http.url

    async def __aenter__(self) -> Self:
        await self.http.start()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self.http.stop()

    def hold(
        self,
        hashes: Iterable[bytes],
        server: str,
        tier: str = "l1",
        backend: str = "dram",
        *,
        model: str,
        ranks: Iterable[int] = (0x01000100,),
        salt: str = "",
        shared: bool = False,
    ) -> None:
        """`server` reported that it stored these chunks."""
        ranks = list(ranks)
        for digest in hashes:
            for rank in ranks:
                self._placements[digest.hex(), model, rank, salt].append(
                    {
                        "instance_id": server,
                        "incarnation": 1,
                        "tier": tier,
                        "backend": backend,
                        "size_bytes": 16384,
                        "shared": shared,
                    }
                )

    async def _lookup(self, request: Request, wire: Wire) -> None:
        assert request.method == "POST"
        self.requests.append(request.path)
        keys = request.json()["keys"]
        self.lookups.append(keys)
        results = [
            {
                "key": key,
                "placements": self._placements.get(_key(key), []),
                "token_ids": list(range(256)),
                "access_count": 1,
            }
            for key in keys
        ]
        await self._reply(wire, {"chunks": len(keys), "results": results})

    async def _instances(self, request: Request, wire: Wire) -> None:
        assert request.method == "GET"
        self.requests.append(request.path)
        instances = [
            {"instance_id": server, "ip": host, "http_port": 8080, "metadata": {}}
            for server, host in self.hosts.items()
        ]
        await self._reply(wire, {"instances": instances})

    async def _reply(self, wire: Wire, value: Any) -> None:
        if self.answer is None:
            await wire.json(value)
        else:
            status, body = self.answer
            await wire.reply(status, [("Content-Type", "application/json")], body)


def _key(told: dict[str, Any]) -> Key:
    return told["chunk_hash_hex"], told["model_name"], told["kv_rank"], told.get("cache_salt", "")

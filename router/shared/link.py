"""The connection to the shared Redis: batches of commands, each sent in one go."""

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from importlib import resources
from time import perf_counter
from typing import Any, NamedTuple, TypeAlias

from redis.exceptions import (
    ClusterDownError,
    MovedError,
    NoScriptError,
    RedisClusterException,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeoutError

from router.shared.base import StoreError
from router.shared.clients import CONNECTIONS, client
from router.shared.urls import parse

Word: TypeAlias = bytes | str | int

_FAILURES = (RedisError, RedisClusterException, OSError, TimeoutError)
_AWAY = (RedisConnectionError, RedisTimeoutError, ClusterDownError, RedisClusterException, OSError)
_REFRESH_S = 0.25
_REFRESH_LIMIT_S = 1.0
"""How often a cluster is asked for its servers' roles at most, and for how long."""

_SCRIPTS = ("lookup", "hold", "drop", "publish", "enrol", "lease", "facts", "quotas")


class Script(NamedTuple):
    """A call of one of the scripts. `keys`: all in one slot."""

    name: str
    keys: Sequence[bytes]
    arguments: Sequence[Word]


class Plain(NamedTuple):
    """A call of one of the server's own commands, its name first, as str."""

    words: Sequence[Word]


Command: TypeAlias = Script | Plain


class Link:
    """Runs batches of commands on a connection of its own (in a cluster: on one to each server that is concerned).

    `timeout_s` bounds what is done with connections; who asks may wait less. Raises ValueError for a URL that is none.
    """

    def __init__(self, url: str, *, timeout_s: float = 0.8) -> None:
        target = parse(url)
        self.is_cluster = target.kind == "cluster"
        """What a script touches must be in one slot."""
        self._client = client(target, timeout_s)
        self._free = asyncio.Semaphore(CONNECTIONS)
        self._digests: dict[str, str] = {}
        self._refreshed_at = -_REFRESH_S

    async def run(self, commands: Sequence[Command]) -> list[Any]:
        """The replies, in order. Raises `StoreError` if any command failed."""
        async with self._free:
            try:
                replies = await self._send(commands)
                if any(isinstance(reply, NoScriptError) for reply in replies):
                    self._digests = {}
                    replies = await self._send(commands)
            except _FAILURES as error:
                replies = [error]
            for reply in replies:
                if isinstance(reply, Exception):
                    await self._look_around(reply)
                    raise _store_error(reply) from reply
            return replies

    async def _look_around(self, error: Exception) -> None:
        """After a failure a cluster's servers may have other roles."""
        now = perf_counter()
        if isinstance(error, _AWAY) and now - self._refreshed_at >= _REFRESH_S:
            self._refreshed_at = now
            with suppress(*_FAILURES):
                async with asyncio.timeout(_REFRESH_LIMIT_S):
                    await self._client.refresh()

    async def close(self) -> None:
        """Close all connections."""
        await self._client.close()

    async def _send(self, commands: Sequence[Command]) -> list[Any]:
        await self._load()
        pipeline: Any = self._client.commands.pipeline(transaction=False)
        for command in commands:
            pipeline.execute_command(*self._words(command))
        replies: list[Any] = await pipeline.execute(raise_on_error=False)
        return replies

    def _words(self, command: Command) -> Sequence[Word]:
        if isinstance(command, Plain):
            return command.words
        digest = self._digests[command.name]
        return ("EVALSHA", digest, len(command.keys), *command.keys, *command.arguments)

    async def _load(self) -> None:
        if self._digests:
            return
        digests = {}
        for name in _SCRIPTS:
            source = resources.files("router.shared").joinpath("scripts", f"{name}.lua")
            digest: Any = await self._client.commands.script_load(
                source.read_text(encoding="utf-8")
            )
            digests[name] = digest.decode() if isinstance(digest, bytes) else digest
        self._digests = digests


def _store_error(error: BaseException) -> StoreError:
    if isinstance(error, MovedError):
        return StoreError("failed", "it is a cluster: its URL must begin with redis+cluster://")
    text = str(error) or type(error).__name__
    if isinstance(error, TimeoutError) or "Timeout" in text:
        return StoreError("late", text)
    if "OOM" in text or "maxmemory" in text:
        return StoreError("full", text)
    if "READONLY" in text or "read only" in text:
        return StoreError("read_only", text)
    return StoreError("failed", text)

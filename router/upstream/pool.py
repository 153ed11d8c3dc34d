"""Keep-alive connections to one worker, last used first."""

import asyncio
import errno
import ssl
import time
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import ip_address
from urllib.parse import urlsplit

from router import errors
from router.upstream.connection import Connection


@dataclass(frozen=True, slots=True)
class Address:
    """Where a worker listens."""

    host: str
    port: int
    tls: bool
    prefix: bytes
    """Path prefix of the worker's URL without a trailing slash; put before every target."""

    @property
    def authority(self) -> str:
        """`host:port` with IPv6 addresses in brackets."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @classmethod
    def parse(cls, url: str) -> "Address":
        """Read a worker's base URL; raises ValueError saying what is wrong with it."""
        parts = urlsplit(url if "://" in url else f"http://{url}")
        if parts.scheme not in ("http", "https"):
            raise ValueError(f"{url!r}: the scheme must be http or https")
        if not parts.hostname:
            raise ValueError(f"{url!r}: no host")
        if parts.query or parts.fragment or parts.username:
            raise ValueError(f"{url!r}: a worker URL has no query, fragment or credentials")
        if not parts.hostname.isascii():
            raise ValueError(f"{url!r}: write the host's name in ASCII (punycode)")
        try:
            parts.hostname.encode("idna")
        except UnicodeError:
            raise ValueError(f"{url!r}: {parts.hostname!r} is not a host name") from None
        host = parts.hostname
        if ":" in host:
            with suppress(ValueError):  # one address may be written in several ways
                host = str(ip_address(host))
        tls = parts.scheme == "https"
        port = parts.port or (443 if tls else 80)
        return cls(host, port, tls, parts.path.rstrip("/").encode("ascii"))


_OUR_FAULT = {errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL}
"""What keeps a connection from being opened on this side."""


class Pool:
    """Connections to one worker.

    `idle_s` must stay below the worker's keep-alive time (uvicorn's default is 5 s), or requests meet
    connections that are being closed. `server_name`: what the worker's certificate is for, where that is not its host.
    """

    def __init__(
        self,
        address: Address,
        tls: ssl.SSLContext | None,
        *,
        connect_s: float,
        idle_s: float,
        server_name: str = "",
    ) -> None:
        self.address = address
        self.name = address.authority
        self.hosts = frozenset({address.host})
        self._tls = tls if address.tls else None
        self._server_name = (server_name or address.host) if self._tls else None
        self._connect_s = connect_s
        self._idle_s = idle_s
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()
        self._reads = 0
        self._connecting = 0
        self._retired = False

    def __repr__(self) -> str:
        busy = len(self._open) - len(self._idle)
        return f"<Pool {self.name}: {busy} busy, {len(self._idle)} idle>"

    def take(self) -> Connection | None:
        """An idle connection that is fresh enough to trust, or None."""
        fresh_after = time.perf_counter() - self._idle_s
        while self._idle:
            connection = self._idle.pop()
            if not connection.closing and connection.idle_since > fresh_after:
                return connection
            connection.close()
        return None

    async def connect(self) -> Connection:
        """Open a connection; raises `RouterError` (retryable) when the worker cannot be reached."""
        self._connecting += 1
        try:
            return await self._connect()
        finally:
            self._connecting -= 1

    async def _connect(self) -> Connection:
        loop = asyncio.get_running_loop()
        address, connection = self.address, Connection(self)
        try:
            async with asyncio.timeout(self._connect_s):
                transport, _ = await loop.create_connection(
                    lambda: connection,
                    address.host,
                    address.port,
                    ssl=self._tls,
                    server_hostname=self._server_name,
                )
        except asyncio.CancelledError:
            connection.abort()  # it may have been made just now
            raise
        except TimeoutError:
            raise errors.connect_failed(
                self.name, f"no connection within {self._connect_s:g} s"
            ) from None
        except (OSError, UnicodeError) as error:
            detail = getattr(error, "strerror", None) or str(error)
            if getattr(error, "errno", None) in _OUR_FAULT:
                raise errors.out_of_sockets(self.name, detail) from error
            raise errors.connect_failed(self.name, detail) from error
        if peer := transport.get_extra_info("peername"):
            self.hosts = frozenset({address.host, peer[0]})
        connection.keep_alive()
        if connection.closing:
            raise errors.connect_failed(self.name, "it closed the connection at once")
        self._open.add(connection)
        return connection

    def connection_idle(self, connection: Connection) -> None:
        """Keep the connection for the next request."""
        if self._retired:
            connection.close()
            return
        connection.idle_since = time.perf_counter()
        self._idle.append(connection)

    def connection_closed(self, connection: Connection) -> None:
        """Forget the connection."""
        if connection in self._open:
            self._open.remove(connection)
            self._reads += connection.reads
        if connection in self._idle:
            self._idle.remove(connection)

    def sweep(self) -> None:
        """Close connections that have been idle too long (they are the first ones of the list)."""
        limit = time.perf_counter() - self._idle_s
        while self._idle and self._idle[0].idle_since <= limit:
            self._idle.pop(0).close()

    def look(self, now: float, *, up: bool) -> None:
        """End answers that are overdue. `up`: the worker passes its health checks."""
        for connection in list(self._open):
            connection.look(now, up=up)

    @property
    def busy(self) -> bool:
        """There are connections, or soon will be."""
        return bool(self._open or self._connecting)

    @property
    def reads(self) -> int:
        """How often anything has come from the worker that clients asked for."""
        return self._reads + sum(connection.reads for connection in self._open)

    def discount(self, reads: int) -> None:
        """So many of them were for the router's own questions."""
        self._reads -= reads

    def drop_idle(self) -> None:
        """Close every idle connection: the worker is gone or may have moved to another address."""
        while self._idle:
            self._idle.pop().close()

    def retire(self) -> None:
        """The worker left: answers under way may end, nothing is kept after them."""
        self._retired = True
        self.drop_idle()

    def close(self, reason: errors.RouterError) -> None:
        """Close everything; answers under way end with `reason`."""
        for connection in list(self._open):
            connection.fail(reason)
        self._idle.clear()


def is_loopback(host: str) -> bool:
    """Only this machine reaches what listens there."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def host_of(authority: str) -> str:
    """The host of `host:port`; empty where that is none."""
    try:
        return urlsplit(f"//{authority}").hostname or ""
    except ValueError:
        return ""

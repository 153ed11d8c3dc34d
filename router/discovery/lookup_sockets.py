"""Sockets for dnspython that are closed however a lookup ends."""

import asyncio
import socket
from typing import Any

import dns.asyncbackend


class LookupSockets:
    """A backend for dnspython: its own for asyncio; but uvloop leaves a datagram socket open whose making is cancelled."""

    def __init__(self) -> None:
        self._plain: Any = dns.asyncbackend.get_backend("asyncio")

    def name(self) -> str:
        """As dnspython calls the library."""
        return "asyncio"

    async def make_socket(self, af: int, socktype: int, *rest: Any, **options: Any) -> Any:
        """A socket of dnspython's. A datagram socket takes no time to make."""
        made = self._plain.make_socket(af, socktype, *rest, **options)
        if socktype != socket.SOCK_DGRAM:
            return await made
        making = asyncio.ensure_future(made)
        try:
            return await asyncio.shield(making)
        except asyncio.CancelledError:
            await (await making).close()
            raise

    async def sleep(self, interval: float) -> None:
        """Between attempts."""
        await asyncio.sleep(interval)

    def datagram_connection_required(self) -> bool:
        """Datagrams need no connection."""
        return False

"""Addresses of a name, as the host's own resolver has them: hosts file, search domains and all."""

import asyncio
import socket
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

from router.discovery.answers import NoAnswerError, NoRecordsError
from router.discovery.threads import in_daemon

Family = Literal["auto", "ipv4", "ipv6"]
"""`auto`: IPv4 addresses if there are any, else IPv6: of a worker that has both only one may count."""

FAMILIES: dict[Family, tuple[socket.AddressFamily, ...]] = {
    "auto": (socket.AF_INET, socket.AF_INET6),
    "ipv4": (socket.AF_INET,),
    "ipv6": (socket.AF_INET6,),
}

_NONE = {
    getattr(socket, name)
    for name in ("EAI_NONAME", "EAI_NODATA", "EAI_ADDRFAMILY")
    if hasattr(socket, name)
}

GetAddrInfo = Callable[..., Sequence[tuple[Any, Any, Any, Any, tuple[Any, ...]]]]


class SystemResolver:
    """Asks for one family after the other: asked for both at once, the system would leave out the one whose answer is
    late, and all workers would seem to be others.
    """

    def __init__(self, getaddrinfo: GetAddrInfo = socket.getaddrinfo) -> None:
        self._getaddrinfo = getaddrinfo
        self._asking: asyncio.Future[list[str] | Exception] | None = None

    async def addresses(self, host: str, family: Family) -> list[str]:
        """Raises NoRecordsError, NoAnswerError. A question that was given up and still hangs is waited for before another
        is asked.
        """
        if self._asking is not None and not self._asking.done():
            await asyncio.shield(self._asking)
        self._asking = asking = in_daemon(partial(self._look_up, host, family))
        result = await asyncio.shield(asking)
        if isinstance(result, Exception):
            raise result
        return result

    def _look_up(self, host: str, family: Family) -> list[str]:
        for each in FAMILIES[family]:
            try:
                found = self._getaddrinfo(host, None, each, socket.SOCK_STREAM)
            except socket.gaierror as error:
                if error.errno not in _NONE:
                    raise NoAnswerError(error.strerror or str(error)) from None
            except (OSError, UnicodeError) as error:
                raise NoAnswerError(str(error)) from None
            else:
                return sorted({address[0] for *_, address in found})
        raise NoRecordsError("it has no address")

"""Records of a name, asked of name servers over DNS (dnspython)."""

import asyncio
from collections.abc import Iterable, Sequence
from typing import Any

import dns.asyncresolver
import dns.exception
import dns.nameserver
import dns.rdatatype
import dns.resolver
from dns.rdtypes.IN.SRV import SRV

from router.discovery.answers import NoAnswerError, NoRecordsError, Service
from router.discovery.lookup_sockets import LookupSockets
from router.discovery.system_resolver import Family

_KINDS: dict[Family, tuple[dns.rdatatype.RdataType, ...]] = {
    "auto": (dns.rdatatype.A, dns.rdatatype.AAAA),
    "ipv4": (dns.rdatatype.A,),
    "ipv6": (dns.rdatatype.AAAA,),
}

_LIFETIME_S = 60.0
"""Beyond what any caller waits."""


class Records:
    """Asks `nameservers` (addresses and ports), by default those of the host."""

    def __init__(self, nameservers: Sequence[tuple[str, int]] = ()) -> None:
        self._nameservers = nameservers
        self._sockets: Any = LookupSockets()

    async def addresses(self, host: str, family: Family) -> tuple[list[str], float]:
        """And for how many seconds they hold. Raises NoRecordsError, NoAnswerError."""
        for kind in _KINDS[family]:
            try:
                answer = await self._ask(host, kind)
            except NoRecordsError:
                if kind is _KINDS[family][-1]:
                    raise
            else:
                return sorted({record.to_text() for record in answer}), _ttl(answer)
        raise AssertionError

    async def services(self, name: str) -> tuple[list[Service], float]:
        """SRV records, and for how many seconds they hold. Raises NoRecordsError, NoAnswerError."""
        answer = await self._ask(name, dns.rdatatype.SRV)
        found = []
        for record in answer:
            assert isinstance(record, SRV)
            host = record.target.to_text(omit_final_dot=True)
            found.append(Service(record.priority, host.lower(), record.port))
        return found, _ttl(answer)

    async def _ask(self, name: str, kind: dns.rdatatype.RdataType) -> dns.resolver.Answer:
        try:
            resolver = self._resolver()
            return await resolver.resolve(
                name, kind, search=True, lifetime=_LIFETIME_S, backend=self._sockets
            )
        except dns.resolver.NXDOMAIN:
            raise NoRecordsError("there is no such name") from None
        except dns.resolver.NoAnswer:
            raise NoRecordsError(f"it has no {kind.name} record") from None
        except (dns.exception.DNSException, OSError, UnicodeError, EOFError) as error:
            raise NoAnswerError(_words(error)) from None
        finally:
            _heed_cancellation()

    def _resolver(self) -> dns.asyncresolver.Resolver:
        """Made anew for each question: which name servers the host uses may change."""
        if not self._nameservers:
            return dns.asyncresolver.Resolver()
        resolver = dns.asyncresolver.Resolver(configure=False)
        resolver.nameservers = [
            dns.nameserver.Do53Nameserver(address, port) for address, port in self._nameservers
        ]
        return resolver


def _heed_cancellation() -> None:
    """dnspython waits by `asyncio.wait_for`, which before Python 3.12 forgets a cancellation that comes with an answer."""
    task = asyncio.current_task()
    if task is not None and task.cancelling():
        raise asyncio.CancelledError


def _ttl(answer: dns.resolver.Answer) -> float:
    return float(answer.chaining_result.minimum_ttl)


def _words(error: Exception) -> str:
    """What dnspython tells of a whole search, without the question, which the reader knows."""
    if isinstance(error, dns.resolver.LifetimeTimeout):
        return "no name server answered in time"
    if isinstance(error, dns.resolver.NoNameservers):
        reasons = _reasons((str(server), why) for server, _, _, why, _ in error.kwargs["errors"])
        each = [f"{server}: {why}" for server, why in sorted(reasons.items())]
        return f"no name server could answer ({', '.join(each)})"
    return str(error) or type(error).__name__


def _reasons(failures: Iterable[tuple[str, Exception | str]]) -> dict[str, str]:
    """Why each server failed, in the same words each time: that time ran out at the last of its tries is no news."""
    found: dict[str, str] = {}
    for server, why in failures:
        if not isinstance(why, dns.exception.Timeout):
            found[server] = str(why)
        else:
            found.setdefault(server, "no answer in time")
    return found

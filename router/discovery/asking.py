"""How DNS is asked for workers: through the host's resolver, or by dnspython."""

import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from ipaddress import ip_address

from router.config_file import ConfigurationError
from router.discovery.answers import Answer
from router.discovery.questions import Question
from router.discovery.system_resolver import Family, SystemResolver

_NAMESERVER = re.compile(r"(?:\[(?P<six>[^][]+)]|(?P<four>[^:]+))(?::(?P<port>[0-9]{1,5}))?")

Ask = Callable[[], Awaitable[Answer]]
"""Raises NoRecordsError, NoAnswerError."""


def asker(
    url: str, family: Family, nameservers: Sequence[str], system: SystemResolver | None = None
) -> Ask:
    """Asks what `url` stands for. `nameservers` and SRV records need dnspython: raises `ConfigurationError` where it is
    missing, or `url` is wrong.
    """
    try:
        question = Question.parse(url)
        servers = [nameserver(each) for each in nameservers]
    except ValueError as error:
        raise ConfigurationError([str(error)]) from None
    if question.services or nameservers:
        return _of_records(question, family, servers)
    resolver, host = system or SystemResolver(), question.address.host

    async def ask() -> Answer:
        return question.of_addresses(await resolver.addresses(host, family))

    return ask


def nameserver(text: str) -> tuple[str, int]:
    """The address and port of a name server, as `10.0.0.10`, `127.0.0.1:8600` or `[fd00::10]:53`. Raises ValueError."""
    match = _NAMESERVER.fullmatch(text)
    host = (match["six"] or match["four"]) if match else text
    port = int((match and match["port"]) or 53)
    with suppress(ValueError):
        if 0 < port < 65536:
            return str(ip_address(host)), port
    raise ValueError(f"{text!r} is not the address of a name server, `10.0.0.10:53`")


def _of_records(question: Question, family: Family, nameservers: Sequence[tuple[str, int]]) -> Ask:
    host = question.address.host
    try:
        from router.discovery.records import Records  # noqa: PLC0415 - an extra
    except ModuleNotFoundError:
        raise ConfigurationError(
            [f"{host}: this is asked through dnspython: `pip install prefix-router[dns]`"]
        ) from None
    records = Records(nameservers)

    async def of_services() -> Answer:
        return question.of_services(*await records.services(host))

    async def of_addresses() -> Answer:
        return question.of_addresses(*await records.addresses(host, family))

    return of_services if question.services else of_addresses

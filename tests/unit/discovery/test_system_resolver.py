"""Addresses as the host's resolver has them."""

import asyncio
import socket
import threading
from typing import Any

import pytest

from router.discovery.answers import NoAnswerError, NoRecordsError
from router.discovery.system_resolver import Family, SystemResolver

V4, V6 = socket.AF_INET, socket.AF_INET6
NONE = socket.gaierror(socket.EAI_NONAME, "Name or service not known")
AGAIN = socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")


class World:
    """What getaddrinfo says by family: addresses, or what it raises."""

    def __init__(self, **said: list[str] | Exception) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self._said = {V4: said.get("v4", NONE), V6: said.get("v6", NONE)}

    def __call__(self, host: str, port: None, family: Any, kind: Any) -> list[Any]:
        self.asked.append((host, family))
        said = self._said[family]
        if isinstance(said, Exception):
            raise said
        return [(family, kind, 6, "", (each, 0, 0, 0)) for each in said]


async def test_a_name_that_really_resolves() -> None:
    assert "127.0.0.1" in await SystemResolver().addresses("localhost", "auto")
    assert await SystemResolver().addresses("127.0.0.1", "ipv4") == ["127.0.0.1"]
    assert await SystemResolver().addresses("::1", "auto") == ["::1"]


@pytest.mark.parametrize(
    ("world", "family", "expected"),
    [
        (World(v4=["10.0.0.2", "10.0.0.1", "10.0.0.2"], v6=["fd::1"]), "auto", ["10.0.0.1", "10.0.0.2"]),
        (World(v4=["10.0.0.1"], v6=["fd::1"]), "ipv6", ["fd::1"]),
        (World(v6=["fd::1"]), "auto", ["fd::1"]),
        (World(v4=["10.0.0.1"], v6=AGAIN), "auto", ["10.0.0.1"]),
    ],
)  # fmt: skip
async def test_families(world: World, family: Family, expected: list[str]) -> None:
    assert await SystemResolver(world).addresses("v.test", family) == expected


async def test_a_late_answer_for_one_family_does_not_make_workers_of_the_other() -> None:
    world = World(v4=AGAIN, v6=["fd::1"])
    with pytest.raises(NoAnswerError, match="Temporary failure"):
        await SystemResolver(world).addresses("v.test", "auto")
    assert world.asked == [("v.test", V4)]


@pytest.mark.parametrize("family", ["auto", "ipv4", "ipv6"])
async def test_none(family: Family) -> None:
    with pytest.raises(NoRecordsError, match="no address"):
        await SystemResolver(World()).addresses("v.test", family)


@pytest.mark.parametrize(
    "error", [socket.gaierror(socket.EAI_FAIL, "x"), OSError("out of files"), UnicodeError("long")]
)
async def test_what_is_no_answer(error: Exception) -> None:
    with pytest.raises(NoAnswerError):
        await SystemResolver(World(v4=error)).addresses("v.test", "auto")


async def test_a_question_that_hangs_is_the_only_one() -> None:
    gate = threading.Event()
    calls = 0

    def hangs(*asked: Any) -> list[Any]:
        nonlocal calls
        calls += 1
        gate.wait(30)
        return [(V4, 1, 6, "", ("10.0.0.1", 0))]

    resolver = SystemResolver(hangs)
    for _ in range(3):
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await resolver.addresses("v.test", "auto")
    assert calls <= 1
    gate.set()
    assert await resolver.addresses("v.test", "auto") == ["10.0.0.1"]
    assert calls == 2

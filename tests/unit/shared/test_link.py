"""Batches of commands to real servers: as they should be, and when servers are late, full, dead or others."""

import asyncio
import gc
import shutil
from collections.abc import AsyncIterator, Awaitable, Iterable, Iterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

import pytest
from redis import Redis
from redis.crc import key_slot
from redis.exceptions import OutOfMemoryError

from router.ids import BlockKey
from router.prompt.segments import by_place
from router.shared.base import Answer, Drop, Hold, StoreError
from router.shared.link import Command, Link, Plain, Script
from router.shared.names import Names
from router.shared.redis_store import RedisStore
from tests.fakes.certificate import Certificate, make_certificate
from tests.fakes.redis_binaries import Flavour
from tests.fakes.redis_cluster import Cluster, cluster
from tests.fakes.redis_sentinel import sentinel
from tests.fakes.redis_server import Server, server, until

PATIENCE_S = 40.0
HASTE_S = 0.2
"""A link's patience where the server is not to answer."""

PASSWORD = "p@ss/w:rd#1"
LEAKY = pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
"""The driver leaves connections that were being made, to servers that died or did not answer, to the collector."""

EPOCH = b"test"
KEYS = by_place([key * 7919 for key in range(1, 40)])
VALID = bytes(4 * 64)
"""All holders below 64, at stamp 0."""


@asynccontextmanager
async def link_to(url: str, timeout_s: float = PATIENCE_S) -> AsyncIterator[Link]:
    link = Link(url, timeout_s=timeout_s)
    try:
        yield link
    finally:
        await link.close()


def set_get(key: str, value: int) -> list[Plain]:
    return [Plain(("SET", key, value)), Plain(("GET", key))]


async def together(batches: Iterable[Awaitable[list[Any]]]) -> list[list[Any]]:
    """What all reply, once all are through; raises the first failure."""
    found = await asyncio.gather(*batches, return_exceptions=True)
    for each in found:
        if isinstance(each, BaseException):
            raise each
    return [each for each in found if isinstance(each, list)]


async def heals(link: Link, commands: Sequence[Command] = ()) -> list[Any]:
    """What it replies once it does."""
    async with asyncio.timeout(PATIENCE_S):
        while True:
            try:
                return await link.run(commands or set_get("healed", 1))
            except StoreError:
                await asyncio.sleep(0.05)


async def refused(link: Link, commands: Sequence[Command] = ()) -> StoreError:
    with pytest.raises(StoreError) as error:
        await link.run(commands or set_get("refused", 1))
    return error.value


def blocks(link: Link) -> RedisStore:
    return RedisStore(link, Names("link"), ttl_s=600)


async def held(link: Link, keys: Sequence[BlockKey] = KEYS) -> dict[int, int]:
    answer: Answer = await blocks(link).look_up(EPOCH, [keys], VALID, rows=False)
    return answer.runs[0]


def raw(running: Server) -> Redis:
    """A connection of the test's own."""
    return Redis(port=running.port)


@pytest.fixture
def swept() -> Iterator[None]:
    """What the test leaves open is its own to tell of."""
    yield
    gc.collect()


class Replies:
    """What holds on every server."""

    async def test_replies_come_in_order(self, url: str) -> None:
        async with link_to(url) as link:
            commands = [command for n in range(50) for command in set_get(f"order-{n}", n)]
            assert await link.run(commands) == [
                reply for n in range(50) for reply in (True, str(n).encode())
            ]

    async def test_nothing_has_no_replies(self, url: str) -> None:
        async with link_to(url) as link:
            assert await link.run([]) == []

    async def test_scripts_and_commands_go_together(self, url: str) -> None:
        async with link_to(url) as link:
            keys = Names("mixed").of_board("numbers", "seen", "meta")
            enrol = Script("enrol", keys, (1000, 4, "a:8000"))
            found = await link.run([enrol, *set_get("mixed", 7), enrol])
            assert found == [[0], True, b"7", [0]]

    async def test_batches_at_once_get_their_own_replies(self, url: str) -> None:
        async with link_to(url) as link:
            found = await asyncio.gather(*(link.run(set_get(f"at-once-{n}", n)) for n in range(12)))
            assert [int(reply[1]) for reply in found] == list(range(12))

    async def test_one_bad_command_fails_the_batch_and_nothing_else(self, url: str) -> None:
        async with link_to(url) as link:
            await link.run([Plain(("SET", "a-string", "x"))])
            bad = [*set_get("good", 1), Plain(("LPUSH", "a-string", "y"))]
            error = await refused(link, bad)
            assert error.reason == "failed"
            assert "WRONGTYPE" in str(error) or "wrong kind" in str(error)
            assert await link.run([Plain(("GET", "good"))]) == [b"1"]

    async def test_after_close_it_connects_anew(self, url: str) -> None:
        async with link_to(url) as link:
            await link.run(set_get("closed", 1))
            await link.close()
            assert await link.run([Plain(("GET", "closed"))]) == [b"1"]

    async def test_questions_that_were_given_up_confuse_no_others(
        self, url: str, stopped: Server
    ) -> None:
        """Nor do they keep connections, of which there are fewer."""
        names = [f"given-up-{n}" for n in range(12)]
        async with link_to(url) as link:
            await together(link.run(set_get(name, n)) for n, name in enumerate(names))
            stopped.stop()
            try:
                for _ in range(40):
                    with pytest.raises(TimeoutError):
                        async with asyncio.timeout(0.02):
                            await link.run([Plain(("GET", name)) for name in names])
            finally:
                stopped.go_on()
            found = await together(link.run([Plain(("GET", name))]) for name in names)
            assert [int(reply[0]) for reply in found] == list(range(12))


class OneServer(Replies):
    @pytest.fixture
    def stopped(self, running: Server) -> Server:
        return running

    @pytest.fixture
    def url(self, running: Server) -> str:
        return running.url

    async def test_a_server_that_forgot_the_scripts_is_given_them(self, running: Server) -> None:
        async with link_to(running.url) as link:
            await blocks(link).write(EPOCH, [Hold(4, 0, KEYS)])
            with raw(running) as client:
                client.script_flush()
            assert await held(link) == {4: 39}
            with raw(running) as client:
                client.script_flush()
            await asyncio.gather(*(held(link) for _ in range(8)))
            await blocks(link).write(EPOCH, [Drop(4, KEYS)])
            assert await held(link) == {}


class TestRedis(OneServer):
    @pytest.fixture(scope="class")
    @classmethod
    def running(cls) -> Iterator[Server]:
        with server("redis") as running:
            yield running


class TestValkey(OneServer):
    @pytest.fixture(scope="class")
    @classmethod
    def running(cls) -> Iterator[Server]:
        with server("valkey") as running:
            yield running


class TestCluster(Replies):
    @pytest.fixture(scope="class")
    @classmethod
    def running(cls) -> Iterator[Cluster]:
        with cluster("valkey") as running:
            yield running

    @pytest.fixture
    def url(self, running: Cluster) -> str:
        return running.url

    @pytest.fixture
    def stopped(self, running: Cluster) -> Server:
        return running.nodes[1]

    async def test_scripts_are_given_to_all_who_forgot_them(self, running: Cluster) -> None:
        async with link_to(running.url) as link:
            assert link.is_cluster
            chains = [by_place([n * 7919]) for n in range(1, 60)]
            for chain in chains:
                await blocks(link).write(EPOCH, [Hold(4, 0, chain)])
            for node in running.nodes:
                with raw(node) as client:
                    client.script_flush()
            for chain in chains:
                assert await held(link, chain) == {4: 1}

    async def test_addressed_as_one_server_it_says_what_to_write(self, running: Cluster) -> None:
        async with link_to(running.nodes[0].url) as link:
            error = await refused(link, [Plain(("GET", f"moved-{n}")) for n in range(50)])
            assert error.reason == "failed"
            assert "redis+cluster://" in str(error)

    @pytest.mark.usefixtures("swept")
    @LEAKY
    async def test_many_batches_at_once_wait_for_their_turn(self, running: Cluster) -> None:
        async with link_to(running.url) as link:
            found = await together(link.run(set_get(f"many-{n}", n)) for n in range(200))
            assert [int(reply[1]) for reply in found] == list(range(200))


class TestFaults:
    """Of one server, and that the link works again once the server does."""

    @pytest.fixture(params=["redis", "valkey"])
    def flavour(self, request: pytest.FixtureRequest) -> Flavour:
        flavour: Flavour = request.param
        return flavour

    async def test_a_server_that_hangs_is_late(self, flavour: Flavour) -> None:
        with server(flavour) as running:
            async with link_to(running.url, HASTE_S) as link:
                await heals(link)
                running.stop()
                try:
                    assert (await refused(link)).reason == "late"
                finally:
                    running.go_on()
                assert await heals(link) == [True, b"1"]

    async def test_one_that_hangs_from_the_start_is_late(self, flavour: Flavour) -> None:
        with server(flavour) as running:
            running.stop()
            async with link_to(running.url, HASTE_S) as link:
                try:
                    assert (await refused(link)).reason == "late"
                finally:
                    running.go_on()
                assert await heals(link) == [True, b"1"]

    async def test_one_that_lets_writes_wait_is_late_with_them(self, flavour: Flavour) -> None:
        with server(flavour) as running, raw(running) as client:
            async with link_to(running.url, HASTE_S) as link:
                await heals(link)
                client.client_pause(600_000, all=False)
                assert (await refused(link)).reason == "late"
                assert await heals(link, [Plain(("GET", "healed"))]) == [b"1"]
                client.client_unpause()
                assert await heals(link) == [True, b"1"]

    async def test_a_dead_one_has_failed(self, flavour: Flavour) -> None:
        with server(flavour) as running:
            async with link_to(running.url) as link:
                await blocks(link).write(EPOCH, [Hold(4, 0, KEYS)])
                running.kill()
                for _ in range(3):
                    assert (await refused(link)).reason == "failed"
                running.restart()
                await heals(link)
                assert await held(link) == {}, "it has lost its data, and is given the scripts"

    async def test_one_that_was_never_there_has_failed(self) -> None:
        with server("valkey") as running:
            running.kill()
            async with link_to(running.url) as link:
                assert (await refused(link)).reason == "failed"
                running.restart()
                assert await heals(link) == [True, b"1"]

    async def test_a_full_one_takes_nothing_in_but_answers(self, flavour: Flavour) -> None:
        limits = ("--maxmemory 3mb", "--maxmemory-policy noeviction")
        with server(flavour, *limits) as running, raw(running) as client:
            async with link_to(running.url) as link, link_to(running.url) as newcomer:
                await blocks(link).write(EPOCH, [Hold(4, 0, KEYS)])
                _fill(client)
                for each in (link, newcomer):
                    with pytest.raises(StoreError) as error:
                        await blocks(each).write(EPOCH, [Hold(5, 0, KEYS)])
                    assert error.value.reason == "full"
                    assert await held(each) == {4: 39}
                    assert (await refused(each, set_get("more", 1))).reason == "full"
                client.delete(*client.keys("filling-*"))
                await blocks(link).write(EPOCH, [Hold(5, 0, KEYS)])
                assert await held(link) == {4: 39, 5: 39}

    async def test_a_replica_takes_nothing_in_but_answers(self, flavour: Flavour) -> None:
        with (
            server(flavour) as master,
            server(flavour, f"--replicaof 127.0.0.1 {master.port}") as replica,
            raw(replica) as client,
        ):
            async with link_to(master.url) as link:
                await blocks(link).write(EPOCH, [Hold(4, 0, KEYS)])
            until("the replica is in step", lambda: _has_blocks(client))
            async with link_to(replica.url) as link:
                with pytest.raises(StoreError) as error:
                    await blocks(link).write(EPOCH, [Hold(5, 0, KEYS)])
                assert error.value.reason == "read_only"
                assert (await refused(link)).reason == "read_only"
                assert await held(link) == {4: 39}
                client.execute_command("REPLICAOF", "NO", "ONE")
                await blocks(link).write(EPOCH, [Hold(5, 0, KEYS)])
                assert await held(link) == {4: 39, 5: 39}


def _fill(client: Redis) -> None:
    """Until not even a little more goes in."""
    size, number = 200_000, 0
    while size:
        try:
            client.set(f"filling-{number}", b"x" * size)
            number += 1
        except OutOfMemoryError:
            size //= 2


def _has_blocks(client: Redis) -> bool:
    info: Any = client.info("replication")
    return info["master_link_status"] == "up" and bool(client.keys("link:*"))


class TestPassword:
    """In a URL; no message may hold it."""

    @pytest.fixture(scope="class", params=["redis", "valkey"])
    @classmethod
    def running(cls, request: pytest.FixtureRequest) -> Iterator[Server]:
        user = ("--user", "router", "on", f">{PASSWORD}", "~*", "&*", "+@all")
        with server(request.param, *user, "--user", "default", "off") as running:
            yield running

    def _url(self, running: Server, password: str, user: str = "router") -> str:
        return f"redis://{user}:{quote(password, safe='')}@127.0.0.1:{running.port}"

    async def test_the_right_one_opens(self, running: Server) -> None:
        async with link_to(self._url(running, PASSWORD)) as link:
            assert await link.run(set_get("opened", 1)) == [True, b"1"]

    @pytest.mark.parametrize("wrong", [f"{PASSWORD}!", "hunter2"])
    async def test_a_wrong_one_fails_and_is_not_told(self, running: Server, wrong: str) -> None:
        async with link_to(self._url(running, wrong)) as link:
            error = await refused(link)
        assert error.reason == "failed"
        assert wrong not in str(error)
        assert quote(wrong, safe="") not in str(error)

    async def test_none_fails(self, running: Server) -> None:
        async with link_to(running.url) as link:
            assert (await refused(link)).reason == "failed"

    async def test_a_dead_servers_message_does_not_hold_it(self) -> None:
        with server("valkey") as running:
            running.kill()
            async with link_to(self._url(running, "hunter2")) as link:
                assert "hunter2" not in str(await refused(link))


async def test_a_database_of_its_own() -> None:
    with server("valkey") as running:
        async with link_to(f"{running.url}/3") as link:
            await link.run(set_get("in-three", 3))
        with Redis(port=running.port, db=3) as client:
            assert client.get("in-three") == b"3"


class TestUnixSocket:
    @pytest.mark.parametrize("flavour", ["redis", "valkey"])
    async def test_it_is_one_more_way_in(self, flavour: Flavour) -> None:
        with server(flavour, "--unixsocket door") as running:
            async with link_to(f"unix://{running.folder / 'door'}?db=2") as link:
                assert await link.run(set_get("door", 1)) == [True, b"1"]
            with Redis(port=running.port, db=2) as client:
                assert client.get("door") == b"1"

    async def test_none_there_has_failed(self, tmp_path: Path) -> None:
        async with link_to(f"unix://{tmp_path / 'door'}") as link:
            assert (await refused(link)).reason == "failed"


class TestTls:
    @pytest.fixture(scope="class")
    @classmethod
    def certificate(cls, tmp_path_factory: pytest.TempPathFactory) -> Certificate:
        openssl = shutil.which("openssl")
        if openssl is None:
            pytest.skip("TLS IS NOT TESTED HERE: the openssl command is missing")
        return make_certificate(tmp_path_factory.mktemp("tls"), openssl)

    @pytest.fixture(scope="class")
    @classmethod
    def running(cls, certificate: Certificate) -> Iterator[Server]:
        options = (
            f"--tls-cert-file {certificate.cert}",
            f"--tls-key-file {certificate.key}",
            f"--tls-ca-cert-file {certificate.cert}",
            "--tls-auth-clients no",
        )
        with server("redis", *options, ports=("--port", "--tls-port")) as running:
            yield running

    def _url(self, running: Server, port: str = "--tls-port") -> str:
        return f"rediss://127.0.0.1:{running.ports[port]}"

    async def test_a_server_whose_certificate_is_known_is_asked(
        self, running: Server, certificate: Certificate
    ) -> None:
        async with link_to(f"{self._url(running)}?ssl_ca_certs={certificate.cert}") as link:
            assert await link.run(set_get("tls", 1)) == [True, b"1"]

    async def test_another_is_not(self, running: Server) -> None:
        async with link_to(self._url(running)) as link:
            error = await refused(link)
        assert error.reason == "failed"
        assert "certificate" in str(error).lower()

    async def test_nor_is_one_without_tls(self, running: Server, certificate: Certificate) -> None:
        url = f"{self._url(running, '--port')}?ssl_ca_certs={certificate.cert}"
        async with link_to(url, HASTE_S) as link:
            error = await refused(link)
        assert error.reason in ("failed", "late"), "it waits for the rest of a command"


class TestFailover:
    async def test_a_sentinel_names_the_next_master(self) -> None:
        with sentinel("valkey", down_after_ms=1500) as watched:
            async with link_to(f"{watched.url}/2", 2.0) as link:
                await heals(link, set_get("before", 1))
                watched.master.kill()
                await heals(link, set_get("after", 2))
            with Redis(port=watched.replica.port, db=2) as client:
                assert client.get("after") == b"2"

    async def test_a_sentinel_that_knows_no_such_master_has_failed(self) -> None:
        with sentinel("valkey") as watched:
            url = watched.url.replace("mymaster", "hismaster")
            async with link_to(url) as link:
                assert (await refused(link)).reason == "failed"

    async def test_the_next_sentinel_is_asked_when_one_is_gone(self) -> None:
        with server("valkey") as gone, sentinel("valkey") as watched:
            gone.kill()
            url = watched.url.replace("://", f"://127.0.0.1:{gone.port},")
            async with link_to(url) as link:
                assert await link.run(set_get("next", 1)) == [True, b"1"]

    async def test_many_batches_at_once_wait_for_their_turn_at_a_sentinels_master(self) -> None:
        with sentinel("valkey") as watched:
            async with link_to(watched.url) as link:
                found = await together(link.run(set_get(f"many-{n}", n)) for n in range(200))
                assert [int(reply[1]) for reply in found] == list(range(200))

    @pytest.mark.usefixtures("swept")
    @LEAKY
    async def test_tls_to_a_sentinels_master_that_has_none_has_failed(self) -> None:
        with sentinel("valkey") as watched:
            url = watched.url.replace("redis+", "rediss+")
            async with link_to(url, HASTE_S) as link:
                assert (await refused(link)).reason in ("failed", "late")

    async def test_closing_leaves_no_connection_to_a_sentinel(self) -> None:
        with sentinel("valkey") as watched, raw(watched.sentinel) as client:

            def others() -> list[Any]:
                mine: Any = client.client_id()
                seen: Any = client.client_list()
                return [each for each in seen if int(each["id"]) != mine]

            async with link_to(watched.url) as link:
                await link.run(set_get("closing", 1))
                assert others()
                await link.close()
                for _ in range(50):
                    if not others():
                        break
                    await asyncio.sleep(0.1)
                assert others() == []

    async def test_a_clusters_replica_takes_over(self) -> None:
        commands = [command for n in range(40) for command in set_get(f"any-{n}", n)]
        with cluster("valkey", replicas=1) as running:
            async with link_to(running.url, 2.0) as link:
                await heals(link, commands)
                running.nodes[1].kill()
                found = await heals(link, commands)
                assert found[1::2] == [str(n).encode() for n in range(40)]

    @pytest.mark.usefixtures("swept")
    @LEAKY
    async def test_while_it_does_nothing_but_store_errors_come_of_batches(self) -> None:
        with cluster("valkey", replicas=1) as running:
            async with link_to(running.url, 2.0) as link:
                await heals(link)
                running.nodes[1].kill()
                for number in range(40):
                    batches = [link.run(set_get(f"knock-{n}", number)) for n in range(8)]
                    for found in await asyncio.gather(*batches, return_exceptions=True):
                        if not isinstance(found, list | StoreError):
                            raise found
                    await asyncio.sleep(0.02)

    async def test_a_cluster_that_is_all_dead_has_failed_and_is_found_again(self) -> None:
        with cluster("valkey") as running:
            async with link_to(running.url) as link:
                await heals(link)
                for node in running.nodes:
                    node.kill()
                for _ in range(3):
                    assert (await refused(link)).reason == "failed"
                for node in running.nodes:
                    node.restart()
                assert await heals(link) == [True, b"1"]

    async def test_a_single_server_that_is_addressed_as_a_cluster_has_failed(self) -> None:
        with server("valkey") as running:
            url = running.url.replace("redis://", "redis+cluster://")
            async with link_to(url) as link:
                assert (await refused(link)).reason == "failed"

    @pytest.mark.usefixtures("swept")
    @LEAKY
    async def test_a_dead_server_of_a_cluster_breaks_no_batches_of_others(self) -> None:
        with cluster("valkey") as running:
            async with link_to(running.url) as link:
                await heals(link)
                slow, dead = running.nodes[0], running.nodes[2]
                of_slow, of_dead = (_key_of(running, node) for node in (slow, dead))
                await link.run([*set_get(of_slow, 1), *set_get(of_dead, 1)])
                dead.kill()
                slow.stop()
                try:
                    under_way = asyncio.ensure_future(link.run(set_get(of_slow, 2)))
                    await asyncio.sleep(0.1)
                    assert (await refused(link, set_get(of_dead, 2))).reason == "failed"
                finally:
                    slow.go_on()
                assert await under_way == [True, b"2"]


def _key_of(running: Cluster, node: Server) -> str:
    """One that the node serves; slots are shared out evenly, in the order of the nodes."""
    place, share = running.nodes.index(node), 16384 // len(running.nodes)
    keys = (f"key-{n}" for n in range(10_000))
    return next(key for key in keys if key_slot(key.encode()) // (share + 1) == place)

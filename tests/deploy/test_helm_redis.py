"""The chart's own Redis, run for real: its script, its user, what that may do."""

import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from tests.deploy import chart
from tests.fakes.ports import free_ports
from tests.fakes.redis_binaries import Flavour, binary

PASSWORD = "a0Password"
PATIENCE_S = 30.0


def _script(folder: Path, port: int) -> str:
    pod = chart.named(chart.render("sidecar"), "Deployment", f"{chart.FULL}-redis")["spec"][
        "template"
    ]["spec"]
    text = str(pod["containers"][0]["command"][2])
    return text.replace("/tmp", str(folder)).replace("--port 6379", f"--port {port}")


@pytest.fixture(params=["valkey", "redis"])
def port(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[int]:
    flavour: Flavour = request.param
    found = binary(flavour)
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / f"{flavour}-server"
    program.write_text(f'#!/bin/sh\nexec "{found}" "$@"\n', encoding="utf-8")
    program.chmod(0o755)
    [port] = free_ports(1)
    environment = {
        "PATH": f"{programs}:/usr/bin:/bin",
        "REDIS_PASSWORD": PASSWORD,
        "REDIS_NAMESPACE": "prefix-router",
    }
    with subprocess.Popen(
        ["sh", "-ec", _script(tmp_path, port)],
        env=environment,
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    ) as process:
        try:
            yield port
            arguments = Path(f"/proc/{process.pid}/cmdline").read_bytes()
            assert (
                PASSWORD.encode()
                not in arguments + Path(f"/proc/{process.pid}/environ").read_bytes()
            )
        finally:
            process.kill()


def _client(port: int, name: str = "router", password: str = PASSWORD) -> "redis.Redis":
    return redis.Redis(port=port, username=name, password=password, retry=Retry(NoBackoff(), 0))


def _await(port: int) -> "redis.Redis":
    client = _client(port)
    end = time.monotonic() + PATIENCE_S
    while True:
        try:
            client.get("prefix-router:1:x")
        except redis.ConnectionError:
            assert time.monotonic() < end, "no answer"
            time.sleep(0.05)
        else:
            return client


def test_routers_may_do_what_they_need_and_no_more(port: int) -> None:
    with _await(port) as client:
        assert client.set("prefix-router:1:x", "1") is True
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.set("another:1:x", "1")
        with pytest.raises(redis.exceptions.NoPermissionError):
            client.flushall()
    with _client(port, "default", "") as nobody, pytest.raises(redis.exceptions.RedisError):
        nobody.get("prefix-router:1:x")
    with (
        _client(port, password="wrong") as stranger,
        pytest.raises(redis.exceptions.AuthenticationError),
    ):
        stranger.get("prefix-router:1:x")


def test_the_user_is_the_one_of_the_documentation() -> None:
    text = " ".join((chart.ROOT / "docs" / "sharing.md").read_text(encoding="utf-8").split())
    listed = text.partition("resetchannels -@all ")[2].partition(" ```")[0].split()
    pod = chart.named(chart.render("sidecar"), "Deployment", f"{chart.FULL}-redis")["spec"][
        "template"
    ]["spec"]
    given = (
        str(pod["containers"][0]["command"][2])
        .partition("resetchannels -@all ")[2]
        .partition("\\n")[0]
        .split()
    )
    assert set(given) == set(listed)


def test_memory_that_redis_may_fill_is_less_than_the_containers() -> None:
    units = {"kb": 2**10, "mb": 2**20, "gb": 2**30, "Mi": 2**20, "Gi": 2**30}

    def size(text: str) -> int:
        return int(text[:-2]) * units[text[-2:]]

    for name in ("sidecar", "air-gapped"):
        pod = chart.named(chart.render(name), "Deployment", f"{chart.FULL}-redis")["spec"][
            "template"
        ]["spec"]
        [container] = pod["containers"]
        words = container["command"][2].split()
        maxmemory = words[words.index("--maxmemory") + 1]
        assert size(maxmemory) * 1.2 <= size(container["resources"]["limits"]["memory"])

"""The benchmark of the shared store: its load is what it says, and a small run prints every row."""

import subprocess
import sys
from collections.abc import Iterator

import pytest
from redis import Redis

from bench.dataplane.harness import ROOT
from bench.shared.__main__ import TABLES, parser
from bench.shared.costs import measured
from bench.shared.hammer import Rate, hammer
from bench.shared.load import HELD_BY, Hall, prompts, recorded, valid
from bench.shared.server import Probe, ServerError, binary, running
from bench.shared.tables import NEW
from router.shared.base import IGNORED, Hold, stamp_of
from tests.fakes.ports import free_ports
from tests.fakes.redis_server import redis_server
from tests.unit.bench.manual import check_commands, check_options


@pytest.fixture(name="url")
def url_() -> Iterator[str]:
    with redis_server() as url:
        yield url


@pytest.fixture(name="probe")
def probe_(url: str) -> Iterator[Probe]:
    probe = Probe(url)
    yield probe
    probe.close()


@pytest.mark.parametrize("held_by", HELD_BY)
async def test_a_prompt_is_held_as_it_is_said(url: str, held_by: str) -> None:
    hall = await Hall.open(url, 64)
    try:
        for prompt in await prompts(hall, 100, HELD_BY[held_by], 2, seed=1):
            assert len(prompt.keys) == 100
            assert len(prompt.held) == int(held_by.split(maxsplit=1)[0].replace("none", "0"))
            if len(prompt.held) <= 4:  # of many depths not all are looked for
                assert await hall.look_up(prompt.keys) == prompt.held
    finally:
        await hall.link.close()


async def test_prompts_are_the_same_with_every_run(url: str) -> None:
    hall = await Hall.open(url, 64)
    try:
        first, second = [await prompts(hall, 50, HELD_BY["4"], 3, seed=2) for _ in range(2)]
    finally:
        await hall.link.close()
    assert first == second


def test_only_text_counts() -> None:
    assert stamp_of(valid(3), 8) == (1, 100)
    assert {stamp_of(valid(3), holder) for holder in (9, 10, 11, 12)} == {IGNORED}


async def test_a_cost_is_that_of_a_step(url: str, probe: Probe) -> None:
    hall = await Hall.open(url, 2)
    asked = (await prompts(hall, 64, HELD_BY["1"], 1, seed=3))[0]
    before = probe.calls()["evalsha"]
    try:
        cost = await measured(probe, lambda _: hall.look_up(asked.keys), 5, 3)
    finally:
        await hall.link.close()
    assert probe.calls()["evalsha"] - before == 16  # one to begin with
    assert 0 < cost.p50 <= cost.p99
    assert cost.script > 0
    assert cost.bytes_in > 64 * 8


async def test_what_is_recorded_is_what_the_product_sends(url: str, probe: Probe) -> None:
    hall = await Hall.open(url, 1)
    await hall.link.close()
    key = 0x8000 << 32
    batches = await recorded(url, [lambda store: store.write(hall.epoch, [Hold(0, 1, [key])])])
    before = probe.calls()["evalsha"]
    assert hammer(url, batches, 1, 0.0).per_s > 0
    assert [words[0] for words in batches[0]] == ["EVALSHA"]
    assert probe.calls()["evalsha"] > before


def test_a_rate_says_what_a_whole_core_would_do() -> None:
    assert Rate(1000.0, 0.5).full_per_s == 2000.0
    assert Rate(0.0, 0.0).full_per_s == 0.0


def test_a_server_of_an_own_is_stopped() -> None:
    (port,) = free_ports(1)
    with running("valkey", port) as url:
        probe = Probe(url)
        assert probe.name().startswith("Valkey ")
        probe.close()
    with running("valkey", port):  # the port is free again
        pass


def test_a_server_on_a_taken_port_is_not_measured() -> None:
    (port,) = free_ports(1)
    with (
        running("valkey", port),
        pytest.raises(ServerError, match="does not start"),
        running("valkey", port),
    ):
        pass


def test_a_server_that_others_use_is_not_emptied(url: str, probe: Probe) -> None:
    probe.require_empty()
    with Redis.from_url(url) as client:
        client.set("something", "of others")
    with pytest.raises(ServerError, match="holds something"):
        probe.require_empty()


def test_a_missing_server_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(ServerError, match="no redis-server"):
        binary("redis")


def test_a_small_run_prints_every_row() -> None:
    (port,) = free_ports(1)
    flags = f"--quick --server valkey --port {port}".split()
    run = subprocess.run(
        [sys.executable, "-m", "bench.shared", *flags],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    for table in TABLES.values():
        assert table.title in run.stdout
        assert "| " + " | ".join(table.head) + " |" in run.stdout
    rows = [line.strip("| ").split(" | ") for line in run.stdout.splitlines() if line[:1] == "|"]
    found = {row[2]: row[-1] for row in rows if row[:2] == ["80", "64"]}
    assert {name: found[name] for name in ("none", "1", "4")} == dict.fromkeys(
        ("none", "1", "4"), "100%"
    )
    assert {row[1] for row in rows if row[0] == f"{NEW}"} >= {"new", "once more"}
    held = [row[1:3] for row in rows if row[0] in ("8,192", "512") and len(row) == 5]
    assert held == [["1", "1"], ["1", "2"], ["4", "1"], ["4", "2"], ["64", "1"]]
    assert [row[2] for row in rows if row[:2] == ["64", "3"]] == ["0", "1", "16"]


def test_the_manual_is_right() -> None:
    check_commands("shared", parser())
    check_options("shared", parser())

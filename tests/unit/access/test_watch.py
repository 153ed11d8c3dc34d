"""Following the file of tenants."""

import asyncio
import logging
import os
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path

import pytest

from router.access.tenants_file import read
from router.access.terms import Terms
from router.access.watch import Watch
from router.config_file import state_of

GOOD = "tenants:\n  a: {max_inflight: %d}\n"


class Followed:
    """A watch, and what it told."""

    def __init__(self, file: Path, reader: Callable[[], Mapping[str, Terms]] | None = None) -> None:
        self.told: list[int | None] = []
        self.news = asyncio.Event()
        self.watch = Watch(file, reader or partial(read, file), self.changed, look_s=0.001)

    def changed(self, terms: Mapping[str, Terms]) -> None:
        self.told.append(terms["a"].max_inflight)
        self.news.set()


def put(file: Path, text: str) -> None:
    file.write_text(text)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "tenants.yaml"
    file.write_text(GOOD % 1)
    return file


async def test_nothing_new_is_not_told(file: Path) -> None:
    followed = Followed(file)
    for _ in range(3):
        await followed.watch.look()
    assert followed.told == []


async def test_what_has_changed_is(file: Path) -> None:
    followed = Followed(file)
    for number in (10, 100):
        put(file, GOOD % number)
        await followed.watch.look()
        await followed.watch.look()
    assert followed.told == [10, 100]


async def test_of_one_size_and_age_by_its_time(file: Path) -> None:
    followed = Followed(file)
    put(file, GOOD % 2)
    os.utime(file, ns=(0, 1))
    await followed.watch.look()
    assert followed.told == [2]


async def test_a_file_that_is_swapped_as_kubernetes_does(tmp_path: Path) -> None:
    """A link to a folder, which is renamed over the one before."""
    for number in (1, 2):
        (tmp_path / f"v{number}").mkdir()
        (tmp_path / f"v{number}/tenants.yaml").write_text(GOOD % number)
        os.utime(tmp_path / f"v{number}/tenants.yaml", ns=(0, 0))
    (tmp_path / "data").symlink_to("v1")
    followed = Followed(tmp_path / "data/tenants.yaml")
    (tmp_path / "new").symlink_to("v2")
    (tmp_path / "new").replace(tmp_path / "data")
    await followed.watch.look()
    assert followed.told == [2]


async def test_a_bad_one_is_told_to_the_log_once_and_what_was_stays(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    followed = Followed(file)
    put(file, "tenants:\n  a: {max_inflight: none}\n")
    for _ in range(3):
        await followed.watch.look()
    assert followed.told == []
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 2
    assert f"{file}:2: tenants.a.max_inflight: Input should be a valid integer" in caplog.text
    assert "the tenants stay as they were" in caplog.text
    put(file, GOOD % 3)
    await followed.watch.look()
    assert followed.told == [3]


async def test_one_that_is_gone_changes_nothing(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    followed = Followed(file)
    os.unlink(file)
    await followed.watch.look()
    assert "No such file" in caplog.text
    put(file, GOOD % 4)
    await followed.watch.look()
    assert followed.told == [4]


async def test_a_defect_of_ours_changes_nothing(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> Mapping[str, Terms]:
        raise ZeroDivisionError

    followed = Followed(file, fails)
    put(file, GOOD % 10)
    await followed.watch.look()
    assert "ZeroDivisionError" in caplog.text


async def test_it_looks_again_and_again(file: Path) -> None:
    followed = Followed(file)
    task = asyncio.get_running_loop().create_task(followed.watch.run())
    try:
        for number in (10, 100):
            put(file, GOOD % number)
            async with asyncio.timeout(10):
                await followed.news.wait()
            followed.news.clear()
            assert followed.told[-1] == number
    finally:
        task.cancel()


def test_the_state_of_what_is_not_there(tmp_path: Path) -> None:
    assert state_of(tmp_path / "none") is None

"""Following a file."""

import asyncio
import logging
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from router.config_file import ConfigurationError, state_of
from router.file_watch import Watch


def words(file: Path) -> list[str]:
    """What the file says; `bad` is not understood."""
    try:
        found = file.read_text().split()
    except OSError as error:
        raise ConfigurationError([f"{file}: {error.strerror}"]) from None
    if "bad" in found:
        raise ConfigurationError([f"{file}:1: bad", f"{file}:2: {' '.join(found)}"])
    return found


class Followed:
    """A watch, and what it told."""

    def __init__(self, file: Path, read: Callable[[], Sequence[str]] | None = None) -> None:
        self.told: list[str] = []
        self.news = asyncio.Event()
        read = read or (lambda: words(file))
        self.watch = Watch(file, read, self.changed, what="words", look_s=0.001)

    def changed(self, found: Sequence[str]) -> None:
        self.told.append(" ".join(found))
        self.news.set()


def put(file: Path, text: str) -> None:
    file.write_text(text)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    file = tmp_path / "words.txt"
    file.write_text("one")
    return file


async def test_nothing_new_is_not_told(file: Path) -> None:
    followed = Followed(file)
    for _ in range(3):
        await followed.watch.look()
    assert followed.told == []


async def test_what_has_changed_is(file: Path) -> None:
    followed = Followed(file)
    for text in ("three", "fourteen"):
        put(file, text)
        await followed.watch.look()
        await followed.watch.look()
    assert followed.told == ["three", "fourteen"]


def test_what_is_there_at_the_beginning_is_told_at_once(file: Path) -> None:
    followed = Followed(file)
    followed.watch.begin()
    assert followed.told == ["one"]
    assert followed.watch.problem is None


async def test_of_one_size_and_age_by_its_time(file: Path) -> None:
    followed = Followed(file)
    put(file, "two")
    os.utime(file, ns=(0, 1))
    await followed.watch.look()
    assert followed.told == ["two"]


async def test_a_file_that_is_swapped_as_kubernetes_does(tmp_path: Path) -> None:
    """A link to a folder, which is renamed over the one before."""
    for number in (1, 2):
        (tmp_path / f"v{number}").mkdir()
        (tmp_path / f"v{number}/words.txt").write_text(f"v{number}")
        os.utime(tmp_path / f"v{number}/words.txt", ns=(0, 0))
    (tmp_path / "data").symlink_to("v1")
    followed = Followed(tmp_path / "data/words.txt")
    (tmp_path / "new").symlink_to("v2")
    (tmp_path / "new").replace(tmp_path / "data")
    await followed.watch.look()
    assert followed.told == ["v2"]


async def test_a_bad_one_is_told_to_the_log_once_and_what_was_stays(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    followed = Followed(file)
    put(file, "bad")
    for _ in range(3):
        await followed.watch.look()
    assert followed.told == []
    assert [record.levelno for record in caplog.records] == [logging.WARNING] * 3
    assert [record.getMessage() for record in caplog.records] == [
        f"{file}:1: bad",
        f"{file}:2: bad",
        f"{file} is wrong: the words stay as they were",
    ]
    assert followed.watch.problem == f"{file}:1: bad\n{file}:2: bad"
    put(file, "three")
    await followed.watch.look()
    assert followed.told == ["three"]
    assert followed.watch.problem is None


async def test_another_mistake_is_told_again(file: Path, caplog: pytest.LogCaptureFixture) -> None:
    followed = Followed(file)
    for text in ("bad one", "bad two"):
        put(file, text)
        await followed.watch.look()
    assert len(caplog.records) == 6
    assert followed.watch.problem is not None
    assert followed.watch.problem.endswith("bad two")


async def test_one_that_is_gone_changes_nothing(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    followed = Followed(file)
    os.unlink(file)
    await followed.watch.look()
    assert "No such file" in caplog.text
    put(file, "four")
    await followed.watch.look()
    assert followed.told == ["four"]


async def test_one_that_is_not_there_yet(tmp_path: Path) -> None:
    followed = Followed(tmp_path / "words.txt")
    followed.watch.begin()
    assert followed.watch.problem == f"{tmp_path}/words.txt: No such file or directory"
    (tmp_path / "words.txt").write_text("here")
    await followed.watch.look()
    assert followed.told == ["here"]
    assert followed.watch.problem is None


async def test_what_could_not_be_read_is_tried_again_though_it_seems_the_same(file: Path) -> None:
    """As where a permission was missing."""
    forbidden = True

    def read() -> list[str]:
        if forbidden:
            raise ConfigurationError(["permission denied"])
        return ["here"]

    followed = Followed(file, read)
    followed.watch.begin()
    await followed.watch.look()
    assert followed.watch.problem == "permission denied"
    forbidden = False
    await followed.watch.look()
    assert followed.told == ["here"]
    assert followed.watch.problem is None


async def test_a_defect_of_ours_changes_nothing(
    file: Path, caplog: pytest.LogCaptureFixture
) -> None:
    def fails() -> list[str]:
        raise ZeroDivisionError

    followed = Followed(file, fails)
    put(file, "three")
    for _ in range(2):
        await followed.watch.look()
    assert caplog.text.count("Traceback") == 1
    assert followed.watch.problem == f"{file} cannot be read: ZeroDivisionError()"


async def test_it_looks_again_and_again(file: Path) -> None:
    followed = Followed(file)
    task = asyncio.get_running_loop().create_task(followed.watch.run())
    try:
        for text in ("three", "fourteen"):
            put(file, text)
            async with asyncio.timeout(10):
                while text not in followed.told:
                    followed.news.clear()
                    await followed.news.wait()
    finally:
        task.cancel()


def test_the_state_of_what_is_not_there(tmp_path: Path) -> None:
    assert state_of(tmp_path / "none") is None

"""Workers that a file lists; tests/conformance/test_source_file.py has the rest."""

import asyncio
from pathlib import Path

import pytest

from router.discovery.file import WorkersFile
from router.fleet.target import Target
from tests.conformance.source_suite import Ear, end, running, until


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "workers.yaml"


async def test_what_is_there_is_told_in_the_first_turn(file: Path) -> None:
    put(file, "- http://a\n")
    ear = Ear()
    task = asyncio.get_running_loop().create_task(WorkersFile(file).run(ear))
    await asyncio.sleep(0)
    assert ear.told == [{Target(url="http://a")}]
    await end(task)


async def test_a_file_that_is_not_there_yet_is_a_problem(file: Path) -> None:
    source = WorkersFile(file, look_s=0.002)
    assert source.name == f"file {file}"
    async with running(source) as ear:
        await until(lambda: source.problem is not None)
        assert source.problem == f"{file}: No such file or directory"
        put(file, "- http://a\n")
        await until(lambda: bool(ear.told))
        assert source.problem is None


async def test_a_file_that_is_cut_short_to_nothing_is_not_believed(file: Path) -> None:
    put(file, "- http://a\n")
    source = WorkersFile(file, look_s=0.002)
    async with running(source) as ear:
        await until(lambda: bool(ear.told))
        put(file, "")
        await until(lambda: source.problem is not None)
        put(file, "[]\n")
        await until(lambda: len(ear.told) == 2)
    assert ear.told == [{Target(url="http://a")}, frozenset()]


async def test_all_that_is_wrong_is_its_problem(file: Path) -> None:
    put(file, "- 1\n- url: http://a\n  role: none\n")
    source = WorkersFile(file, look_s=0.002)
    async with running(source):
        await until(lambda: source.problem is not None)
        assert source.problem is not None
        assert [line.split(":")[1] for line in source.problem.splitlines()] == ["1", "3"]


def put(file: Path, text: str) -> None:
    new = file.with_suffix(".new")
    new.write_text(text)
    new.rename(file)

"""Workers that a file lists."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from router.discovery.file import WorkersFile
from router.fleet.target import Role, Target
from tests.conformance.source_suite import ChangingSourceSuite, Scene

LOOK_S = 0.002


class FileScene:
    """A file that is written anew, or gone."""

    def __init__(self, file: Path) -> None:
        self.source = WorkersFile(file, look_s=LOOK_S)
        self._file = file
        self._numbers: Sequence[int] = ()
        self._broken = False
        self._write((1, 2))

    def target(self, number: int) -> Target:
        role = Role.PREFILL if number % 2 else Role.BOTH
        return Target(url=f"http://w{number}:8000", name=f"worker {number}", role=role)

    async def change(self, numbers: Sequence[int]) -> None:
        self._write(numbers)

    async def break_(self) -> None:
        self._broken = True
        self._put(self.broken())

    async def mend(self) -> None:
        self._broken = False
        self._write(self._numbers)

    async def looked(self) -> None:
        await asyncio.sleep(LOOK_S * 20)

    def broken(self) -> str | None:
        return "- http://a:1\n- ftp://b\n"

    def _write(self, numbers: Sequence[int]) -> None:
        self._numbers = numbers
        rows = [
            f"- {{url: '{each.url}', name: '{each.name}', role: {each.role}}}\n"
            for each in map(self.target, numbers)
        ]
        if not self._broken:
            self._put("".join(rows) or "[]")

    def _put(self, text: str | None) -> None:
        if text is None:
            self._file.unlink(missing_ok=True)
            return
        new = self._file.with_suffix(".new")
        new.write_text(text)
        new.rename(self._file)


class GoneFileScene(FileScene):
    """It fails by being gone."""

    def broken(self) -> None:
        return None


class MountedScene(FileScene):
    """A folder as Kubernetes mounts a ConfigMap: links to a folder that is another one at each change."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._version = 0
        (folder / "workers.yaml").symlink_to("..data/workers.yaml")
        super().__init__(folder / "workers.yaml")

    def _put(self, text: str | None) -> None:
        assert text is not None
        self._version += 1
        version = self._folder / f"..{self._version}"
        version.mkdir()
        (version / "workers.yaml").write_text(text)
        (self._folder / "..data_tmp").symlink_to(version.name)
        (self._folder / "..data_tmp").rename(self._folder / "..data")


@pytest.fixture(params=[FileScene, GoneFileScene, MountedScene])
def scene(tmp_path: Path, request: pytest.FixtureRequest) -> Scene:
    if request.param is MountedScene:
        return MountedScene(tmp_path)
    made: FileScene = request.param(tmp_path / "workers.yaml")
    return made


class TestWorkersFile(ChangingSourceSuite):
    """All of it."""

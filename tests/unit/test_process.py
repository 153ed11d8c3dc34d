"""The process as a whole."""

import asyncio
import gc
import resource
from importlib.metadata import PackageNotFoundError

import pytest
import uvloop

from router import process


def test_main_runs_on_the_fastest_loop() -> None:
    loops: list[asyncio.AbstractEventLoop] = []

    async def main() -> None:
        loops.append(asyncio.get_running_loop())

    process.run_loop(main())
    assert isinstance(loops[0], uvloop.Loop)
    assert loops[0].is_closed()


def test_what_goes_wrong_in_main_comes_out() -> None:
    async def main() -> None:
        raise LookupError("lost")

    with pytest.raises(LookupError, match="lost"):
        process.run_loop(main())


def test_the_version_is_the_distributions(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "version", lambda name: f"{name} 9.9")
    assert process.installed_version() == "prefix-router 9.9"


def test_a_checkout_that_is_not_installed_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    def version(name: str) -> str:
        raise PackageNotFoundError(name)

    monkeypatch.setattr(process, "version", version)
    assert process.installed_version() == "0+source"


@pytest.mark.parametrize(
    ("soft", "hard", "allowed"),
    [
        (100, 5000, 5000),
        (5000, 5000, 5000),
        (100, resource.RLIM_INFINITY, 1 << 20),
        (resource.RLIM_INFINITY, resource.RLIM_INFINITY, None),
    ],
)
def test_as_many_files_as_may_be(
    monkeypatch: pytest.MonkeyPatch, soft: int, hard: int, allowed: int | None
) -> None:
    limits = [soft, hard]
    monkeypatch.setattr(resource, "getrlimit", lambda kind: tuple(limits))
    monkeypatch.setattr(resource, "setrlimit", lambda kind, new: limits.__setitem__(0, new[0]))
    assert process.raise_file_limit() == allowed
    assert limits == [allowed if allowed is not None else soft, hard]


def test_a_limit_that_cannot_be_raised(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuses(kind: int, new: tuple[int, int]) -> None:
        raise ValueError("not allowed to raise maximum limit")

    monkeypatch.setattr(resource, "getrlimit", lambda kind: (256, 1000))
    monkeypatch.setattr(resource, "setrlimit", refuses)
    assert process.raise_file_limit() == 256


def test_the_collector_looks_for_garbage_less_often() -> None:
    before = gc.get_threshold()
    try:
        process.spare_the_collector()
        assert gc.get_freeze_count() > 0
        assert gc.get_threshold()[0] > before[0]
        assert gc.isenabled()
    finally:
        gc.unfreeze()
        gc.set_threshold(*before)

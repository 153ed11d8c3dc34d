"""Commands of the routers under test."""

from pathlib import Path

import pytest

from bench.dataplane.__main__ import names_in, rotated
from bench.dataplane.routers import ROUTERS, Setting


@pytest.fixture
def setting(tmp_path: Path) -> Setting:
    return Setting(
        18300, (18311, 18312), tmp_path, "python -m router", "--log-format json", tmp_path
    )


def test_ours_is_told_of_every_worker(setting: Setting) -> None:
    command = ROUTERS["ours/round_robin"](setting)
    assert command is not None
    assert " ".join(command) == (
        "python -m router serve --host 127.0.0.1 --port 18300 --worker http://127.0.0.1:18311"
        " --worker http://127.0.0.1:18312 --policy round_robin --log-format json"
    )


def test_peers_that_are_not_installed_have_no_command(setting: Setting) -> None:
    assert ROUTERS["smg/cache_aware"](setting) is None


def test_peers_take_the_verb_and_the_policy(setting: Setting) -> None:
    binary = setting.peers / "smg/bin/smg"
    binary.parent.mkdir(parents=True)
    binary.touch()
    command = ROUTERS["smg/cache_aware"](setting)
    assert command is not None
    assert command[:2] == [str(binary), "launch"]
    assert command[command.index("--policy") + 1] == "cache_aware"


def test_names_and_rounds() -> None:
    assert names_in("a,,b", ["a", "b", "c"]) == ["a", "b"]
    with pytest.raises(SystemExit, match="unknown: d"):
        names_in("a,d", ["a"])
    assert rotated(["a", "b", "c"], 4) == ["b", "c", "a"]

"""Options reach the program as they are given, and cost nothing before."""

import subprocess
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from router.simulate.command import Options, simulate

DEFAULTS = Options(
    trace="chat",
    workers=None,
    hardware="h100-8b",
    policies="prefix,lmetric,cache_aware,round_robin",
    loads=None,
    capacity=None,
    speeds=None,
    seed=1,
    slow=(),
    outages=(),
    metrics_age="0.05",
    knowledge="both",
    routers=1,
    sharing="all",
    sharing_ms="5",
    block_tokens=None,
    report=None,
    json_file=None,
    jobs=None,
    show_list=False,
)
GIVEN = {
    "--workers=3": ("workers", 3),
    "--hardware=l4-8b": ("hardware", "l4-8b"),
    "--policy=a,b": ("policies", "a,b"),
    "--load=1,2": ("loads", "1,2"),
    "--capacity=2": ("capacity", "2"),
    "--speed=3": ("speeds", "3"),
    "--seed=7": ("seed", 7),
    "--slow=1=0.5": ("slow", ("1=0.5",)),
    "--outage=1=2:3": ("outages", ("1=2:3",)),
    "--metrics-age=1": ("metrics_age", "1"),
    "--knowledge=none": ("knowledge", "none"),
    "--routers=3": ("routers", 3),
    "--sharing=nothing": ("sharing", "nothing"),
    "--sharing-ms=50": ("sharing_ms", "50"),
    "--block-tokens=16": ("block_tokens", 16),
    "--report=a.html": ("report", Path("a.html")),
    "--json=a.json": ("json_file", Path("a.json")),
    "--jobs=4": ("jobs", 4),
    "--list": ("show_list", True),
}


@pytest.fixture
def given(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Options, str]]:
    """What the program would be called with."""
    calls: list[tuple[Options, str]] = []
    monkeypatch.setattr("router.simulate.main.main", lambda *call: calls.append(call))
    return calls


def test_defaults(given: list[tuple[Options, str]]) -> None:
    assert CliRunner().invoke(simulate, ["chat"], obj="1.2").exit_code == 0
    assert given == [(DEFAULTS, "1.2")]


@pytest.mark.parametrize(("flag", "option"), GIVEN.items())
def test_options(given: list[tuple[Options, str]], flag: str, option: tuple[str, object]) -> None:
    assert CliRunner().invoke(simulate, ["chat", flag]).exit_code == 0
    name, value = option
    assert getattr(given[0][0], name) == value != getattr(DEFAULTS, name)


def test_every_option_is_tried() -> None:
    assert {flag.partition("=")[0] for flag in GIVEN} == {
        parameter.opts[0] for parameter in simulate.params if parameter.opts[0].startswith("--")
    }


def test_help_does_not_import_the_simulator() -> None:
    code = "import sys, router.simulate.command; print([m for m in sys.modules if 'simulate' in m])"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "['router.simulate', 'router.simulate.command']"

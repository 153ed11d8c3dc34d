"""docs/sizing.md shows what `prefix-router size` prints; what differs is printed ready to be pasted."""

import re
import shlex
from pathlib import Path

import pytest
from click.testing import CliRunner

from router.sizing.command import size
from router.sizing.gpus import GPUS, INSTANCES

ROOT = Path(__file__).parents[2]
TEXT = (ROOT / "docs/sizing.md").read_text(encoding="utf-8")
CONFIGS = ROOT / "tests/unit/sizing/configs"
SHOWN = re.findall(r"^```\n\$ prefix-router size (.*?)\n(.*?)^```", TEXT, re.MULTILINE | re.DOTALL)
LEFT_OUT = "…"
"""A line of it stands for any number of lines."""


def printed(command: str) -> str:
    """What it prints for the configs of the tests, as on a machine that has them here."""
    arguments = shlex.split(command)
    if "--model-config" in arguments:
        at = arguments.index("--model-config") + 1
        arguments[at] = str(CONFIGS / arguments[at])
    return CliRunner().invoke(size, arguments).output


def pattern(shown: str) -> str:
    lines = shown.splitlines()
    return "".join(r"(?:.*\n)*?" if line == LEFT_OUT else re.escape(line) + r"\n" for line in lines)


@pytest.mark.parametrize(("command", "shown"), SHOWN, ids=[command for command, _ in SHOWN])
def test_every_command_prints_what_is_shown(command: str, shown: str) -> None:
    output = printed(command)
    assert re.fullmatch(pattern(shown), output), f"\n\nit prints now:\n\n{output}"


def test_each_size_of_model_has_its_example() -> None:
    commands = [command for command, _ in SHOWN]
    for model in (
        "llama-3.1-8b",
        "llama-3.3-70b",
        "gpt-oss-20b",
        "gpt-oss-120b",
        "deepseek-v3",
        "bge-m3",
    ):
        assert any(f"{model}.json" in command for command in commands), model


def test_hardware_that_is_named_is_known() -> None:
    named = re.findall(r"--gpu (\S+)", TEXT)
    assert named
    assert set(named) <= {*GPUS, *INSTANCES}

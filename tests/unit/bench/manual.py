"""What bench/README.md says of a benchmark, held against its command line."""

import argparse
import re
import shlex

from bench.dataplane.harness import ROOT

_MANUAL = (ROOT / "bench/README.md").read_text(encoding="utf-8")


def section(name: str) -> str:
    """The section on `bench/name`."""
    found = re.search(rf"^## `bench/{name}`.*?(?=^## |\Z)", _MANUAL, re.MULTILINE | re.DOTALL)
    assert found
    return found[0]


def check_commands(name: str, parser: argparse.ArgumentParser) -> None:
    """Its commands are understood."""
    lines = re.findall(rf"^python -m bench\.{name}(.*?)(?:#.*)?$", section(name), re.MULTILINE)
    assert lines
    for line in lines:
        parser.parse_args(shlex.split(line))


def check_options(name: str, parser: argparse.ArgumentParser) -> None:
    """It names every option and no other."""
    cells = re.findall(r"^\| (`--.*?) \|", section(name), re.MULTILINE)
    named = {option for cell in cells for option in re.findall(r"--[a-z-]+", cell)}
    options = {option for action in parser._actions for option in action.option_strings}
    assert named == options - {"-h", "--help"}

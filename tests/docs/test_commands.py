"""What the documentation has people type and look up: commands, links, names of settings, metrics and files."""

import logging
import re
import shlex
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import click
import pytest

from router.cli import cli
from router.settings import Settings
from router.telemetry.logs import JsonFormatter
from router.telemetry.metrics import Metrics

ROOT = Path(__file__).parents[2]
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for pattern in (
        "*.md",
        "docs/*.md",
        "deploy/*.md",
        "deploy/*/*.md",
        "deploy/helm/*/*.md",
        "bench/*.md",
    )
    for path in ROOT.glob(pattern)
    if path.name != "CHANGELOG.md"
)
_FENCE = re.compile(r"^```.*?\n(.*?)^```", re.MULTILINE | re.DOTALL)
_TICKS = re.compile(r"(?<!`)`([^`\n]+)`(?!`)")
_LINK = re.compile(r"\]\(([^)#\s]*)(?:#([^)\s]*))?\)")
_NO_METRICS = frozenset(
    {"router_error", "router_out_of_memory", "router_out_of_sockets", "router_kill", "router_drain"}
)
"""An outcome, codes of errors, and scenarios."""
_OF_OTHERS = ("docs/migrating.md", "docs/phases.md")
"""Have the names of other products."""
_FOREIGN = frozenset({"http_code", "time_total"})
"""curl's."""
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


@cache
def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def prose(page: str) -> str:
    """The page without its blocks of code."""
    return _FENCE.sub("", text_of(page))


def commands(page: str) -> Iterator[str]:
    """Each call of ours in blocks and in backticks, without what a shell makes of it."""
    blocks = "\n".join(_FENCE.findall(text_of(page))).replace("\\\n", " ")
    for line in [*blocks.splitlines(), *_TICKS.findall(prose(page))]:
        if match := re.match(r"\s*(?:\$ )?(?:\S+/)?prefix-router( [a-z-][^#|><;&]*)", line):
            command = match[1].strip().removesuffix(" done")
            if not re.search(r"\[OPTIONS\]|…|\.\.\.", command):
                yield command


def parse(command: str) -> str:
    """What click has against it; empty: nothing. A file that is not there is no fault here."""
    found: click.Command = cli
    words, parent = shlex.split(command), None
    while True:
        try:
            context = found.make_context(found.name or "prefix-router", list(words), parent=parent)
        except click.exceptions.Exit:
            return ""  # --help, --list
        except click.UsageError as error:
            problem = error.format_message()
            return "" if re.search("does not exist|No such file", problem) else problem
        words = [*context._protected_args, *context.args]
        if not isinstance(found, click.Group) or not words:
            return ""
        name, words = words[0], words[1:]
        inner = found.get_command(context, name)
        if inner is None:
            return f"no command {name!r}"
        found, parent = inner, context


@pytest.mark.parametrize("page", PAGES)
def test_commands_are_parsed(page: str) -> None:
    wrong = {command: problem for command in commands(page) if (problem := parse(command))}
    assert wrong == {}


def anchors(page: str) -> set[str]:
    """What GitHub makes of the page's headings."""
    plain = (
        re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading)
        for heading in _HEADING.findall(prose(page))
    )
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in plain}


@pytest.mark.parametrize("page", PAGES)
def test_links_lead_somewhere(page: str) -> None:
    broken = []
    for path, anchor in _LINK.findall(prose(page)):
        if path.startswith(("http:", "https:", "mailto:")):
            continue
        target = (ROOT / page).parent.joinpath(path) if path else ROOT / page
        if not target.exists():
            broken.append(path)
        elif anchor and target.suffix == ".md":
            there = target.resolve().relative_to(ROOT).as_posix()
            if anchor not in anchors(there):
                broken.append(f"{path}#{anchor}")
    assert broken == []


@cache
def metric_names() -> frozenset[str]:
    """As they stand in queries: with what counters and histograms add."""
    parts = {"counter": ("total",), "gauge": ()}
    return frozenset(
        name
        for family in Metrics().collect()
        for name in (
            family.name,
            *(
                f"{family.name}_{part}"
                for part in parts.get(family.type, ("bucket", "count", "sum"))
            ),
        )
    )


@pytest.mark.parametrize("page", sorted(set(PAGES) - set(_OF_OTHERS)))
def test_metrics_exist(page: str) -> None:
    named = set(re.findall(r"(?<![\w:./-])router_[a-z0-9_]+(?![\w/.-])", text_of(page)))
    assert named - metric_names() - _NO_METRICS == set()


@pytest.mark.parametrize("page", PAGES)
def test_variables_are_settings(page: str) -> None:
    named = set(re.findall(r"PREFIX_ROUTER_([A-Z0-9_]*[A-Z0-9])", text_of(page)))
    named -= {"URL"}  # of commands that ask a router
    assert {name for name in named if name.lower() not in Settings.model_fields} == set()


@cache
def words_of_the_sources() -> frozenset[str]:
    """Whatever is a name in what is shipped."""
    found: set[str] = set()
    for folder in ("router", "deploy", "bench", "tests"):
        for path in (ROOT / folder).rglob("*"):
            if path == Path(__file__):
                continue
            if path.suffix in (".py", ".yaml", ".yml", ".tpl", ".service", ".js", ".example"):
                found |= set(re.findall(r"\w+", path.read_text(encoding="utf-8")))
    return frozenset(found)


@pytest.mark.parametrize("page", sorted(set(PAGES) - set(_OF_OTHERS)))
def test_names_are_names_of_something(page: str) -> None:
    """Settings, fields, error codes and reasons: `snake_case` in backticks is found in the sources."""
    named = {
        name
        for ticked in _TICKS.findall(prose(page))
        for name in re.findall(r"(?<![\w./-])[a-z][a-z0-9]*(?:_[a-z0-9]+)+(?![\w/(-])", ticked)
    }
    assert named - words_of_the_sources() - _FOREIGN == set()


def test_both_kinds_of_lines_are_spelt_alike() -> None:
    """docs/eks.md greps for one of them in a stream that has both."""
    record = logging.LogRecord("router", logging.INFO, "", 0, "up", (), None)
    written = JsonFormatter().format(record)
    patterns = re.findall(r"grep '([^']*event[^']*)'", text_of("docs/eks.md"))
    assert all(pattern in written for pattern in patterns)


@pytest.mark.parametrize("name", ["workers", "explain"])
def test_who_asks_admin_routes_can_show_the_key(name: str) -> None:
    options = {option for each in cli.commands[name].params for option in each.opts}
    assert "--admin-key" in options

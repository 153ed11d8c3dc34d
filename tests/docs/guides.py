"""Reads docs/*.md: tables, code, and the names of ours in them; and knows which of those there are."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import click
import yaml

from router.access.terms import Terms
from router.cli import cli
from router.prompt.endpoints import PATHS
from router.routing.registry import POLICIES
from router.settings import Settings
from router.telemetry.labels import REJECTED
from tests.docs.tables import ADMIN, metric_rows

ROOT = Path(__file__).parents[2]
CHART = ROOT / "deploy/helm/prefix-router"
_FENCE = re.compile(r"^( *)```(\w*)\n(.*?)^\1```", re.MULTILINE | re.DOTALL)
_SERIES = re.compile(r"_(bucket|sum|count)$")
_OTHERS = frozenset(
    ("router_cpu_usage_percent", "router_memory_usage_percent", "router_disk_usage_percent")
)
"""Metrics of production-stack's router whose names begin as ours do."""


@dataclass(frozen=True, slots=True)
class Block:
    """A block of code in a guide."""

    language: str
    text: str


@dataclass(frozen=True, slots=True)
class Table:
    """A table, cell by cell."""

    head: list[str]
    rows: list[list[str]]


class Guide:
    """One of the documents."""

    def __init__(self, name: str, text: str | None = None) -> None:
        self.name = name
        self.text = text or (ROOT / f"docs/{name}.md").read_text(encoding="utf-8")

    def section(self, heading: str) -> "Guide":
        """From this heading to the next of any level."""
        _, _, rest = self.text.partition(f"# {heading}\n")
        return Guide(self.name, re.split(r"^#+ [A-Z]", rest, maxsplit=1, flags=re.MULTILINE)[0])

    def blocks(self, language: str) -> list[Block]:
        """Its code in one language, without the indentation of lists."""
        return [
            Block(found[2], re.sub(f"^{found[1]}", "", found[3], flags=re.MULTILINE))
            for found in _FENCE.finditer(self.text)
            if found[2] == language
        ]

    def prose(self) -> str:
        """All but its blocks of code."""
        return _FENCE.sub("", self.text)

    def tables(self) -> Iterator[Table]:
        """Its tables, in order."""
        lines = iter([*self.prose().splitlines(), ""])
        for line in lines:
            if line.startswith("|"):
                head, rows = _cells(line), []
                next(lines)
                while (row := next(lines)).startswith("|"):
                    rows.append(_cells(row))
                yield Table(head, rows)

    def table(self, head: str) -> Table:
        """The one whose first column has this head."""
        return next(table for table in self.tables() if table.head[0] in (head, f"`{head}`"))

    def headings(self) -> set[str]:
        """What links can point at."""
        found = re.findall(r"^#+ (.+)$", self.prose(), re.MULTILINE)
        return {re.sub(r"[^\w\- ]", "", each.lower()).replace(" ", "-") for each in found}


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]


def code(text: str) -> list[str]:
    """What stands in backticks."""
    return re.findall(r"`([^`]+)`", text)


@cache
def metrics() -> frozenset[str]:
    """Our metrics, and the process's own."""
    return frozenset(
        {row.split("`")[1] for row in metric_rows()}
        | {"process_cpu_seconds_total", "process_resident_memory_bytes"}
    )


def unknown_metrics(text: str) -> set[str]:
    """Names in `text` that look like metrics of ours and are none."""
    named = set(re.findall(r"(?<![\w:/-])(?:router|process)_[a-z_]+\b(?!\()", text))
    known = metrics() | _OTHERS | set(REJECTED)
    return {name for name in named if _SERIES.sub("", name) not in known}


@cache
def _values() -> dict[str, Any]:
    found: dict[str, Any] = yaml.safe_load((CHART / "values.yaml").read_text(encoding="utf-8"))
    return found


def is_value(path: str) -> bool:
    """There is such a value in the chart."""
    first, *rest = path.split(".")
    if first == "workers[]":
        return rest in (["name"], ["model"]) or is_value(".".join(["workerDefaults", *rest]))
    if path.startswith("router.config.") and len(rest) == 2:
        return rest[1] in Settings.model_fields
    at: Any = _values()
    for name in (first, *rest):
        if not isinstance(at, dict) or name not in at:
            return False
        at = at[name]
    return True


@cache
def _options(command: str) -> frozenset[str]:
    found: click.Command = cli
    for name in command.split():
        assert isinstance(found, click.Group)
        found = found.commands[name]
    return frozenset(option for each in found.params for option in each.opts)


def _is_command(text: str) -> bool:
    """`prefix-router COMMAND …` with options that it has."""
    _, *words = text.split()
    command: list[str] = []
    found: click.Command = cli
    while words and isinstance(found, click.Group) and words[0] in found.commands:
        command.append(words.pop(0))
        found = found.commands[command[-1]]
    if isinstance(found, click.Group) and words and not words[0].startswith("--"):
        return False
    known = _options(" ".join(command)) | _options("") | {"--version", "--help"}
    return bool(command or words) and all(
        word.partition("=")[0] in known for word in words if word.startswith("--")
    )


def _is_setting(text: str) -> bool:
    name, _, value = text.partition(": ")
    if name == "policy" and value:
        return value in POLICIES
    return name in Settings.model_fields


def _is_annotation(text: str) -> bool:
    return '"' + text.partition("/")[2] + '": (' in _ANNOTATIONS


_TENANT = tuple(Terms.__dataclass_fields__)
"""What a tenant's entry may have."""
_ANNOTATIONS = (ROOT / "router/discovery/kubernetes/annotations.py").read_text(encoding="utf-8")
_README = (ROOT / "README.md").read_text(encoding="utf-8")

_KINDS: tuple[tuple[str, Callable[[str], bool]], ...] = (
    (r"prefix-router ", _is_command),
    (r"prefix-router\.io/", _is_annotation),
    (r"router_|process_", lambda text: not unknown_metrics(text)),
    (r"--", lambda text: text in _options("serve")),
    (r"x-", lambda text: f"`{text.split(':')[0]}`" in _README),
    (r"/", lambda text: text in PATHS or text in ADMIN),
    (r"", lambda text: _is_setting(text) or is_value(text) or text in (*POLICIES, *_TENANT)),
)


def exists(name: str) -> bool:
    """The product has what is called so: a setting, flag, command, value, metric, header field, path or policy."""
    return next(known for start, known in _KINDS if re.match(start, name))(name)


def commands(text: str) -> Iterator[str]:
    """Every `prefix-router …` of a shell block, without what is piped, redirected or remarked."""
    whole = re.sub(r"\\\n\s*", " ", text)
    for found in re.finditer(r"(?:^|[;&|(] *|do )(prefix-router [^#|;&>\n]*)", whole, re.MULTILINE):
        yield found[1].strip()


def is_command(command: str) -> bool:
    """It has such a command with such options."""
    return _is_command(re.sub(r"'[^']*'|\"[^\"]*\"", "X", command))

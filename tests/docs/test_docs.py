"""README's reference tables say what the code says; what is missing is printed ready to be pasted."""

import io
import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from fastapi.routing import APIRoute

from router.app import build
from router.prompt.endpoints import PATHS
from router.settings import Settings
from router.telemetry.logs import RequestLog
from tests.docs.tables import ADMIN, TABLES, help_texts

README = Path(__file__).parents[2] / "README.md"


def section(heading: str) -> str:
    """README from `## heading` to the next heading of that level; code blocks are not looked into."""
    text = README.read_text(encoding="utf-8")
    fences = [match.span() for match in re.finditer(r"^```.*?^```", text, re.MULTILINE | re.DOTALL)]
    starts = [
        match.start()
        for match in re.finditer(r"^## ", text, re.MULTILINE)
        if not any(start <= match.start() < end for start, end in fences)
    ]
    for start, end in zip(starts, [*starts[1:], len(text)], strict=True):
        if text[start:].startswith(f"## {heading}\n"):
            return text[start:end]
    pytest.fail(f"README.md has no heading `## {heading}`")


def plain(line: str) -> str:
    """A row without the padding that formatters add."""
    return re.sub(r"\s+", " ", line).strip()


def rows_in(heading: str) -> list[str]:
    """The rows of a section's tables whose first cell is a name in backticks."""
    return [plain(line) for line in section(heading).splitlines() if re.match(r"\|\s*`", line)]


@pytest.mark.parametrize(("heading", "rows"), TABLES.items(), ids=TABLES)
def test_every_row_is_in_the_readme(heading: str, rows: Callable[[], Iterator[str]]) -> None:
    present = rows_in(heading)
    if heading == "Endpoints":  # what an endpoint is for may be said in other words
        present = [row.split(" | ")[0] for row in present]
        missing = [row for row in rows() if row.split(" | ")[0] not in present]
    else:
        missing = [row for row in rows() if plain(row) not in present]
    assert not missing, f"\n\nadd to `## {heading}` of README.md:\n\n" + "\n".join(missing)


@pytest.mark.parametrize(("heading", "rows"), TABLES.items(), ids=TABLES)
def test_no_row_is_out_of_date(heading: str, rows: Callable[[], Iterator[str]]) -> None:
    known = {plain(row).split("`")[1] for row in rows()}
    stale = [row for row in rows_in(heading) if row.split("`")[1] not in known]
    assert not stale, f"\n\nremove from `## {heading}` of README.md:\n\n" + "\n".join(stale)


HELP = dict(help_texts())


@pytest.mark.parametrize("command", HELP)
def test_every_help_text_is_in_the_readme(command: str) -> None:
    text = HELP[command]
    wanted = f"$ {command} --help\n{text}\n"
    assert wanted in section("Command line"), (
        f"\n\nadd to `## Command line` of README.md:\n\n```\n{wanted}```"
    )


def test_every_route_of_the_router_s_own_is_described() -> None:
    """The table's words for the router's own routes cover all routes there are, and no other."""
    routes = {
        route.path.replace(":path", "").rstrip("/") or "/"
        for route in build(Settings(), RequestLog(io.BytesIO(), json=True)).asgi._rest._app.routes  # type: ignore[attr-defined]
        if isinstance(route, APIRoute)
    }
    assert routes <= ADMIN.keys()
    assert ADMIN.keys() - routes == {"/v1/responses/{id}"}
    assert not ADMIN.keys() & PATHS.keys()

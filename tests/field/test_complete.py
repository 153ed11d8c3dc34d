"""Every kind of trouble has a test whose docstring begins with its id, or a reason why it cannot arise."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.field.reports import REPORTS

_NAMED = re.compile(r"([a-z0-9-]+): \S.{20,}", re.DOTALL)


def _tests() -> Iterator[tuple[str, str]]:
    """Name and docstring of every test beside this file."""
    for file in sorted(Path(__file__).parent.glob("test_*.py")):
        for node in ast.parse(file.read_text(encoding="utf-8")).body:
            if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                continue
            if node.name.startswith("test_") and file != Path(__file__):
                yield f"{file.name}::{node.name}", ast.get_docstring(node) or ""


TESTS = dict(_tests())


@pytest.mark.parametrize("name", TESTS)
def test_names_a_report(name: str) -> None:
    match = _NAMED.match(TESTS[name])
    assert match, "its docstring must be `id: symptom`"
    assert match[1] in REPORTS


@pytest.mark.parametrize("report", REPORTS)
def test_is_tested_or_cannot_arise(report: str) -> None:
    named = [name for name, text in TESTS.items() if text.startswith(f"{report}: ")]
    assert bool(named) is (REPORTS[report] is None), named

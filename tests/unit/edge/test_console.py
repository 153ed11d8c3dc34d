"""The console's page and its files. Its events: tests/component/test_console.py; in a browser: tests/e2e."""

import ast
import re
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from starlette.datastructures import Headers
from starlette.requests import Request

from router.edge.console import Shell, is_shell
from router.errors import RouterError
from router.routing.intake import HOME, PINNED

ASSETS = files("router") / "assets"
CONSOLE = ASSETS / "console"
OWN = sorted(each.name for each in CONSOLE.iterdir() if not each.name.startswith("."))
TEXTS = {name: (CONSOLE / name).read_text(encoding="utf-8") for name in OWN}
BROWSER = {"accept": "text/html,application/xhtml+xml,*/*;q=0.8"}


def asks(**fields: str) -> Request:
    headers = [(name.replace("_", "-").encode(), value.encode()) for name, value in fields.items()]
    return Request({"type": "http", "method": "GET", "path": "/", "headers": headers})


def page() -> Any:
    return Shell().root(asks(**BROWSER), "1")


def test_a_browser_gets_the_page_and_others_what_this_is() -> None:
    assert page().media_type is None
    assert page().headers["content-type"] == "text/html; charset=utf-8"
    plain = Shell().root(asks(accept="*/*"), "1.2")
    assert plain.body == b'{"service":"prefix-router","version":"1.2"}'
    assert plain.headers["vary"] == page().headers["vary"] == "Accept"


def test_every_file_is_served_and_nothing_else() -> None:
    shell = Shell()
    for name in {*OWN, "uPlot.iife.min.js", "uPlot.min.css"} - {"index.html"}:
        assert shell.file(name, asks()).status_code == 200, name
        assert is_shell("GET", f"/console/{name}", Headers({})), name
    for name in ("index.html", "LICENSE", "../uplot/LICENSE", "stream", ""):
        with pytest.raises(RouterError) as error:
            shell.file(name, asks())
        assert error.value.status == 404


def test_what_files_refer_to_is_there() -> None:
    linked = re.findall(r'(?:src|href)="(?:console/)([^"]+)"', TEXTS["index.html"])
    imported = [name for text in TEXTS.values() for name in re.findall(r'from "\./([^"]+)"', text)]
    assert "main.js" in linked
    assert "cells.js" in imported
    for name in {*linked, *imported}:
        assert Shell().file(name, asks()).status_code == 200, name


def test_ids_that_scripts_look_for_are_in_the_page() -> None:
    wanted = {found for text in TEXTS.values() for found in re.findall(r'find\("([\w-]+)"\)', text)}
    there = re.findall(r'\bid="([\w-]+)"', TEXTS["index.html"])
    assert wanted
    assert wanted <= set(there)
    assert len(there) == len(set(there))


def reasons() -> set[str]:
    """Why policies choose, in a word or two: the second argument of each `Choice`."""
    found = set()
    for path in (Path(__file__).parents[3] / "router/routing").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Choice":
                constants = [
                    each for each in ast.walk(node.args[1]) if isinstance(each, ast.Constant)
                ]
                found.update(each.value for each in constants if isinstance(each.value, str))
    return found - {""}


def test_every_reason_has_words() -> None:
    known = set(re.findall(r"(?m)^  (\w+): ", TEXTS["words.js"]))
    assert "cached" in reasons()
    assert reasons() | {PINNED, HOME} <= known


@pytest.mark.parametrize("name", OWN)
def test_nothing_is_fetched_from_elsewhere(name: str) -> None:
    text = TEXTS[name].replace("http://www.w3.org/2000/svg", "")
    assert not re.search(r"""(?:https?:)?//[\w-]+\.|url\(|@import""", text)


def test_nothing_of_the_page_is_what_its_policy_forbids() -> None:
    html = TEXTS["index.html"]
    assert not re.search(r"<style|\sstyle=|\son\w+=|javascript:", html)
    assert all("src=" in tag for tag in re.findall(r"<script[^>]*>", html))


@pytest.mark.parametrize("name", [name for name in OWN if name.endswith(".js")])
def test_text_goes_into_the_page_as_text(name: str) -> None:
    forbidden = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(|new Function"
    assert not re.search(forbidden, TEXTS[name])


def test_fields_that_keep_a_page_to_itself() -> None:
    headers = page().headers
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert (headers["x-content-type-options"], headers["x-frame-options"]) == ("nosniff", "DENY")


def test_what_a_browser_has_is_not_sent_again() -> None:
    first = Shell().file("main.js", asks())
    again = Shell().file("main.js", asks(if_none_match=first.headers["etag"]))
    assert first.headers["content-type"] == "text/javascript; charset=utf-8"
    assert first.headers["cache-control"] == "no-cache"
    assert (again.status_code, again.body) == (304, b"")
    assert again.headers["etag"] == first.headers["etag"]


@pytest.mark.parametrize(
    ("method", "path", "headers", "public"),
    [
        ("GET", "/", BROWSER, True),
        ("HEAD", "/", BROWSER, True),
        ("POST", "/", BROWSER, False),
        ("GET", "/", {}, False),
        ("GET", "/workers", BROWSER, False),
        ("GET", "/console/main.js", {}, True),
        ("POST", "/console/main.js", {}, False),
        ("GET", "/console/stream", BROWSER, False),
        ("GET", "/console/workers/a", BROWSER, False),
        ("GET", "/console/index.html", BROWSER, False),
        ("GET", "/console/other.js", BROWSER, False),
        ("GET", "/console/../workers", BROWSER, False),
    ],
)
def test_what_anybody_may_have(
    method: str, path: str, headers: dict[str, str], public: bool
) -> None:
    assert is_shell(method, path, Headers(headers)) is public


def test_the_page_is_light() -> None:
    plot = sum(
        len((ASSETS / "uplot" / name).read_bytes())
        for name in ("uPlot.iife.min.js", "uPlot.min.css")
    )
    assert sum(len(text.encode()) for text in TEXTS.values()) + plot < 160_000

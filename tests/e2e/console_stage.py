"""A real browser before a real router: what tests of the console stand on."""

import asyncio
import contextlib
import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from router.settings import Settings
from tests.component.harness import RunningRouter, chat, running
from tests.fakes.wire import Request, Wire
from tests.fakes.worker import FakeWorker

QUICK = {"health_interval_s": 0.2, "models_interval_s": 0.2, "health_timeout_s": 2.0}
NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable")
ARGUMENTS = [
    *("--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-extensions"),
    *("--disable-component-update", "--disable-sync", "--no-first-run", "--disable-dev-shm-usage"),
]

LIVE = "body[data-state=live][data-filled]"
ROWS = "#fleet-table tbody tr"
SETTLED = """() => {
  const rates = [...document.querySelectorAll("#fleet-table td:last-child")];
  const known = rates.every((cell) => /\\d/.test(cell.textContent));  // after the first 10 s, of all at once
  return known && !document.querySelector(".is-down") && performance.now() - changedAt > 6000;
}"""
CONTRAST = """() => {
  const parse = (text) => text.match(/[\\d.]+/g).map(Number);
  const channel = (c) => ((c /= 255) <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4);
  const light = ([r, g, b]) => 0.2126 * channel(r) + 0.7152 * channel(g) + 0.0722 * channel(b);
  const ground = (e) => {
    for (; e; e = e.parentElement) {
      const colour = parse(getComputedStyle(e).backgroundColor);
      if (colour.length === 3 || colour[3] === 1) return colour;
    }
    return [255, 255, 255];
  };
  const low = new Set();
  for (const e of document.querySelectorAll("body *")) {
    const own = [...e.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || !e.checkVisibility({ visibilityProperty: true })) continue;
    const [a, b] = [light(parse(getComputedStyle(e).color)), light(ground(e))];
    const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
    if (ratio < 4.5) low.add(`${e.tagName}.${e.className} ${e.textContent.slice(0, 20)} ${ratio.toFixed(2)}`);
  }
  return [...low];
}"""


def chromium() -> str:
    """Where Chromium is; skips the test where it, or what drives it, is missing, unless TEST_BROWSER=require."""
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if os.environ.get("TEST_BROWSER") != "require":
        pytest.importorskip("playwright", reason="THE CONSOLE IS NOT TESTED HERE: no playwright")
        if found is None:
            pytest.skip("THE CONSOLE IS NOT TESTED HERE: no Chromium")
    assert found is not None, "TEST_BROWSER=require, but there is no Chromium"
    return found


@asynccontextmanager
async def browser() -> AsyncIterator[Any]:
    """A browser of its own."""
    path = chromium()
    from playwright.async_api import async_playwright

    async with async_playwright() as driver:
        opened = await driver.chromium.launch(executable_path=path, args=ARGUMENTS)
        try:
            yield opened
        finally:
            await opened.close()


@asynccontextmanager
async def page_at(
    opened: Any, url: str, *, allowed: str = "", **context: Any
) -> AsyncIterator[Any]:
    """A page in a context of its own. Nothing may go wrong in it but what has `allowed` in its words."""
    wrong: list[str] = []
    made = await opened.new_context(**({"viewport": {"width": 1280, "height": 900}} | context))
    page = await made.new_page()
    page.on("pageerror", lambda error: wrong.append(str(error)))
    page.on("console", lambda said: said.type == "error" and wrong.append(said.text))
    try:
        await page.goto(url)
        yield page
    finally:
        await made.close()
    assert [text for text in wrong if not allowed or allowed not in text] == []


async def text(page: Any, selector: str) -> str:
    found: str = await page.locator(selector).first.inner_text()
    return found


async def count(page: Any, selector: str, number: int) -> None:
    """Wait until there are so many."""
    script = "([s, n]) => document.querySelectorAll(s).length === n"
    await page.wait_for_function(script, arg=[selector, number])


async def shows(page: Any, selector: str, words: str) -> None:
    """Wait until the words are there."""
    script = "([s, w]) => document.querySelector(s)?.textContent.includes(w)"
    await page.wait_for_function(script, arg=[selector, words])


async def live_tab(page: Any, url: str) -> Any:
    """Another tab of the same browser, when it shows the router."""
    tab = await page.context.new_page()
    await tab.goto(url)
    await tab.wait_for_selector(LIVE)
    return tab


@asynccontextmanager
async def router_before(
    *workers: FakeWorker | str, **settings: Any
) -> AsyncIterator[RunningRouter]:
    """A router before these workers."""
    urls = [worker if isinstance(worker, str) else worker.url for worker in workers]
    values = {"workers": urls, "log_format": "json", **QUICK, **settings}
    async with running(Settings(**values)) as router:
        yield router


async def usage(request: Request, wire: Wire) -> None:
    """Answer and tell the usage."""
    details = {"cached_tokens": 24}
    numbers = {"prompt_tokens": 32, "completion_tokens": 2, "prompt_tokens_details": details}
    await wire.json({"id": "x", "choices": [], "usage": numbers})


async def many_workers(worker: FakeWorker, count: int) -> list[str]:
    """URLs of so many workers, which are all this one, by path."""
    for number in range(count):
        for path, script in [*worker.routes.items()]:
            if path.count("/") <= 2 and not path.startswith("/w-"):
                worker.routes[f"/w-{number:03}{path}"] = script
    return [f"{worker.url}/w-{number:03}" for number in range(count)]


async def ask_often(router: RunningRouter, count: int) -> None:
    """Requests that end well, and one that does not."""
    for number in range(count):
        await router.post(chat(f"prompt {number}"), headers=[("X-Request-Id", f"asked-{number}")])
    await router.post({**chat(), "model": "nobody-has-it"})


async def bad_gateway() -> asyncio.Server:
    """A proxy that does not reach what it is for."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        body = b"<html><h1>502 Bad Gateway</h1></html>"
        head = "HTTP/1.1 502 Bad Gateway\r\nContent-Type: text/html\r\nConnection: close"
        writer.write(f"{head}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        await writer.drain()
        writer.close()

    return await asyncio.start_server(answer, "127.0.0.1", 0)


class Line:
    """A TCP forwarder on one port that can be cut and mended, to routers that come and go."""

    def __init__(self) -> None:
        self.port = 0
        self._target = 0
        self._server: asyncio.Server | None = None
        self._writers: set[asyncio.StreamWriter] = set()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    async def mend(self, target: int) -> None:
        """Forward to this port from now on."""
        self._target = target
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def cut(self) -> None:
        """Nobody is there any more."""
        if self._server is not None:
            self._server.close()
            self._server = None
        for writer in [*self._writers]:
            writer.transport.abort()
        await asyncio.sleep(0.05)

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):
            onward = await asyncio.open_connection("127.0.0.1", self._target)
            await asyncio.gather(self._pipe(reader, onward[1]), self._pipe(onward[0], writer))

    async def _pipe(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.add(writer)
        with contextlib.suppress(OSError):
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        writer.close()
        self._writers.discard(writer)

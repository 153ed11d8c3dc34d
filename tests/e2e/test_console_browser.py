"""The console in a real browser: what people see, and how they get about."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.component.harness import chat
from tests.e2e.console_stage import (
    Line,
    ask_often,
    browser,
    many_workers,
    page_at,
    router_before,
    usage,
)
from tests.e2e.test_sim_clients import sim_workers
from tests.fakes.worker import FakeWorker

pytestmark = pytest.mark.timeout(120)

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


@pytest.fixture
async def stack() -> AsyncIterator[AsyncExitStack]:
    async with AsyncExitStack() as opened:
        yield opened


@pytest.fixture
async def chrome(stack: AsyncExitStack) -> Any:
    return await stack.enter_async_context(browser())


@pytest.fixture
async def worker(stack: AsyncExitStack) -> FakeWorker:
    return await stack.enter_async_context(FakeWorker(script=usage))


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


async def test_fleet_and_requests(chrome: Any) -> None:
    with sim_workers("sim", "sim") as urls:
        async with (
            router_before(*urls) as router,
            page_at(chrome, f"{router.url}/") as page,
        ):
            await page.wait_for_selector(LIVE)
            await count(page, ROWS, 2)
            assert await text(page, "#feed-empty") == (
                "No requests yet. Each appears here when it has ended."
            )
            body = chat("word " * 400, model="sim", stream=True, max_tokens=20)
            body["stream_options"] = {"include_usage": True}
            for _ in range(3):
                await router.post(body)
            await count(page, "#feed-table tbody tr", 3)
            row = await text(page, "#feed-table tbody tr")
            assert "its prefix is cached there" in row
            assert "200" in row
            await shows(page, "#plots .legend", "ms")
            await page.wait_for_function("() => document.querySelector('.plot .empty').hidden")
            await shows(page, "#tiles", "%")


async def test_what_others_wrote_is_text(chrome: Any) -> None:
    name = "<img src=x onerror=alert(1)>"
    async with (
        FakeWorker(script=usage, models=(name, "m")) as worker,
        router_before(worker) as router,
        page_at(chrome, f"{router.url}/") as page,
    ):
        await page.wait_for_selector(LIVE)
        await router.post(chat(model=name))
        await router.post(chat(model="<b>x</b>"))
        await count(page, "#feed-table tbody tr", 2)
        await page.locator(f"{ROWS} button").first.click()
        await shows(page, "#details", name)
        assert await page.locator("main img, main b b, #details img, #feed-table b").count() == 0


async def test_keys_alone_do_it(chrome: Any, worker: FakeWorker) -> None:
    async with (
        FakeWorker(script=usage, models=("other",)) as second,
        router_before(worker, second) as router,
        page_at(chrome, f"{router.url}/") as page,
    ):
        await page.wait_for_selector(LIVE)
        await count(page, ROWS, 2)
        await page.keyboard.press("/")
        await page.keyboard.type("other")
        await count(page, ROWS, 1)
        assert await text(page, "#fleet-count") == "1 of 2 workers"
        await page.keyboard.press("Escape")
        await count(page, ROWS, 2)
        seen = set()
        for _ in range(60):
            await page.keyboard.press("Tab")
            seen.add(
                await page.evaluate("document.activeElement.id || document.activeElement.name")
            )
        assert {
            "fleet-filter",
            "theme",
            "view",
            "feed-filter",
            "feed-pause",
            "explain-text",
        } <= seen
        await page.locator(f"{ROWS} button").first.focus()
        await page.keyboard.press("ArrowDown")
        chosen = await page.evaluate("document.activeElement.dataset.worker")
        await page.keyboard.press("Enter")
        await shows(page, "#details h2", chosen)
        await shows(page, "#details dl", "pending prefill tokens")
        await page.keyboard.press("Escape")
        assert not await page.locator("#details").is_visible()
        assert await page.evaluate("document.activeElement.dataset.worker") == chosen
        heading = page.locator("#fleet-table th button", has_text="In flight")
        await heading.focus()
        await page.keyboard.press("Enter")
        assert await page.locator('th[aria-sort="descending"]').inner_text() == "In flight"


async def test_the_feed_pauses_and_filters(chrome: Any, worker: FakeWorker) -> None:
    lines = "#feed-table tbody tr"
    async with router_before(worker) as router, page_at(chrome, f"{router.url}/") as page:
        await page.wait_for_selector(LIVE)
        await ask_often(router, 3)
        await count(page, lines, 4)
        await page.select_option("#feed-outcome", "failed")
        await count(page, lines, 1)
        await page.select_option("#feed-outcome", "")
        await page.fill("#feed-filter", "asked-1")
        await count(page, lines, 1)
        await page.fill("#feed-filter", "")
        await page.click("#feed-pause")
        await ask_often(router, 2)
        await shows(page, "#feed-note", "3 new requests")
        await count(page, lines, 4)
        await page.click("#feed-pause")
        await count(page, lines, 7)
        assert "404 client error" in await text(page, lines)


async def test_explain(chrome: Any, worker: FakeWorker) -> None:
    async with router_before(worker) as router, page_at(chrome, f"{router.url}/") as page:
        await page.wait_for_selector(LIVE)
        await page.fill("#explain-text", "word " * 200)
        await page.click("#explain-form button")
        await shows(page, ".sentence", f"It would go to {worker.id}")
        assert await page.locator(".prospects tbody tr").count() == 1
        await page.fill("#explain-text", '{"prompt": "as it is"}')
        await page.keyboard.press("Control+Enter")
        await shows(page, "#explain-answer .note", "completions")
        assert worker.requests == []


async def test_an_error_of_explain_is_shown(chrome: Any, worker: FakeWorker) -> None:
    async with (
        router_before(worker) as router,
        page_at(chrome, f"{router.url}/", allowed="404") as page,
    ):
        await page.wait_for_selector(LIVE)
        await page.fill("#explain-text", '{"model": "nobody", "prompt": "x"}')
        await page.click("#explain-form button")
        await shows(page, ".wrong", "does not exist")


async def test_the_admin_key(chrome: Any, worker: FakeWorker) -> None:
    async with (
        router_before(worker, admin_key="s3cret") as router,
        page_at(chrome, f"{router.url}/", allowed="401") as page,
    ):
        await page.wait_for_selector("#key[open]")
        assert "administrator" in await text(page, "#key-text")
        await page.fill("#key-value", "wrong")
        await page.keyboard.press("Enter")
        await shows(page, "#key-text", "not this router's admin key")
        await page.fill("#key-value", "s3cret")
        await page.keyboard.press("Enter")
        await page.wait_for_selector(LIVE)
        await count(page, ROWS, 1)
        await page.locator(f"{ROWS} button").click()
        await shows(page, "#details", worker.url)
        stored = "Object.values(localStorage).join() + document.cookie"
        assert "s3cret" not in await page.evaluate(stored)
        await page.reload()
        await page.wait_for_selector(LIVE)


async def test_no_workers(chrome: Any) -> None:
    async with router_before() as router, page_at(chrome, f"{router.url}/") as page:
        await page.wait_for_selector(LIVE)
        assert "No workers." in await text(page, "#fleet-empty")
        assert await text(page, ".plot .empty") == "No data yet"


async def test_a_router_that_is_gone_and_comes_back(chrome: Any, worker: FakeWorker) -> None:
    line = Line()
    try:
        async with AsyncExitStack() as first:
            router = await first.enter_async_context(router_before(worker))
            await line.mend(router.port)
            page = await first.enter_async_context(page_at(chrome, line.url, allowed="net::"))
            await page.wait_for_selector(LIVE)
            await line.cut()
            await shows(page, "#live", "reconnecting")
            await shows(page, "#notice", "does not answer")
            await count(page, ROWS, 1)
            await line.mend(router.port)
            await page.wait_for_selector(LIVE)
            assert not await page.locator("#notice").is_visible()
            router.app.services.drain.ask(graceful=True)
            await shows(page, "#notice", "being stopped")
    finally:
        await line.cut()


@pytest.mark.timeout(200)
async def test_many_workers(chrome: Any, worker: FakeWorker) -> None:
    urls = await many_workers(worker, 200)
    slow = {"health_interval_s": 5.0, "models_interval_s": 5.0, "metrics_interval_s": 5.0}
    async with (
        router_before(*urls, **slow) as router,
        page_at(chrome, f"{router.url}/") as page,
    ):
        await page.wait_for_selector(LIVE)
        await count(page, "#fleet-grid li", 200)
        assert not await page.locator("#fleet-table").is_visible()
        await page.locator("#fleet-view label", has_text="Table").click()
        await count(page, ROWS, 200)
        await page.evaluate(
            """() => {
              window.changed = new Set();
              window.changedAt = performance.now();
              const seen = (c) => changed.add(c.target.closest?.("tr"));
              const watch = (list) => (list.forEach(seen), (changedAt = performance.now()));
              const all = { childList: true, subtree: true, characterData: true };
              new MutationObserver(watch).observe(document.querySelector("#fleet-table tbody"), all);
            }"""
        )
        await page.wait_for_function(SETTLED, timeout=90_000)
        await page.evaluate("changed.clear()")
        await router.post(chat("word " * 100))
        await count(page, "#feed-table tbody tr", 1)
        await page.wait_for_function("() => changed.size > 0")
        await asyncio.sleep(2.5)
        assert await page.evaluate("changed.size") <= 3
        await page.fill("#fleet-filter", "w-07")
        await count(page, ROWS, 10)


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_it_fits_and_can_be_read(chrome: Any, worker: FakeWorker, scheme: str) -> None:
    async with router_before(worker, "http://127.0.0.1:9") as router:
        for width in (360, 768, 1280, 1920):
            size = {"width": width, "height": 900}
            where = page_at(chrome, f"{router.url}/", viewport=size, color_scheme=scheme)
            async with where as page:
                await page.wait_for_selector(LIVE)
                if width == 360:
                    await ask_often(router, 2)
                await page.wait_for_selector(".was-client_error")
                assert await page.evaluate("document.documentElement.scrollWidth") == width
                assert await page.evaluate(CONTRAST) == []


async def test_the_theme_is_remembered(chrome: Any, worker: FakeWorker) -> None:
    shade = "document.documentElement.dataset.shade"
    async with (
        router_before(worker) as router,
        page_at(chrome, f"{router.url}/", color_scheme="light") as page,
    ):
        assert await page.evaluate(shade) == "light"
        await page.locator("#theme label", has_text="Dark").click()
        assert await page.evaluate(shade) == "dark"
        await page.reload()
        assert await page.evaluate(shade) == "dark"
        assert await page.locator("#theme input:checked").get_attribute("value") == "dark"


async def test_nothing_moves_about_while_it_loads(chrome: Any, worker: FakeWorker) -> None:
    async with router_before(worker) as router, page_at(chrome, "about:blank") as page:
        await page.add_init_script(
            """window.moved = 0;
            new PerformanceObserver((list) => {
              for (const each of list.getEntries()) moved += each.hadRecentInput ? 0 : each.value;
            }).observe({ type: "layout-shift", buffered: true });"""
        )
        await page.goto(f"{router.url}/")
        await page.wait_for_selector(LIVE)
        await asyncio.sleep(2.5)
        assert await page.evaluate("moved") < 0.01

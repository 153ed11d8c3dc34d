"""The console in a real browser: what people see, and how they get about."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest

from tests.component.harness import chat, eventually
from tests.e2e.console_stage import (
    CONTRAST,
    LIVE,
    ROWS,
    SETTLED,
    Line,
    ask_often,
    bad_gateway,
    browser,
    count,
    live_tab,
    many_workers,
    page_at,
    router_before,
    shows,
    text,
    usage,
)
from tests.e2e.test_sim_clients import sim_workers
from tests.fakes.worker import FakeWorker

pytestmark = pytest.mark.timeout(120)


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


async def test_an_answer_that_is_late_is_said_to_be(chrome: Any, worker: FakeWorker) -> None:
    async with router_before(worker) as router, page_at(chrome, "about:blank") as page:
        await page.clock.install()
        await page.route("**/explain", lambda _route: None)
        await page.route("**/console/workers/**", lambda _route: None)
        await page.goto(f"{router.url}/")
        await page.wait_for_selector(LIVE)
        await page.fill("#explain-text", "hi")
        await page.click("#explain-form button")
        await shows(page, "#explain-answer", "Asking the router")
        await page.clock.fast_forward(9000)
        await shows(page, "#explain-answer", "No answer yet")
        await page.locator(f"{ROWS} button").click()
        await shows(page, "#details", "Asking the router")
        await page.clock.fast_forward(9000)
        await shows(page, "#details", "other tabs")


async def test_tabs_of_one_browser_share_a_stream(chrome: Any, worker: FakeWorker) -> None:
    async with router_before(worker) as router, page_at(chrome, f"{router.url}/") as first:
        console = router.app.console
        await first.wait_for_selector(LIVE)
        await ask_often(router, 1)
        await count(first, "#feed-table tbody tr", 2)
        tabs = [first] + [await live_tab(first, f"{router.url}/") for _ in range(7)]
        assert console.watched_by == 1
        for tab in tabs:
            await count(tab, ROWS, 1)
            await count(tab, "#feed-table tbody tr", 2)  # also what was before the tab
        await first.close()
        await tabs[1].fill("#explain-text", "hi")
        await tabs[1].click("#explain-form button")
        await shows(tabs[1], ".sentence", f"It would go to {worker.id}")
        await ask_often(router, 1)
        for tab in tabs[1:]:
            await count(tab, "#feed-table tbody tr", 4)
        for tab in tabs[1:]:
            await tab.close()
        await eventually(lambda: console.watched_by == 0)


@pytest.mark.parametrize(
    "without",
    [
        "delete window.SharedWorker",
        "const It = SharedWorker; SharedWorker = class extends It { constructor() { super('no'); } }",
    ],
    ids=["none", "broken"],
)
async def test_without_shared_workers_a_hidden_tab_gives_back(
    chrome: Any, worker: FakeWorker, without: str
) -> None:
    hidden = """(hidden) => {
      Object.defineProperty(document, "hidden", { value: hidden, configurable: true });
      document.dispatchEvent(new Event("visibilitychange"));
    }"""
    async with (
        router_before(worker) as router,
        page_at(chrome, "about:blank", allowed="404") as page,
    ):
        await page.clock.install()
        await page.add_init_script(without)
        await page.goto(f"{router.url}/")
        await page.wait_for_selector(LIVE)
        await page.evaluate(hidden, True)
        await page.clock.fast_forward(10_010)
        await eventually(lambda: router.app.console.watched_by == 0)
        await asyncio.sleep(1.5)  # it does not come back by itself
        assert router.app.console.watched_by == 0
        await page.evaluate(hidden, False)
        await eventually(lambda: router.app.console.watched_by == 1)
        await ask_often(router, 1)
        await count(page, "#feed-table tbody tr", 2)


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
        other = await page.context.new_page()  # a tab that does not have the key
        await other.goto(f"{router.url}/")
        await other.wait_for_selector("#key[open]")
        assert await other.locator(ROWS).count() == 0
        assert router.app.console.watched_by == 1


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


async def test_a_proxy_that_does_not_reach_the_router(chrome: Any, worker: FakeWorker) -> None:
    line = Line()
    proxy = await bad_gateway()
    try:
        async with (
            router_before(worker) as router,
            page_at(chrome, "about:blank", allowed="502") as page,
        ):
            await line.mend(router.port)
            await page.goto(line.url)
            await page.wait_for_selector(LIVE)
            await line.cut()
            await line.mend(proxy.sockets[0].getsockname()[1])
            await page.locator(f"{ROWS} button").click()
            await shows(page, "#details", "a proxy before it said 502")
            await page.wait_for_selector("body[data-state=lost]")
            await asyncio.sleep(1.5)  # some more of its answers
            assert "as of a moment ago" in await text(page, "#notice")
    finally:
        await line.cut()
        proxy.close()


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


async def test_the_ends_of_ids_are_seen_in_their_order(chrome: Any, worker: FakeWorker) -> None:
    places = """(name) => {
      const range = document.createRange();
      const box = name.closest("button").getBoundingClientRect();
      return [...name.textContent].map((_, at) => {
        const letters = document.createTreeWalker(name, NodeFilter.SHOW_TEXT).nextNode();
        range.setStart(letters, at);
        range.setEnd(letters, at + 1);
        return range.getBoundingClientRect().left - box.left;
      });
    }"""
    ids = ["http://[fd00::1]:9", (await many_workers(worker, 1))[0]]
    async with router_before(*ids) as router, page_at(chrome, f"{router.url}/") as page:
        await page.wait_for_selector(LIVE)
        await page.locator("#fleet-view label", has_text="Grid").click()
        await count(page, "#fleet-grid li", 2)
        for name in await page.locator("#fleet-grid b").all():
            left = await name.evaluate(places)
            assert left == sorted(left)
            assert 0 < left[-1] < (await name.bounding_box())["width"] + 30


async def test_a_long_model_stays_in_its_box(chrome: Any) -> None:
    model = "meta-llama/Llama-3.3-70B-Instruct-with-a-very-long-finetune-name-v20261129-rc1"
    over = """document.querySelector("#explain-model").getBoundingClientRect().right
      - document.querySelector("#explain-form").getBoundingClientRect().right"""
    async with FakeWorker(models=(model,)) as worker, router_before(worker) as router:
        for width in (360, 1280):
            size = {"width": width, "height": 900}
            async with page_at(chrome, f"{router.url}/", viewport=size) as page:
                await page.wait_for_selector(LIVE)
                await count(page, "#explain-model option", 1)
                assert await page.evaluate("document.documentElement.scrollWidth") == width
                assert await page.evaluate(over) < 0


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

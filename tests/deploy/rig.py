"""Two routers, their workers, Redis and Prometheus, and traffic with all that can happen to it."""

import asyncio
import contextlib
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import yaml

from router.access.keys import digest_of, written
from tests.deploy.traffic import KEY, METERED_KEY, Traffic
from tests.deploy.workers import CHAT, OTHER, Workers
from tests.e2e.harness import Router, ask, router_process, wait_until
from tests.fakes.prometheus import Prometheus, binary, prometheus
from tests.fakes.redis_server import Server, server

RULES = Path(__file__).parents[2] / "deploy/prometheus/rules.yaml"
SCRAPE_S = 1
TENANTS: dict[str, tuple[str, dict[str, Any]]] = {
    "acme": (KEY, {}),
    "beta": (METERED_KEY, {"requests_per_minute": 5}),
}

SETTINGS = {
    "room_tokens": 2048,
    "max_inflight": 16,
    "queue_limit": 60,
    "resume": "on",
    "health_interval_s": 0.5,
    "models_interval_s": 1,
    "metrics_interval_s": 0.5,
    "eject_s": 1,
    "redis_ttl_s": 60,
}


@dataclass(frozen=True, slots=True)
class Run:
    """What was seen, from `start` to `end` (epoch seconds); `router` still runs."""

    prometheus: Prometheus
    router: Router
    start: float
    end: float

    @property
    def seconds(self) -> int:
        """How long it took."""
        return round(self.end - self.start)


@contextlib.contextmanager
def run(folder: Path) -> Iterator[Run]:
    """Start all of it, have the traffic, and leave Prometheus for questions."""
    binary("prometheus")  # else nothing of this is needed
    with contextlib.ExitStack() as stack:
        redis = stack.enter_context(server("valkey"))  # first: it takes a port that is free now
        workers = Workers(CHAT, CHAT, CHAT, OTHER)
        stack.callback(workers.close)
        wait_until(lambda: all(map(_answers, workers.urls)), 30, "simulated workers")
        routers = [
            stack.enter_context(_router(folder / str(number), workers, redis))
            for number in range(2)
        ]
        found = stack.enter_context(prometheus(_scraping(routers), rules=_rules()))
        start = time.time()
        time.sleep(2 * SCRAPE_S)
        asyncio.run(Traffic(routers, workers, redis).go())
        time.sleep(2 * SCRAPE_S)
        yield Run(found, routers[0], start, time.time())


@contextlib.contextmanager
def _router(folder: Path, workers: Workers, redis: Server) -> Iterator[Router]:
    folder.mkdir()
    tenants = {
        name: {**terms, "keys": [written(digest_of(key.encode()))]}
        for name, (key, terms) in TENANTS.items()
    }
    files: dict[str, Any] = {
        "tenants": {"tenants": tenants},
        "workers": workers.urls,
        "router": {
            **SETTINGS,
            "tenants_file": str(folder / "tenants.yaml"),
            "workers_file": str(folder / "workers.yaml"),
        },
    }
    for name, value in files.items():
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(value))
    config = ("--config", str(folder / "router.yaml"), "--redis-url", redis.url)
    with router_process([], folder, *config) as running:
        wait_until(lambda: len(running.workers()["workers"]) == 4, 20, "the fleet")
        yield running


def _scraping(routers: list[Router]) -> str:
    config = {
        "global": {
            "scrape_interval": f"{SCRAPE_S}s",
            "scrape_timeout": f"{SCRAPE_S}s",
            "evaluation_interval": f"{SCRAPE_S}s",
        },
        "rule_files": ["rules.yaml"],
        "scrape_configs": [
            {
                "job_name": "prefix-router",
                "static_configs": [{"targets": [urlsplit(each.url).netloc for each in routers]}],
            }
        ],
    }
    return yaml.safe_dump(config)


def _rules() -> str:
    rules = yaml.safe_load(RULES.read_text(encoding="utf-8"))
    for group in rules["groups"]:
        group["interval"] = f"{SCRAPE_S}s"
    return yaml.safe_dump(rules)


def _answers(url: str) -> bool:
    try:
        return ask(url, "/health", method="GET").status == 200
    except OSError:
        return False

"""A configuration that changes while the router runs."""

import asyncio
import io
import logging
from pathlib import Path
from typing import Any

import pytest

from router import reload as module
from router.assembly import build
from router.config_file import ConfigurationError
from router.reload import LIVE, Origin, Reloader
from router.routing.waiting import Waiting
from router.setting_sources import load
from router.settings import Settings
from router.telemetry.logs import RequestLog


class Rig:
    """A router that is built and does not run, with a configuration that a test changes."""

    def __init__(self, **settings: Any) -> None:
        self.values: dict[str, Any] = {"workers": ["http://a:1"], **settings}
        self.app = build(Settings(**self.values), RequestLog(io.BytesIO(), json=True))
        self.reloader = Reloader(self.app, Origin(None, self.load))
        self.problem: Exception | None = None

    def load(self) -> Settings:
        if self.problem is not None:
            raise self.problem
        return Settings(**self.values)

    async def change(self, **settings: Any) -> None:
        self.values |= settings
        await self.reloader.reload()

    @property
    def workers(self) -> list[str]:
        return [worker.id for worker in self.app.fleet]


async def test_workers_come_and_go_and_those_that_stay_keep_their_state() -> None:
    rig = Rig(workers=["http://a:1", "http://b:1"])
    a = next(iter(rig.app.fleet))
    await rig.change(workers=["http://a:1", "http://c:1"])
    assert rig.workers == ["a:1", "c:1"]
    assert next(iter(rig.app.fleet)) is a


async def test_how_requests_are_sent_and_wait_changes() -> None:
    rig = Rig()
    await rig.change(idle_timeout_s=7, resume="on", queue_limit=3, room_tokens=99)
    assert rig.app.attempts.options.limits.idle_s == 7
    assert rig.app.attempts._resumption.usually
    admission = rig.app.admission
    assert isinstance(admission, Waiting)
    assert (admission.options.limit, admission.options.room_tokens) == (3, 99)
    room = admission.room  # type: ignore[attr-defined]
    assert room.options is admission.options


async def test_a_policy_without_a_queue_has_nothing_to_tune() -> None:
    rig = Rig(policy="round_robin")
    await rig.change(queue_limit=3)
    assert rig.reloader.settings.queue_limit == 3


async def test_how_workers_are_asked_changes() -> None:
    rig = Rig()
    await rig.change(health_interval_s=1, models_interval_s=2, metrics_interval_s=3)
    health, poller = rig.app.health, rig.app.poller
    assert (health.interval_s, health.describe_s, poller.interval_s) == (1, 2, 3)


async def test_the_log_level_changes() -> None:
    root = logging.getLogger()
    level = root.level
    try:
        await Rig().change(log_level="error")
        assert root.level == logging.ERROR
    finally:
        root.setLevel(level)


async def test_what_needs_a_restart_is_named_and_named_again(
    caplog: pytest.LogCaptureFixture,
) -> None:
    rig = Rig()
    for retry_budget in (0.1, 0.3):
        caplog.clear()
        await rig.change(port=1234, policy="session", retry_budget=retry_budget)
        assert "count after a restart: policy, port" in caplog.text
    assert rig.reloader.settings.port == 8080
    assert rig.reloader.settings.retry_budget == 0.3


@pytest.mark.parametrize(
    "problem", [ConfigurationError(["x.yaml:3: workers: no"]), OSError("gone"), RuntimeError("?")]
)
async def test_while_it_is_wrong_all_stays_as_it_was(
    problem: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    rig = Rig()
    rig.problem = problem
    await rig.change(workers=["http://z:1"])
    assert rig.workers == ["a:1"]
    assert "stays as it was" in caplog.text
    rig.problem = None
    await rig.reloader.reload()
    assert rig.workers == ["z:1"]


async def test_a_source_that_cannot_be_built_changes_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def sources(settings: Settings) -> Any:
        raise ConfigurationError([f"no way to find {settings.workers_dns}"])

    rig = Rig()
    monkeypatch.setattr(module, "sources", sources)
    await rig.change(workers=["http://z:1"], retry_budget=0.5)
    assert rig.workers == ["a:1"]
    assert rig.reloader.settings.retry_budget == 0.2


async def test_it_is_read_when_asked_to_and_when_the_file_changes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "_TICK_S", 0.01)
    monkeypatch.setattr(module, "_LOOK_S", 0.01)
    file = tmp_path / "router.yaml"
    file.write_text("workers: [http://a:1]\n")
    app = build(load(file, {}), RequestLog(io.BytesIO(), json=True))
    reloader = Reloader(app, Origin(file, lambda: load(file, {})))
    task = asyncio.ensure_future(reloader.run())

    async def until(*workers: str) -> None:
        async with asyncio.timeout(10):
            while [worker.id for worker in app.fleet] != list(workers):  # noqa: ASYNC110
                await asyncio.sleep(0.01)

    file.write_text("workers: [http://a:1, http://b:1]\n")
    await until("a:1", "b:1")
    file.unlink()
    await asyncio.sleep(0.05)
    assert len(app.fleet) == 2, "a file that is gone says nothing"
    monkeypatch.setattr(module, "state_of", lambda file: None)
    file.write_text("workers: [http://c:1]\n")
    await asyncio.sleep(0.05)
    assert len(app.fleet) == 2
    reloader.ask()
    await until("c:1")
    task.cancel()
    await asyncio.wait([task])


def test_every_live_setting_exists() -> None:
    assert set(Settings.model_fields) >= LIVE


async def test_a_file_that_is_empty_is_one_that_is_being_written(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "router.yaml"
    file.write_text("workers: [http://a:1]\n")
    app = build(load(file, {}), RequestLog(io.BytesIO(), json=True))
    reloader = Reloader(app, Origin(file, lambda: load(file, {})))
    for text in ("", "# nothing yet\n"):
        file.write_text(text)
        await reloader.reload()
        assert [worker.id for worker in app.fleet] == ["a:1"]
    assert "is empty" in caplog.text

"""Takes in a configuration that has changed, without ending a request: what can count at once does, the rest is named."""

import asyncio
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from router.assembly import App, attempt_options, queue_options
from router.config_file import ConfigurationError, read, state_of
from router.finding import DISCOVERY, configured, sources
from router.routing.waiting import Waiting
from router.settings import Settings

logger = logging.getLogger(__name__)

_TICK_S = 0.25
_LOOK_S = 2.0

_ATTEMPTS = frozenset(
    (
        "first_byte_timeout_s",
        "first_byte_timeouts",
        "idle_timeout_s",
        "total_timeout_s",
        "retry_budget",
        "resume",
        "finish_abandoned_s",
    )
)
_QUEUE = frozenset(("room_tokens", "max_inflight", "queue_limit", "queue_timeout_s"))
_PROBES = frozenset(("health_interval_s", "models_interval_s", "metrics_interval_s"))
LIVE = (DISCOVERY - {"kubernetes_routers"}) | _ATTEMPTS | _QUEUE | _PROBES | {"log_level"}
"""Settings that count as soon as they are read; the others do after a restart."""


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the configuration came from: `file`, if there was one; `load` reads all of it again."""

    file: Path | None
    load: Callable[[], Settings]


class Reloader:
    """Reads the configuration anew when it is asked to, or its file has changed."""

    def __init__(self, app: App, origin: Origin) -> None:
        self.settings = app.settings
        """What counts now."""
        self._app = app
        self._origin = origin
        self._asked = False
        self._state = None if origin.file is None else state_of(origin.file)

    def ask(self) -> None:
        """Read it at the next opportunity (for signal handlers)."""
        self._asked = True

    async def run(self) -> None:
        """Look for ever."""
        ticks = 0
        while True:
            await asyncio.sleep(_TICK_S)
            ticks += 1
            if self._asked or (ticks * _TICK_S % _LOOK_S == 0 and await self._changed()):
                self._asked = False
                await self.reload()

    async def _changed(self) -> bool:
        if self._origin.file is None:
            return False
        state = await asyncio.to_thread(state_of, self._origin.file)
        changed = state not in (None, self._state)
        if state is not None:
            self._state = state
        return changed

    async def reload(self) -> None:
        """Read it now. While it is wrong, all stays as it was."""
        try:
            settings = await asyncio.to_thread(self._load)
            self.take(settings)
        except ConfigurationError as error:
            for problem in error.problems:
                logger.warning("%s", problem)
            logger.warning("the configuration is wrong: it stays as it was")
        except Exception:  # a running router is worth more than a new setting
            logger.exception("the configuration could not be read anew: it stays as it was")

    def _load(self) -> Settings:
        file = self._origin.file
        if file is not None and not read(file)[0]:
            raise ConfigurationError([f"{file}: is empty, as while it is being written"])
        return self._origin.load()

    def take(self, settings: Settings) -> None:
        """Let what has changed count, as far as it can. Raises `ConfigurationError` before anything has changed."""
        before = self.settings
        changed = {
            name
            for name in Settings.model_fields
            if getattr(before, name) != getattr(settings, name)
        }
        found = sources(settings) if changed & DISCOVERY else None
        if found is not None:
            self._app.discovery.set_sources(configured(settings), found)
        self._tune(settings, changed)
        now, later = sorted(changed & LIVE), sorted(changed - LIVE)
        self.settings = before.model_copy(update={name: getattr(settings, name) for name in now})
        logger.info(
            "the configuration was read anew: %s", ", ".join(now) or "nothing to change now"
        )
        if later:
            logger.warning("these settings count after a restart: %s", ", ".join(later))

    def _tune(self, settings: Settings, changed: set[str]) -> None:
        app, admission = self._app, self._app.admission
        if changed & _ATTEMPTS:
            app.attempts.set_options(attempt_options(settings))
        if changed & _QUEUE and isinstance(admission, Waiting):
            admission.set_options(queue_options(settings))
        if changed & _PROBES:
            app.health.interval_s = settings.health_interval_s
            app.health.describe_s = settings.models_interval_s
            app.poller.interval_s = settings.metrics_interval_s
        if "log_level" in changed:
            logging.getLogger().setLevel(settings.log_level.upper())

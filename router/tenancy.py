"""Builds what knows clients by their keys, if they need any; and what of it runs."""

from collections.abc import Coroutine, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

from router.access.tenants import Tenants
from router.access.tenants_file import roster
from router.access.terms import Terms
from router.file_watch import Watch
from router.fleet.fleet import Fleet
from router.settings import Settings
from router.shared.quotas import QuotaKeeper
from router.shared.service import Shared
from router.telemetry.metrics import Metrics


@dataclass(frozen=True, slots=True)
class Tenancy:
    """`watch`: follows the file of tenants; `keeper`: shares quotas with other routers. None: there is none."""

    tenants: Tenants | None = None
    watch: Watch[Mapping[str, Terms]] | None = None
    keeper: QuotaKeeper | None = None

    def tasks(self) -> Iterator[tuple[str, Coroutine[Any, Any, None]]]:
        """What is to run in the background, by name."""
        if self.watch is not None:
            yield "tenants-file", self.watch.run()
        if self.keeper is not None:
            yield "quotas", self.keeper.run()


def tenancy(settings: Settings, fleet: Fleet, metrics: Metrics, shared: Shared | None) -> Tenancy:
    """Nobody is known where no keys are configured. Raises `ConfigurationError`."""
    file, keys = settings.tenants_file, settings.api_keys
    if file is None and keys is None:
        return Tenancy()
    tenants = Tenants(
        settings.worker_api_key, lambda model: fleet.serves(model) or not fleet.model_cards()
    )
    read = partial(roster, file, keys)
    watch: Watch[Mapping[str, Terms]] | None = None
    if file is not None:
        watch = Watch(file, read, tenants.agree, what="tenants")
    tenants.agree(read())
    metrics.access.tenants = tenants.samples
    keeper = None
    if shared is not None and shared.quotas is not None:
        keeper = QuotaKeeper(shared.quotas, shared.replica, shared.bond, tenants.all)
    return Tenancy(tenants, watch, keeper)

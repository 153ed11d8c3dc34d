"""Tells of workers that run in Kubernetes."""

import asyncio
import logging
from collections.abc import Callable, Sequence

from router.config_file import ConfigurationError
from router.discovery.base import Tell
from router.discovery.kubernetes import pods, slices
from router.discovery.kubernetes.account import Account
from router.discovery.kubernetes.client import Client
from router.discovery.kubernetes.collection import descriptions
from router.discovery.kubernetes.collection import pods as pods_in
from router.discovery.kubernetes.collection import slices as slices_in
from router.discovery.kubernetes.objects import Described, EndpointSlice, Pod
from router.discovery.kubernetes.places import Found
from router.discovery.kubernetes.reflector import PACE, Pace, Reflector
from router.discovery.telling import news

logger = logging.getLogger(__name__)

_REMEMBERED = 1000
"""So many wrong things that were said are not said again."""


class KubernetesWorkers:
    """What one list of objects in one namespace says of workers (`discovery.base.Source`): see `of_service`, `of_pods`. What
    was told last stands while the API server cannot be reached or refuses. `changed`: set when `main` or `aside` have changed;
    `find`: what they say now. `aside` is done without where it cannot be read.
    """

    def __init__(
        self,
        name: str,
        changed: asyncio.Event,
        main: "Reflector[Pod] | Reflector[EndpointSlice]",
        find: Callable[[], Found],
        *,
        settle_s: float,
        aside: Reflector[Described] | None = None,
    ) -> None:
        self.name = name
        self._changed = changed
        self._main = main
        self._find = find
        self._settle_s = settle_s
        self._aside = aside
        self._said: dict[str, str] = {}
        self._failure: str | None = None

    @classmethod
    def of_pods(
        cls, account: Account, namespace: str, selector: str, port: str | None, pace: Pace = PACE
    ) -> "KubernetesWorkers":
        """Pods that the label selector fits, at their port of this name or number."""
        name, changed = f"kubernetes pods {selector} in {namespace}", asyncio.Event()
        main = Reflector(name, Client(account), pods_in(namespace, selector), changed.set, pace)

        def find() -> Found:
            return pods.workers(main.objects.values(), port)

        return cls(name, changed, main, find, settle_s=pace.settle_s)

    @classmethod
    def of_routers(
        cls,
        account: Account,
        namespace: str,
        selector: str,
        port: int,
        *,
        scheme: str = "http",
        pace: Pace = PACE,
    ) -> "KubernetesWorkers":
        """The router's own pods, all that run, at this port."""
        name, changed = f"kubernetes routers {selector} in {namespace}", asyncio.Event()
        main = Reflector(name, Client(account), pods_in(namespace, selector), changed.set, pace)

        def find() -> Found:
            return pods.running(main.objects.values(), port, scheme)

        return cls(name, changed, main, find, settle_s=pace.settle_s)

    @classmethod
    def of_service(
        cls, account: Account, namespace: str, service: str, port: str | None, pace: Pace = PACE
    ) -> "KubernetesWorkers":
        """Endpoints of a Service, at its port of this name, or of this number at the pods. The annotations of the pods count
        if the router may read pods.
        """
        name, changed = f"kubernetes service {namespace}/{service}", asyncio.Event()
        main = Reflector(name, Client(account), slices_in(namespace, service), changed.set, pace)
        notes, described = f"{name}, annotations of its pods", descriptions(namespace)
        aside = Reflector(notes, Client(account), described, changed.set, pace)
        certified = f"{service}.{namespace}.svc"

        def find() -> Found:
            return slices.workers(main.objects.values(), port, aside.objects, certified)

        return cls(name, changed, main, find, settle_s=pace.settle_s, aside=aside)

    @property
    def problem(self) -> str | None:
        """What keeps it from knowing the workers; their annotations it can do without."""
        return self._main.problem or self._failure

    async def run(self, tell: Tell) -> None:
        """Follow the API server for ever."""
        tell = news(tell)
        self._changed.set()
        async with asyncio.TaskGroup() as group:
            group.create_task(self._main.run(), name=self.name)
            if self._aside is not None:
                group.create_task(self._aside.run(), name=f"{self.name}, annotations")
            while True:
                await self._changed.wait()
                await asyncio.sleep(self._settle_s)
                self._changed.clear()
                if self._main.known and (self._aside is None or _tried(self._aside)):
                    self._take(tell)

    def _take(self, tell: Tell) -> None:
        try:
            found = self._find()
        except Exception as error:  # ours: what was told last stands
            logger.exception("%s", self.name)
            self._failure = repr(error)
            return
        self._failure = None
        for where, what in found.wrong.items():
            if self._said.get(where) != what:
                logger.warning("%s: %s: %s", self.name, where, what)
        if len(self._said) > _REMEMBERED:
            self._said.clear()
        self._said |= found.wrong
        tell(tuple(found.targets))


def _tried(reflector: Reflector[Described]) -> bool:
    return reflector.known or reflector.problem is not None


def kubernetes_workers(
    account: Account,
    *,
    service: str | None = None,
    selector: str | None = None,
    namespaces: Sequence[str] = (),
    port: str | None = None,
    pace: Pace = PACE,
) -> list[KubernetesWorkers]:
    """What finds the endpoints of `service`, `name` or `namespace/name`, and the pods that `selector` fits, in each of the
    namespaces (none: the router's own). One for each, so that one that cannot be read takes nothing from the others.
    Raises `ConfigurationError`: the namespace is not known.
    """
    found: list[KubernetesWorkers] = []
    if service is not None:
        own, _, name = service.rpartition("/")
        found += [
            KubernetesWorkers.of_service(account, each, name, port, pace)
            for each in ([own] if own else _namespaces(account, namespaces))
        ]
    if selector is not None:
        found += [
            KubernetesWorkers.of_pods(account, each, selector, port, pace)
            for each in _namespaces(account, namespaces)
        ]
    return found


def kubernetes_routers(
    account: Account, selector: str, port: int, *, scheme: str = "http", pace: Pace = PACE
) -> KubernetesWorkers:
    """What finds the router's own pods, in its own namespace. Raises `ConfigurationError`: that is not known."""
    if (namespace := account.namespace()) is None:
        raise ConfigurationError(
            ["kubernetes_routers: the router does not run in a cluster: its namespace is not known"]
        )
    return KubernetesWorkers.of_routers(
        account, namespace, selector, port, scheme=scheme, pace=pace
    )


def _namespaces(account: Account, namespaces: Sequence[str]) -> Sequence[str]:
    if not namespaces and (own := account.namespace()) is not None:
        return [own]
    if not namespaces:
        raise ConfigurationError(
            ["kubernetes_namespaces: the router does not run in a cluster: say where workers are"]
        )
    return list(dict.fromkeys(namespaces))

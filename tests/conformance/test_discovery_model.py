"""Whatever sources tell and operators say, in any order: the fleet is what the rules of docs/discovery.md make of it."""

from collections.abc import Sequence
from dataclasses import dataclass, field

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from router.discovery.base import Tell
from router.discovery.registry import CONFIGURED, FORGET_S, OPERATOR, UNWANTED, Discovery
from router.fleet.target import Target
from router.ids import WorkerId

HOSTS = ("a", "b", "c")
SOURCES = ("dns", "file")

hosts = st.sampled_from(HOSTS)
told_hosts = st.lists(st.tuples(hosts, st.booleans()), max_size=3)


def target(host: str, *, drained: bool = False, said_by: str = "") -> Target:
    return Target(url=f"http://{host}:1", drained=drained, name=said_by)


def id_of(host: str) -> WorkerId:
    return WorkerId(f"{host}:1")


class Silent:
    """A source that a test speaks for."""

    problem: str | None = None

    def __init__(self, name: str) -> None:
        self.name = name

    async def run(self, tell: Tell) -> None:
        raise NotImplementedError


@dataclass
class Oracle:
    """The rules, written down naively."""

    configured: list[Target] = field(default_factory=list)
    told: dict[str, list[Target]] = field(default_factory=dict)
    removed: set[str] = field(default_factory=set)
    added: dict[str, str] = field(default_factory=dict)
    drains: set[str] = field(default_factory=set)

    def knowers(self, host: str) -> list[str]:
        """Who knows of it but the operator."""
        url = f"http://{host}:1"
        lists = {CONFIGURED: self.configured, **self.told}
        return [name for name, targets in lists.items() if any(t.url == url for t in targets)]

    def a_minute_passes(self) -> None:
        """What was said of workers that nobody knows is forgotten."""
        for host in HOSTS:
            if not self.knowers(host) and host not in self.added:
                self.removed.discard(host)
                self.drains.discard(host)

    def fleet(self) -> dict[str, tuple[str, bool]]:
        """Who is in it: who describes it, and whether it is drained."""
        found: dict[str, tuple[str, bool]] = {}
        for host in HOSTS:
            if host in self.removed:
                continue
            all_told = [t for ts in (self.configured, *self.told.values()) for t in ts]
            said = [t for t in all_told if t.url == f"http://{host}:1"]
            if said:
                found[host] = (said[0].name, any(t.drained for t in said) or host in self.drains)
            elif host in self.added:
                found[host] = ("", host in self.drains)
        return found


class Machine(RuleBasedStateMachine):
    """Drives both. Sources tell between any two orders."""

    def __init__(self) -> None:
        super().__init__()
        self.sets: list[Sequence[Target]] = [()]
        self.discovery = Discovery(self.sets.append)
        self.sources = {name: Silent(name) for name in SOURCES}
        self.discovery.set_sources([], list(self.sources.values()))
        self.oracle = Oracle(told={name: [] for name in SOURCES})
        self.now = 0.0
        for source in self.sources.values():
            self.discovery._hear(source, [])

    @rule(name=st.sampled_from(SOURCES), said=told_hosts)
    def a_source_tells(self, name: str, said: list[tuple[str, bool]]) -> None:
        targets = [
            target(host, drained=drained, said_by=name) for host, drained in dict(said).items()
        ]
        self.discovery._hear(self.sources[name], targets)
        self.oracle.told[name] = targets

    @rule(wanted=st.lists(hosts, unique=True))
    def the_configuration_changes(self, wanted: list[str]) -> None:
        targets = [target(host, said_by=CONFIGURED) for host in wanted]
        self.sources = {name: Silent(name) for name in SOURCES}
        self.discovery.set_sources(targets, list(self.sources.values()))
        self.oracle.configured = targets

    @rule(host=hosts)
    def an_operator_adds(self, host: str) -> None:
        assert self.discovery.add(f"http://{host}:1") == id_of(host)
        self.oracle.removed.discard(host)
        self.oracle.added[host] = f"http://{host}:1"

    @rule(host=hosts)
    def an_operator_removes(self, host: str) -> None:
        there = host in self.oracle.fleet()
        assert self.discovery.remove(id_of(host)) == there
        if there:
            self.oracle.added.pop(host, None)
            self.oracle.removed.add(host)

    @rule(host=hosts)
    def another_router_takes_an_order_back(self, host: str) -> None:
        self.discovery.order(id_of(host), "")
        self.oracle.removed.discard(host)
        self.oracle.added.pop(host, None)

    @rule(host=hosts, drained=st.booleans())
    def an_operator_drains(self, host: str, drained: bool) -> None:
        self.discovery.drain(id_of(host), drained=drained)
        (self.oracle.drains.add if drained else self.oracle.drains.discard)(host)

    @rule()
    def a_minute_passes(self) -> None:
        self.discovery.keep(self.now)
        self.now += FORGET_S
        self.discovery.keep(self.now)
        self.oracle.a_minute_passes()

    @rule(host=hosts)
    def another_router_removes(self, host: str) -> None:
        self.discovery.order(id_of(host), UNWANTED)
        self.oracle.added.pop(host, None)
        self.oracle.removed.add(host)

    @invariant()
    def the_fleet_is_what_the_rules_say(self) -> None:
        fleet = {
            t.url.removeprefix("http://").partition(":")[0]: (t.name, t.drained)
            for t in self.sets[-1]
        }
        assert fleet == self.oracle.fleet()

    @invariant()
    def who_knows_a_worker_is_said(self) -> None:
        for host in HOSTS:
            knowers = [] if host in self.oracle.removed else self.oracle.knowers(host)
            knowers += [OPERATOR] if host in self.oracle.added else []
            said = self.discovery.source_of(id_of(host))
            assert said == (knowers[0] if knowers else "")

    @invariant()
    def orders_are_what_was_said(self) -> None:
        removed = {id_of(host): UNWANTED for host in self.oracle.removed}
        added = {id_of(host): url for host, url in self.oracle.added.items()}
        assert self.discovery.orders == added | removed
        assert self.discovery.drains == {id_of(host) for host in self.oracle.drains}


TestDiscovery = Machine.TestCase
TestDiscovery.settings = settings(max_examples=60, stateful_step_count=25, deadline=None)


def test_what_was_removed_is_added_again() -> None:
    """Until it is removed, whoever forgets it."""
    sets: list[Sequence[Target]] = []
    discovery = Discovery(sets.append)
    source = Silent("dns")
    discovery.set_sources([], [source])
    discovery._hear(source, [target("a")])
    assert discovery.remove(id_of("a"))
    discovery.add("http://a:1")
    discovery._hear(source, [])
    assert [each.url for each in sets[-1]] == ["http://a:1"]

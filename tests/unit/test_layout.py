"""Every module has its test file and stays small."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
UNIT = ROOT / "tests/unit"
MODULES = sorted(str(path.relative_to(ROOT / "router")) for path in (ROOT / "router").rglob("*.py"))
MAX_LINES = 300

# Why a module has no unit test file of its own.
ELSEWHERE = {
    "__main__.py": "tests/unit/test_cli.py runs it",
    "ids.py": "names of types only",
    "setting_types.py": "test_settings.py",
    "setting_sources.py": "test_settings.py",
    "assembly.py": "test_app.py",
    "administration.py": "test_app.py and component/test_admin_listener.py",
    "discovery/answers.py": "data; conformance/test_source_dns.py",
    "discovery/base.py": "a protocol; tests/conformance/source_suite.py is its test",
    "settings/caches.py": "test_settings.py",
    "settings/discovery.py": "test_finding.py and test_settings.py",
    "settings/fallback.py": "test_finding.py",
    "settings/observing.py": "test_settings.py",
    "settings/choosing.py": "test_settings.py",
    "settings/sharing.py": "test_settings.py",
    "settings/workers.py": "test_settings.py",
    "prompt/stored.py": "data",
    "index/base.py": "a protocol; tests/conformance/index_suite.py is its test",
    "engines/base.py": "a protocol and its data",
    "proxy/downstream.py": "protocols",
    "routing/policy.py": "data and a type",
    "routing/options.py": "data",
    "routing/waiting.py": "a base; test_queue.py and peers/test_held.py",
    "simulate/run_options.py": "data; simulate/test_arguments.py and test_run.py",
    "fleet/worker.py": "data; fleet/test_fleet.py",
    "edge/protocol.py": "a server's connection: tests/component",
    "edge/http_exchange.py": "a server's connection: tests/component",
    "edge/asgi.py": "a server's connection: tests/component",
    "edge/messages.py": "names of types only",
    "servers.py": "servers: tests/component/test_drain.py and test_app.py",
    "events/counters.py": "data",
    "events/sockets.py": "sockets: tests/component/test_kv_events.py",
    "events/feeds.py": "sockets: tests/component/test_kv_events.py",
    "tiers/base.py": "a protocol and an error",
}
BY_BEHAVIOUR = ("simworker", "demo")
"""Packages whose tests are grouped by what the program does, not by module."""


def mirror(module: str) -> Path:
    """Where a module's test file belongs."""
    path = Path(module)
    return UNIT / path.parent / f"test_{path.name}"


@pytest.mark.parametrize("module", MODULES)
def test_every_module_has_a_test_file_or_a_reason(module: str) -> None:
    path = Path(module)
    if path.name == "__init__.py" or path.parts[0] in BY_BEHAVIOUR:
        return
    assert mirror(module).exists() is not (module in ELSEWHERE), mirror(module).relative_to(ROOT)


@pytest.mark.parametrize("module", sorted(ELSEWHERE))
def test_every_exception_is_still_needed(module: str) -> None:
    assert module in MODULES


def test_every_mirrored_test_file_has_its_module() -> None:
    folders = {str(Path(module).parent) for module in MODULES} - set(BY_BEHAVIOUR)
    mirrors = {mirror(module) for module in MODULES}
    stray = [
        str(path.relative_to(ROOT))
        for folder in folders - {"."}
        for path in (UNIT / folder).glob("test_*.py")
        if path not in mirrors
    ]
    assert stray == []


@pytest.mark.parametrize("module", MODULES)
def test_every_module_stays_small(module: str) -> None:
    lines = (ROOT / "router" / module).read_text().count("\n")
    assert lines <= MAX_LINES

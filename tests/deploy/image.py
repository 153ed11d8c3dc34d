"""Builds and runs the image without a container engine: its Dockerfile's own steps, in mount and PID namespaces.

The base image's file system is this machine's, with a Python of the base image's version at /usr/local. What is written
goes to memory. A container has its own root, PID 1 and /tmp, is read-only if asked to, and shares the network.
"""

import json
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.deploy.dockerfile import Instruction, Stage, stages

ROOT = Path(__file__).parents[2]
_UNSHARE = ("unshare", "--mount", "--propagation", "private")
_LIBRARIES = {"LD_LIBRARY_PATH": "/usr/local/lib"}  # the base image has told its loader of them
_ROOT_FS = """
set -e
mkdir -p {work}/layer
mount -t tmpfs layer {work}/layer
mkdir {work}/layer/upper {work}/layer/work {work}/layer/root
mount -t overlay overlay -o lowerdir=/,upperdir={work}/layer/upper,workdir={work}/layer/work {work}/layer/root
mount --bind {python} {work}/layer/root/usr/local
mount --rbind /dev {work}/layer/root/dev
root={work}/layer/root
"""


def why_not() -> str | None:
    """What is missing to build the image here; None: nothing."""
    if sys.platform != "linux" or os.geteuid() != 0:
        return "needs root on Linux, for mount namespaces"
    if missing := [tool for tool in ("unshare", "setpriv", "chroot") if not shutil.which(tool)]:
        return f"needs {', '.join(missing)}"
    if base_python() is None:
        return "needs a Python of the base image's version, installed in a directory of its own"
    probe = 'd=$(mktemp -d) && mount -t tmpfs t "$d" && mkdir "$d"/u "$d"/w "$d"/r && mount -t overlay o -o '
    probe += 'lowerdir=/,upperdir="$d"/u,workdir="$d"/w "$d"/r'
    done = subprocess.run([*_UNSHARE, "sh", "-c", probe], capture_output=True, check=False)
    return None if done.returncode == 0 else "may not mount an overlay here"


def base_python() -> Path | None:
    """Where a Python of the base image's version is installed: this one, or one of pyenv's."""
    wanted = stages((ROOT / "Dockerfile").read_text())[0].base.split(":")[1].split("-")[0]
    candidates = [Path(sys.base_prefix)]
    pyenv = Path(os.environ.get("PYENV_ROOT") or Path.home() / ".pyenv") / "versions"
    candidates += sorted(pyenv.glob(f"{wanted}*"))
    for prefix in candidates:
        if (prefix / f"bin/python{wanted}").exists() and prefix not in (Path("/usr"), Path("/")):
            return prefix
    return None


@dataclass(frozen=True, slots=True)
class Image:
    """What was built: the files that the last stage copies, and its configuration."""

    files: Path
    config: Stage
    seconds: dict[str, float]

    def command(self, name: str) -> list[str]:
        """Of ENTRYPOINT, CMD or HEALTHCHECK."""
        value = self.config.last(name)
        parsed: list[str] = json.loads(value[value.index("[") :])
        return parsed


def build(folder: Path) -> Image:
    """Run the Dockerfile's steps. Raises CalledProcessError, with what the step printed."""
    first, last = stages((ROOT / "Dockerfile").read_text())
    files = folder / "files"
    files.mkdir(parents=True)
    script = _script(folder) + "".join(
        f"\nbegan=$(date +%s%N)\n{_step(step, first)}\n"
        f'echo {shlex.quote(f"{step.name} {step.value}")} "$(( ($(date +%s%N) - began) / 1000000 ))" >> {folder}/times'
        for step in first.steps
    )
    for step in last.steps:
        if step.name == "COPY":
            source = step.value.removeprefix(f"--from={first.name} ").split()[0]
            script += f"\ncp -a $root{source} {files}/"
    env = (
        os.environ
        | _LIBRARIES
        | first.args
        | first.env
        | {"PATH": "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"}
    )
    for name in ("PYTHONPATH", "VIRTUAL_ENV", "PYENV_VERSION"):
        env.pop(name, None)
    subprocess.run(
        [*_UNSHARE, "bash", "-c", script],
        env=env,
        cwd=ROOT,
        check=True,
        text=True,
        capture_output=True,
    )
    lines = (line.rsplit(" ", 1) for line in (folder / "times").read_text().splitlines())
    return Image(files, last, {step: int(ms) / 1000 for step, ms in lines})


def _script(folder: Path) -> str:
    return _ROOT_FS.format(work=shlex.quote(str(folder)), python=shlex.quote(str(base_python())))


def _step(step: Instruction, stage: Stage) -> str:
    """One instruction as shell."""
    if step.name == "WORKDIR":
        return f"mkdir -p $root{step.value}; workdir={step.value}"
    if step.name == "COPY":
        *sources, target = step.value.split()
        place = f"$root{target}" if target.startswith("/") else f"$root$workdir/{target}"
        return f"cp -R {' '.join(sources)} {place}"
    if step.name == "RUN":
        return f"chroot $root sh -c {shlex.quote(f'cd $0 && {step.value}')} $workdir"
    assert step.name == "ENV", f"{step.name}: not known here"
    return ":"


@contextmanager
def container(
    image: Image, folder: Path, argv: list[str] | None = None, env: dict[str, str] | None = None
) -> Iterator["Container"]:
    """Run `argv` (or ENTRYPOINT and CMD) as `docker run --read-only --tmpfs /tmp` does; killed at the end if it still runs."""
    uid = image.config.last("USER").split(":")[0]
    given = _LIBRARIES | image.config.env | (env or {})
    argv = argv or image.command("ENTRYPOINT") + image.command("CMD")
    script = (
        _script(folder)
        + f"""
mkdir $root/app && mount --bind {shlex.quote(str(image.files / "app"))} $root/app
mount -o remount,bind,ro $root/app && mount -o remount,bind,ro $root/usr/local
mount -t proc proc $root/proc
mount -o remount,ro $root && mount -t tmpfs tmpfs $root/tmp
exec chroot $root setpriv --reuid={uid} --regid={uid} --clear-groups --no-new-privs --bounding-set=-all \\
  env -i --chdir=/tmp {shlex.join(f"{name}={value}" for name, value in given.items())} {shlex.join(argv)}
"""
    )
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "log").open("w") as log:
        launcher = subprocess.Popen(
            [*_UNSHARE, "--pid", "--fork", "--kill-child", "bash", "-c", script],
            stdout=log,
            stderr=log,
        )
        try:
            yield Container(launcher, folder / "log", given)
        finally:
            end(launcher)


def children(process: subprocess.Popen[bytes]) -> list[int]:
    """Its child processes."""
    return [
        int(pid)
        for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    ]


def end(launcher: subprocess.Popen[bytes]) -> None:
    """Kill PID 1 inside, and with it everything there; the launcher's end is then that of all of them."""
    if launcher.poll() is None:
        for pid in children(launcher):
            os.kill(pid, signal.SIGKILL)
        launcher.wait(10)


class Container:
    """A running one."""

    def __init__(self, launcher: subprocess.Popen[bytes], log: Path, env: dict[str, str]) -> None:
        self._launcher = launcher
        self._log = log
        self.env = env

    @property
    def log(self) -> str:
        """What it printed."""
        return self._log.read_text()

    @property
    def pid(self) -> int:
        """Its PID 1, as this machine numbers it."""
        self.until(lambda: bool(children(self._launcher)))
        return children(self._launcher)[0]

    def signal(self, number: int) -> None:
        """To its PID 1."""
        os.kill(self.pid, number)

    def wait(self, limit_s: float) -> int:
        """Its exit status."""
        return self._launcher.wait(limit_s)

    def exec(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        """As `docker exec`, as its user."""
        env = [f"{name}={value}" for name, value in self.env.items()]
        entering = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--root", "--wd=/"]
        entering += [
            "setpriv",
            "--reuid=65532",
            "--regid=65532",
            "--clear-groups",
            "env",
            "-i",
            *env,
        ]
        return subprocess.run(
            [*entering, *command], check=False, text=True, capture_output=True, timeout=30
        )

    def until(self, condition: Callable[[], bool], limit_s: float = 60.0) -> float:
        """Seconds until it is so."""
        began = time.perf_counter()
        while not condition():
            assert self._launcher.poll() is None, self.log
            assert time.perf_counter() - began < limit_s, self.log
            time.sleep(0.02)
        return time.perf_counter() - began

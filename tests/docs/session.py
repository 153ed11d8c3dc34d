"""Runs what a document shows being typed, on free ports, and compares what is printed with what is shown."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Self

import pytest

from tests.docs.guides import ROOT

LEFT_OUT = "…"
"""Stands for anything within a line; a line of it for any number of lines."""
PATIENCE_S = 40.0
_STOP_S = 15.0
_TOOLS = """
python() {{ {python} "$@"; }}
prefix-router() {{
  if [ "$1" = workers ]; then shift; set -- workers --router http://127.0.0.1:{port} "$@"; fi
  python -m router "$@"
}}
"""


class Session:
    """A shell in `folder` whose programs listen on `ports` instead of those that are shown. What it leaves running is
    ended with it.
    """

    def __init__(self, folder: Path, prelude: str, ports: Mapping[int, int], router: int) -> None:
        self._folder = folder
        self._ports = {str(shown): str(port) for shown, port in ports.items()}
        tools = _TOOLS.format(python=sys.executable, port=ports[router])
        self._prelude = tools + self.here(prelude)
        self._environment = {
            **{name: value for name, value in os.environ.items() if "PREFIX_ROUTER" not in name},
            "PYTHONPATH": str(ROOT),
            "PREFIX_ROUTER_PORT": str(ports[router]),
        }
        self._running: list[subprocess.Popen[bytes]] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        for process in self._running:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGINT)
        for process in self._running:
            try:
                process.wait(_STOP_S)
            except subprocess.TimeoutExpired:
                os.killpg(process.pid, signal.SIGKILL)
                process.wait()

    def here(self, text: str) -> str:
        """The text with the ports of this session."""
        for shown, port in self._ports.items():
            text = re.sub(rf"(?<!\d){shown}(?!\d)", port, text)
        return text

    def run(self, command: str, shown: str, *, again: bool) -> None:
        """Type it. Fails when it does not print what is shown; `again`: in the end, as what it looks at takes time."""
        command = self.here(command)
        if command.endswith("&"):
            self._start(command.removesuffix("&"))
            return
        wanted = re.compile(_pattern(self.here(shown)))
        ends = time.monotonic() + PATIENCE_S
        while not wanted.fullmatch(printed := _plain(self._output(command))):
            if not again or time.monotonic() > ends:
                pytest.fail(f"\n\n$ {command}\n{printed}")
            time.sleep(0.3)

    def _output(self, command: str) -> str:
        return self._bash(command, stdout=subprocess.PIPE).communicate(timeout=60)[0].decode()

    def _start(self, command: str) -> None:
        before = set(filter(_is_taken, self._ports.values()))
        self._running.append(process := self._bash(command))
        ends = time.monotonic() + PATIENCE_S
        while set(filter(_is_taken, self._ports.values())) <= before:
            if process.poll() is not None or time.monotonic() > ends:
                pytest.fail(f"it did not start: {command}")
            time.sleep(0.1)

    def _bash(self, command: str, stdout: int | None = None) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            ["bash", "-c", self._prelude + command],
            cwd=self._folder,
            env=self._environment,
            stdout=stdout,
            start_new_session=True,
        )


def typed(block: str) -> Iterator[tuple[str, str]]:
    """Each command of a block, with what is shown to be printed."""
    for found in re.finditer(r"^\$ (.*)\n((?:(?!\$ ).*\n)*)", block, re.MULTILINE):
        yield found[1], found[2]


def _plain(text: str) -> str:
    return "".join(" ".join(line.split()) + "\n" for line in text.splitlines())


def _pattern(shown: str) -> str:
    return "".join(
        r"(?:.*\n)*?" if line == LEFT_OUT else _line(line) + r"\n"
        for line in _plain(shown).splitlines()
    )


def _line(shown: str) -> str:
    return ".*?".join(map(re.escape, shown.split(LEFT_OUT)))


def _is_taken(port: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", int(port))) == 0

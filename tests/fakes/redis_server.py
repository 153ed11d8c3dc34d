"""Real Redis and Valkey servers on loopback."""

import shlex
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from tests.fakes.ports import free_ports
from tests.fakes.redis_binaries import Flavour, binary

PATIENCE_S = 40.0
TRIES = 5
"""Another process may take a port between the look and the use."""
DEFAULTS = (
    "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--repl-diskless-sync-delay", "0",
)  # fmt: skip

_held: set[int] = set()
"""Ports of this process's servers; also of killed ones, which may be started again."""


class _PortTakenError(Exception):
    """By another process."""


@dataclass(slots=True)
class Server:
    """A process with a folder of its own. `ports` are by option, as in {"--port": 18100}."""

    command: list[str]
    folder: Path
    ports: dict[str, int] = field(default_factory=dict)
    _process: subprocess.Popen[bytes] | None = None

    @property
    def port(self) -> int:
        return self.ports["--port"]

    @property
    def url(self) -> str:
        """Without TLS and password."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def process(self) -> subprocess.Popen[bytes]:
        assert self._process is not None, "not started"
        return self._process

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self._process is not None and self._process.poll() is None

    @property
    def log(self) -> str:
        """What it wrote since it was last started."""
        return (self.folder / "log").read_text(errors="replace")

    def kill(self) -> None:
        """SIGKILL; it is gone on return."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def stop(self) -> None:
        """SIGSTOP: connections stay open and are not answered, until `go_on`."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        """SIGCONT."""
        self.process.send_signal(signal.SIGCONT)

    def restart(self) -> None:
        """Again on the same ports, without data. What it knows of its cluster it still knows."""
        self.kill()
        for dump in self.folder.glob("*.rdb"):  # a replica's, from its master
            dump.unlink()
        self._start()

    def start_on_free_ports(self, options: Sequence[str]) -> None:
        """Each of `options` gets a port. Raises AssertionError with the log when it does not start."""
        for _ in range(TRIES):
            self._give_back_ports()
            self.ports = dict(zip(options, self._choose(len(options)), strict=True))
            _held.update(self.ports.values())
            try:
                return self._start()
            except _PortTakenError:
                continue
        raise AssertionError(f"others take the ports: {self.log}")

    def close(self) -> None:
        self.kill()
        self._give_back_ports()

    def _choose(self, count: int) -> list[int]:
        avoided = _held | {int(word) for word in self.command if word.isdecimal()}
        free = free_ports(count + len(avoided))
        return [port for port in free if port not in avoided][:count]

    def _give_back_ports(self) -> None:
        _held.difference_update(self.ports.values())

    def _start(self) -> None:
        ports = [word for option, port in self.ports.items() for word in (option, str(port))]
        executable, *words = self.command
        with (self.folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [executable, "server.conf", *DEFAULTS, *ports, *words],
                cwd=self.folder,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
            )
        until("the server starts", self._is_ready)

    def _is_ready(self) -> bool:
        """By its log: an answer on the port could be another process's, or ask for a password."""
        alive, log = self.alive, self.log
        if not alive and "already in use" in log:
            raise _PortTakenError
        assert alive, log
        sentinel = "--sentinel" in self.command
        return ("Sentinel ID is" if sentinel else "eady to accept connections") in log


def until(what: str, done: Callable[[], bool], patience_s: float = PATIENCE_S) -> None:
    """Raises AssertionError when it takes longer than `patience_s`."""
    end = time.monotonic() + patience_s
    while not done():
        assert time.monotonic() < end, f"not in {patience_s} s: {what}"
        time.sleep(0.02)


@contextmanager
def server(
    flavour: Flavour, *arguments: str, ports: Sequence[str] = ("--port",)
) -> Iterator[Server]:
    """A server that accepts connections; it keeps nothing behind.

    `arguments` are options as on its command line, "--maxmemory 10mb" or "--maxmemory", "10mb".
    Each option in `ports` gets a free port.
    """
    with tempfile.TemporaryDirectory(prefix="redis-", ignore_cleanup_errors=True) as folder:
        (Path(folder) / "server.conf").touch()
        started = Server([str(binary(flavour)), *_words(arguments)], Path(folder))
        try:
            started.start_on_free_ports(ports)
            yield started
        finally:
            started.close()


def _words(arguments: Iterable[str]) -> Iterator[str]:
    for argument in arguments:
        yield from shlex.split(argument) if argument.startswith("--") else (argument,)


@contextmanager
def redis_server() -> Iterator[str]:
    """The URL of a Valkey, which is to a client what a Redis is."""
    with server("valkey") as started:
        yield started.url

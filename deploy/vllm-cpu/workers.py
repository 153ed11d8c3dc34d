#!/usr/bin/env python3
"""Runs real vLLM workers on this machine's CPU, one core each, in the engine setup.sh made.

usage: workers.py run [--ports 8001,8002] [--model small|tiny] [--kv-mb 256] [--vllm="ARGS"] [-- COMMAND…]

Starts one worker per port, all at once, and waits until every one answers /health (about 30 s).
Then runs COMMAND and stops the workers when it ends, with its exit code; without COMMAND they run
until Ctrl-C. Standard library only: any Python 3.11 runs it, and tests import it.
"""

import argparse
import contextlib
import http.client
import os
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import ClassVar

HERE = Path(__file__).resolve().parent
START_TIMEOUT_S = 240.0
STOP_TIMEOUT_S = 15.0
POLL_S = 0.2
LOG_TAIL_LINES = 25


class WorkerError(Exception):
    """A server did not come up; the message holds the end of its log."""


@dataclass(frozen=True, slots=True)
class WorkerSpec:
    """What to start: `model` is a folder made by make_model.py, `kv_mb` the prefix cache in MiB of each of its `ranks`."""

    port: int
    model: str = "small"
    kv_mb: int = 256
    max_model_len: int = 8192
    ranks: int = 1
    extra_args: tuple[str, ...] = ()

    @property
    def served_name(self) -> str:
        """The name clients put in `model`."""
        return f"{self.model}-qwen3"


@dataclass(frozen=True, slots=True)
class Server:
    """A started program that answers HTTP, with all its processes in one group."""

    health_path: ClassVar[str] = "/health"

    port: int
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def id(self) -> str:
        """`host:port`, which is how the router names a worker."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """Base URL, without a trailing slash."""
        return f"http://{self.id}"

    def healthy(self) -> bool:
        """Tell whether it answers `health_path` with 200 within two seconds."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=2)
        try:
            connection.request("GET", self.health_path)
            return connection.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False
        finally:
            connection.close()

    def kill(self) -> None:
        """End the whole group at once, as a crash of the machine would."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()


@dataclass(frozen=True, slots=True)
class Worker(Server):
    """A started worker: API server, engine core and model runner."""

    spec: WorkerSpec


def engine_dir() -> Path:
    """Return the folder setup.sh installs into."""
    return Path(os.environ.get("ENGINE_DIR") or HERE.parents[1] / ".engine").resolve()


def start(spec: WorkerSpec, index: int = 0) -> Worker:
    """Start one worker, on core number `index` and the next ones modulo those there are; does not wait for it."""
    command = ["vllm", "serve", str(engine_dir() / "model" / spec.model), *_arguments(spec)]
    return Worker(
        spec.port, *spawn(command, f"worker-{spec.port}", _environment(spec, index)), spec
    )


def spawn(
    command: Sequence[str], name: str, environment: Mapping[str, str]
) -> tuple[subprocess.Popen[bytes], Path]:
    """Start a program of the engine's; returns it and its log, `name`.log."""
    home = engine_dir()
    program = home / "venv/bin" / command[0]
    if not program.exists():
        raise WorkerError(f"no {program}: run {HERE / 'setup.sh'}")
    log = home / "logs" / f"{name}.log"
    log.parent.mkdir(exist_ok=True)
    arguments = [str(program), *command[1:]]
    if setpriv := shutil.which("setpriv"):  # it must not outlive a parent that was killed
        arguments = [setpriv, "--pdeathsig", "TERM", *arguments]
    with log.open("wb") as out:
        process = subprocess.Popen(
            arguments,
            env=os.environ | environment,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    return process, log


def _arguments(spec: WorkerSpec) -> list[str]:
    options = {
        "--host": "127.0.0.1",
        "--port": spec.port,
        "--served-model-name": spec.served_name,
        "--dtype": "bfloat16",
        "--max-model-len": spec.max_model_len,
        "--max-num-seqs": 16,
        "--data-parallel-size": spec.ranks,
        "--max-num-batched-tokens": 512,  # keeps an engine step near 0.2 s on one core
        "--block-size": 32,  # attention on CPU takes multiples of 32 only
        "--kv-cache-memory-bytes": spec.kv_mb << 20,
        "--tool-call-parser": "hermes",
    }
    flags = [
        "--enforce-eager",
        "--enable-prefix-caching",
        "--enable-prompt-tokens-details",  # usage.prompt_tokens_details.cached_tokens
        "--enable-request-id-headers",
        "--enable-auto-tool-choice",
        "--disable-uvicorn-access-log",
    ]
    return [*(str(part) for pair in options.items() for part in pair), *flags, *spec.extra_args]


def _environment(spec: WorkerSpec, index: int) -> dict[str, str]:
    cores = sorted(os.sched_getaffinity(0))
    each = [str(cores[(index + rank) % len(cores)]) for rank in range(spec.ranks)]
    return {
        "PYTHONPATH": str(HERE / "site"),
        "ENGINE_POLL_US": os.environ.get("ENGINE_POLL_US", "50"),
        "VLLM_CPU_OMP_THREADS_BIND": "|".join(each),
        "VLLM_HOST_IP": "127.0.0.1",
        "GLOO_SOCKET_IFNAME": "lo",
        "HF_HUB_OFFLINE": "1",
        "TRANSFORMERS_OFFLINE": "1",
        "VLLM_NO_USAGE_STATS": "1",
    }


def wait_healthy(servers: Sequence[Server], timeout_s: float = START_TIMEOUT_S) -> None:
    """Return when all are healthy; raise WorkerError when one exits or the time is over."""
    deadline = time.monotonic() + timeout_s
    waiting = list(servers)
    while waiting := [server for server in waiting if not server.healthy()]:
        for server in waiting:
            if server.process.poll() is not None:
                raise WorkerError(f"{server.id} exited: {_tail(server.log)}")
        if time.monotonic() > deadline:
            raise WorkerError(
                f"{waiting[0].id} not up in {timeout_s:.0f} s: {_tail(waiting[0].log)}"
            )
        time.sleep(POLL_S)


def _tail(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()[-LOG_TAIL_LINES:]
    return "\n".join([f"the end of {log} is", *lines])


def stop(servers: Sequence[Server]) -> None:
    """Stop all of them: politely first, by force what is left after STOP_TIMEOUT_S."""
    for server in servers:
        server.process.terminate()
    deadline = time.monotonic() + STOP_TIMEOUT_S
    for server in servers:
        with contextlib.suppress(subprocess.TimeoutExpired):
            server.process.wait(max(0.0, deadline - time.monotonic()))
        server.kill()


@contextlib.contextmanager
def running(specs: Sequence[WorkerSpec]) -> Iterator[list[Worker]]:
    """Start workers side by side, yield them healthy, stop them at the end."""
    workers: list[Worker] = []
    try:
        for index, spec in enumerate(specs):
            workers.append(start(spec, index))
        wait_healthy(workers)
        yield workers
    finally:
        stop(workers)


def run(specs: Sequence[WorkerSpec], command: Sequence[str]) -> int:
    """Keep workers up while `command` runs, or until a signal; return its exit code."""
    began = time.monotonic()
    with running(specs) as workers:
        took = time.monotonic() - began
        print(f"{len(workers)} vLLM workers up after {took:.0f} s", file=sys.stderr)
        for worker in workers:
            print(f"  {worker.url}  {worker.spec.served_name}  {worker.log}", file=sys.stderr)
        if command:
            return _run_command(command)
        signal.pause()
    return 0


def _run_command(command: Sequence[str]) -> int:
    process = subprocess.Popen(command)
    try:
        return process.wait()
    finally:
        process.terminate()
        process.wait()


def _terminated(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + signal.SIGTERM)


def main(argv: Sequence[str]) -> int:
    """Run the command line; return the exit code."""
    split = argv.index("--") if "--" in argv else len(argv)
    parser = argparse.ArgumentParser(usage=(__doc__ or "").split("usage: ")[1].split("\n\n")[0])
    parser.add_argument("action", choices=["run"])
    parser.add_argument("--ports", default="8001,8002", help="one worker per port")
    parser.add_argument("--model", choices=["small", "tiny"], default="small")
    parser.add_argument("--kv-mb", type=int, default=256, help="prefix cache of each worker, MiB")
    parser.add_argument("--vllm", default="", help="more arguments for `vllm serve`")
    options = parser.parse_args(argv[:split])
    extra = tuple(shlex.split(options.vllm))
    specs = [
        WorkerSpec(int(port), options.model, options.kv_mb, extra_args=extra)
        for port in options.ports.split(",")
    ]
    signal.signal(signal.SIGTERM, _terminated)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's & would have it ignored
    try:
        return run(specs, argv[split + 1 :])
    except WorkerError as error:
        print(f"workers.py: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 128 + signal.SIGINT


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

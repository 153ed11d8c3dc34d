"""What real vLLM does when it drains, sleeps, hangs or loses its engine, and that no request is lost over it."""

import json
import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.e2e.harness import MODEL, Answer, Router, ask, router_process, send, wait_until
from tests.e2e.test_engine_dead_worker import rest_of
from tests.fakes.ports import free_ports

pytestmark = [pytest.mark.engine, pytest.mark.timeout(240)]

NOTICED_WITHIN_S = 30.0
CONFIG = "health_interval_s: 0.5\nhealth_timeout_s: 1\nmodels_interval_s: 1\n"


@pytest.fixture(scope="module")
def patient(engine: ModuleType) -> Iterator[Any]:
    """A worker that things are done to that it survives."""
    with _worker(engine) as worker:
        yield worker


@pytest.fixture(scope="module")
def routed(
    patient: Any, engine_workers: list[Any], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Router]:
    with _routed([patient, engine_workers[0]], tmp_path_factory.mktemp("faults")) as router:
        yield router


@contextmanager
def _worker(engine: ModuleType, *extra: str) -> Iterator[Any]:
    spec = engine.WorkerSpec(free_ports(1)[0], kv_mb=64, extra_args=extra)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("VLLM_SERVER_DEV_MODE", "1")
        with engine.running([spec]) as workers:
            yield workers[0]


@contextmanager
def _routed(workers: list[Any], folder: Path) -> Iterator[Router]:
    config = folder / "router.yaml"
    config.write_text(CONFIG)
    urls = [worker.url for worker in workers]
    with router_process(urls, folder, "--config", str(config)) as router:
        becomes(router, workers[0], "up")
        yield router


def state(router: Router, worker: Any) -> str:
    listed = {entry["id"]: entry for entry in router.workers()["workers"]}
    return str(listed[worker.id]["state"])


def inflight(router: Router, worker: Any) -> int:
    listed = {entry["id"]: entry for entry in router.workers()["workers"]}
    return int(listed[worker.id]["inflight"])


def becomes(router: Router, worker: Any, wanted: str) -> None:
    wait_until(lambda: state(router, worker) == wanted, NOTICED_WITHIN_S, f"state {wanted}")


def endless(prompt: str, tokens: int) -> dict[str, Any]:
    usual = {"model": MODEL, "max_tokens": tokens, "ignore_eos": True, "stream": True}
    return usual | {"prompt": prompt}


class Traffic:
    """Asks for short answers one after another, as long as the block runs."""

    def __init__(self, router: Router) -> None:
        self.answers: list[Answer] = []
        self._router = router
        self._over = threading.Event()
        self._threads = [threading.Thread(target=self._run, args=(n,)) for n in range(3)]

    def __enter__(self) -> "Traffic":
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._over.set()
        for thread in self._threads:
            thread.join()

    def _run(self, number: int) -> None:
        asked = 0
        while not self._over.is_set():
            asked += 1
            body = {"model": MODEL, "prompt": f"{number} asks {asked}", "max_tokens": 2}
            self.answers.append(ask(self._router.url, "/v1/completions", body))

    def more(self, count: int) -> None:
        """Wait for so many more answers."""
        wanted = len(self.answers) + count
        wait_until(lambda: len(self.answers) >= wanted, 60, "more answers")

    @property
    def statuses(self) -> set[int]:
        return {answer.status for answer in self.answers}


def begun(router: Router, worker: Any, tokens: int) -> Any:
    """A stream that has begun at `worker`."""
    stream = send(
        router.url, "/v1/completions", endless("hello", tokens), {"x-router-worker": worker.id}
    )
    while b"data: " not in stream.recv(65536):
        pass
    return stream


def test_a_worker_that_drains(
    engine: ModuleType, engine_workers: list[Any], tmp_path: Path
) -> None:
    """Its stream runs to its end; everything new goes elsewhere, though `/health` says that all is well."""
    with (
        _worker(engine, "--shutdown-timeout", "30") as doomed,
        _routed([doomed, engine_workers[0]], tmp_path) as router,
        Traffic(router) as traffic,
        begun(router, doomed, 500) as stream,
    ):
        traffic.more(10)
        os.kill(doomed.process.pid, signal.SIGTERM)
        becomes(router, doomed, "draining")
        traffic.more(30)
        rest = rest_of(stream)
        becomes(router, doomed, "down")
        traffic.more(10)
    assert b"data: [DONE]" in rest
    assert b'"error"' not in rest
    assert traffic.statuses == {200}


@pytest.mark.parametrize(
    ("control", "back", "called"),
    [("/pause?mode=keep", "/resume", "paused"), ("/sleep?level=1", "/wake_up", "asleep")],
)
def test_a_worker_that_does_not_work(
    routed: Router, patient: Any, control: str, back: str, called: str
) -> None:
    """Requests would wait there without a word: they go elsewhere until it is back."""
    assert ask(patient.url, control).status == 200
    becomes(routed, patient, called)
    with Traffic(routed) as traffic:
        traffic.more(20)
    assert traffic.statuses == {200}
    assert patient.id not in {answer.header("x-router-worker") for answer in traffic.answers}
    assert ask(patient.url, back).status == 200
    becomes(routed, patient, "up")


def test_a_worker_that_hangs(routed: Router, patient: Any) -> None:
    """What it had not begun to answer is answered by another; what it had ends with an error."""
    group = os.getpgid(patient.process.pid)
    with begun(routed, patient, 7000) as stream, Traffic(routed) as traffic:
        traffic.more(10)
        os.killpg(group, signal.SIGSTOP)
        try:
            becomes(routed, patient, "down")
            traffic.more(10)
            rest = rest_of(stream)
        finally:
            os.killpg(group, signal.SIGCONT)
        becomes(routed, patient, "up")
    assert traffic.statuses == {200}
    assert b"[DONE]" not in rest
    assert b"has gone silent" in rest


def test_a_worker_that_loses_its_engine(
    engine: ModuleType,
    engine_workers: list[Any],
    tmp_path: Path,
    kill_engine: Callable[[Any], None],
) -> None:
    """vLLM ends the stream with an error and `[DONE]`: that is a failure, and nobody else's."""
    with (
        _worker(engine) as doomed,
        _routed([doomed, engine_workers[0]], tmp_path) as router,
        Traffic(router) as traffic,
    ):
        with begun(router, doomed, 7000) as stream:
            traffic.more(10)
            kill_engine(doomed)
            rest = rest_of(stream)
        traffic.more(10)
        becomes(router, doomed, "down")
        traffic.more(10)
        wait_until(
            lambda: any(line["outcome"] == "upstream_error" for line in router.requests()),
            5.0,
            "the log line of the stream that failed",
        )
    assert traffic.statuses == {200}
    assert b'"code": 500' in rest or b"connection" in rest


@pytest.fixture
def kill_engine() -> Callable[[Any], None]:
    """Kills the process that computes, and leaves the one that serves HTTP."""

    def kill(worker: Any) -> None:
        for pid in _descendants(worker.process.pid):
            if "EngineCore" in Path(f"/proc/{pid}/comm").read_text() + _title(pid):
                os.kill(pid, signal.SIGKILL)
                return
        raise AssertionError("no EngineCore")

    return kill


def _title(pid: int) -> str:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace")


def _descendants(pid: int) -> list[int]:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return [each for child in map(int, children) for each in (child, *_descendants(child))]


def test_an_operator_drains_a_worker(routed: Router, patient: Any) -> None:
    with Traffic(routed) as traffic, begun(routed, patient, 1500) as stream:
        traffic.more(5)
        answer = ask(routed.url, f"/workers/{patient.id}/drain", b"{}")
        assert json.loads(answer.body)["state"] == "draining"
        wait_until(lambda: inflight(routed, patient) == 1, 30, "only the stream left")
        count = len(traffic.answers) + 3
        traffic.more(20)
        assert b"[DONE]" in rest_of(stream)
        assert patient.id not in {a.header("x-router-worker") for a in traffic.answers[count:]}
        answer = ask(routed.url, f"/workers/{patient.id}/undrain", b"{}")
        assert json.loads(answer.body)["state"] == "up"
    assert traffic.statuses == {200}

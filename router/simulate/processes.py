"""Runs side by side, each in a process of its own."""

import logging
import multiprocessing
import os
import signal
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import contextmanager
from typing import Any, Self, TypeVar

from router.simulate.scenario import Task
from router.simulate.workload import Workload

T = TypeVar("T")
Function = Callable[[Workload, Task], T]


def available_cores() -> int:
    """How many this process may use."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on Linux
        return os.cpu_count() or 1


class Processes:
    """Applies functions to one workload, in `jobs` processes; with one job in this process.

    A context manager: leaving it ends the processes, at once if it is left by an exception.
    """

    def __init__(self, workload: Workload, jobs: int) -> None:
        self._workload = workload
        self._executor: ProcessPoolExecutor | None = None
        self._others = set(multiprocessing.active_children())
        if jobs > 1:
            self._executor = ProcessPoolExecutor(
                jobs, multiprocessing.get_context("spawn"), _begin, (workload,)
            )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self._executor is None:
            return
        if kind is not None:
            for child in set(multiprocessing.active_children()) - self._others:
                child.terminate()
        self._executor.shutdown(cancel_futures=True)

    def map(self, function: Function[T], tasks: Sequence[Task]) -> Iterator[T]:
        """The results in the order of the tasks. What is no longer asked for is not begun.

        `function` is one of a module's own. What it raises is raised here.
        """
        if self._executor is None:
            return (function(self._workload, task) for task in tasks)
        with _interrupts_held():  # processes start here
            return _results([self._executor.submit(_apply, function, task) for task in tasks])


def _results(futures: Sequence[Future[T]]) -> Iterator[T]:
    try:
        for future in futures:
            yield future.result()
    finally:
        for future in futures:
            future.cancel()


@contextmanager
def _interrupts_held() -> Iterator[None]:
    """Ctrl-C comes after this. It is never for processes that are started meanwhile: the parent ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_workload: Workload | None = None
"""What this process works on: sent once, since it can be large."""


def _begin(workload: Workload) -> None:
    global _workload  # noqa: PLW0603 - an initializer has no other place to leave things
    _workload = workload
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_follow_parent, daemon=True).start()
    logging.getLogger("router").setLevel(logging.ERROR)


@contextmanager
def quiet() -> Iterator[None]:
    """Workers that fail in a simulation are no news."""
    logger = logging.getLogger("router")
    before = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(before)


def _follow_parent() -> None:
    """Without its parent this process would wait for work forever."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()
        os._exit(1)


def _apply(function: Function[Any], task: Task) -> Any:
    assert _workload is not None
    return function(_workload, task)

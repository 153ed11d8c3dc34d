"""What the command line says, made into values; mistakes in one line that says what would be right."""

import math
from collections.abc import Iterable, Sequence
from difflib import get_close_matches
from pathlib import Path

import click

from router.routing.registry import POLICIES
from router.simulate.generators import GENERATORS
from router.simulate.hardware import PRESETS, Hardware
from router.simulate.run_options import Outage
from router.simulate.scenario import KNOWLEDGE, SHARING
from router.simulate.traces import TraceError, load_trace
from router.simulate.workload import Workload


class Mistake(click.ClickException):
    """The command line, or the trace that it names, is wrong."""

    exit_code = 2


def workload(trace: str, seed: int, block_tokens: int | None = None) -> Workload:
    """The generator of that name, else the file. `block_tokens` is for files only."""
    if trace in GENERATORS:
        if block_tokens is not None:
            raise Mistake("--block-tokens is for trace files, not for generators")
        return GENERATORS[trace](seed)
    path = Path(trace)
    if not path.exists():
        hint = _hint(trace, GENERATORS)
        raise Mistake(f"{trace}: no such file, and no generator of that name{hint}")
    try:
        return load_trace(path, block_tokens=block_tokens)
    except TraceError as error:
        raise Mistake(str(error)) from None
    except OSError as error:
        raise Mistake(f"{trace}: {error.strerror}") from None


def hardware(name: str) -> Hardware:
    """The preset called `name`."""
    return PRESETS[_known("--hardware", name, PRESETS)]


def policies(text: str) -> list[str]:
    """Names of policies with commas between; each once."""
    return [_known("--policy", name, POLICIES) for name in _parts("--policy", text)]


def knowledge(name: str) -> str:
    """What the index goes by."""
    return _known("--knowledge", name, KNOWLEDGE)


def sharing(name: str) -> str:
    """What several routers share."""
    return _known("--sharing", name, SHARING)


def at_least_1(option: str, number: int | None) -> None:
    """A count, if it is given."""
    if number is not None and number < 1:
        raise Mistake(f"{option}: {number} is not at least 1")


def numbers(option: str, text: str) -> list[float]:
    """Positive numbers with commas between; each once."""
    return list(dict.fromkeys(positive(option, part) for part in _parts(option, text)))


def positive(option: str, text: str) -> float:
    """A positive number."""
    number = _number(option, text)
    if number <= 0:
        raise Mistake(f"{option}: {text} is not above 0")
    return number


def slow(texts: Iterable[str], workers: int) -> dict[int, float]:
    """Speeds by worker, from `N=SPEED`."""
    speeds = {}
    for text in texts:
        worker, speed = _assigned("--slow", text, workers, "N=SPEED")
        speeds[worker] = positive("--slow", speed)
    return speeds


def outages(texts: Iterable[str], workers: int) -> tuple[Outage, ...]:
    """Outages from `N=START:END`, in order. At no time are all workers down, or one of them twice."""
    found = []
    for text in texts:
        worker, times = _assigned("--outage", text, workers, "N=START:END")
        start, colon, end = times.partition(":")
        if not colon:
            raise Mistake(f"--outage: {text!r} is not N=START:END")
        outage = Outage(worker, _number("--outage", start), _number("--outage", end))
        if outage.start_s < 0:
            raise Mistake(f"--outage: {text!r} does not begin at 0 s or later")
        if outage.end_s <= outage.start_s:
            raise Mistake(f"--outage: {text!r} does not end after it begins")
        found.append(outage)
    found.sort(key=lambda outage: outage.start_s)
    _check_together(found, workers)
    return tuple(found)


def _check_together(found: Sequence[Outage], workers: int) -> None:
    for begun in found:
        down = [other.worker for other in found if other.start_s <= begun.start_s < other.end_s]
        if down.count(begun.worker) > 1:
            raise Mistake(f"--outage: worker {begun.worker} is down twice at {begun.start_s:g} s")
        if len(down) == workers:
            raise Mistake(f"--outage: all workers are down at {begun.start_s:g} s")


def _assigned(option: str, text: str, workers: int, form: str) -> tuple[int, str]:
    number, equals, value = text.partition("=")
    if not equals or not number.strip().isdecimal():
        raise Mistake(f"{option}: {text!r} is not {form}")
    worker = int(number)
    if worker >= workers:
        raise Mistake(f"{option}: no worker {worker}; they are 0 to {workers - 1}")
    return worker, value


def _parts(option: str, text: str) -> list[str]:
    parts = list(dict.fromkeys(part.strip() for part in text.split(",") if part.strip()))
    if not parts:
        raise Mistake(f"{option}: nothing is given")
    return parts


def _number(option: str, text: str) -> float:
    try:
        number = float(text)
    except ValueError:
        raise Mistake(f"{option}: {text!r} is not a number") from None
    if not math.isfinite(number):
        raise Mistake(f"{option}: {text!r} is not a finite number")
    return number


def _known(option: str, name: str, names: Iterable[str]) -> str:
    names = tuple(names)
    if name in names:
        return name
    raise Mistake(f"{option}: {name!r} is none of {', '.join(names)}{_hint(name, names)}")


def _hint(name: str, names: Iterable[str]) -> str:
    close = get_close_matches(name, list(names), 1, 0.5)
    return f"; did you mean {close[0]!r}?" if close else ""

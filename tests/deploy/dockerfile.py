"""Reads a Dockerfile: as much of its language as this project's uses, and no more."""

import re
import shlex
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

_VARIABLE = re.compile(r"\$\{(\w+)\}|\$(\w+)")


@dataclass(frozen=True, slots=True)
class Instruction:
    """One instruction, its lines joined: `RUN`, and what stands behind it."""

    name: str
    value: str


@dataclass(slots=True)
class Stage:
    """What one FROM begins."""

    base: str
    name: str | None
    steps: list[Instruction] = field(default_factory=list)
    env: dict[str, str] = field(default_factory=dict)
    args: dict[str, str] = field(default_factory=dict)

    def last(self, name: str) -> str:
        """The value of the last instruction of that name."""
        return next(step.value for step in reversed(self.steps) if step.name == name)


def instructions(text: str) -> Iterator[Instruction]:
    """Without comments and continuation lines."""
    joined = ""
    for line in text.splitlines():
        if line.lstrip().startswith("#") or not line.strip():
            continue
        joined += line.rstrip("\\") if line.endswith("\\") else line
        if not line.endswith("\\"):
            name, _, value = joined.partition(" ")
            yield Instruction(name.upper(), " ".join(value.split()))
            joined = ""


def expand(value: str, variables: Mapping[str, str]) -> str:
    """As Docker does with ARG and ENV."""
    return _VARIABLE.sub(lambda found: variables.get(found[1] or found[2], ""), value)


def pairs(value: str) -> dict[str, str]:
    """Of `A=b C="d e"`."""
    return dict(part.split("=", 1) for part in shlex.split(value))


def stages(text: str) -> list[Stage]:
    """The stages in order, with the values that ARG and ENV give."""
    given: dict[str, str] = {}
    found: list[Stage] = []
    for step in instructions(text):
        if step.name == "FROM":
            base, _, name = expand(step.value, given).partition(" AS ")
            found.append(Stage(base, name or None))
        elif step.name == "ARG" and not found:
            given |= pairs(step.value)
        else:
            _take(found[-1], step)
    return found


def _take(stage: Stage, step: Instruction) -> None:
    known = stage.args | stage.env
    if step.name == "ARG":
        stage.args |= pairs(step.value)
    elif step.name in ("ENV", "LABEL"):
        value = expand(step.value, known)
        if step.name == "ENV":
            stage.env |= pairs(value)
        stage.steps.append(Instruction(step.name, value))
    else:
        stage.steps.append(step)

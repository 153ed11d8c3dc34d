"""The file of workers: read, checked, and explained line by line where it is wrong."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    ConfigDict,
    Field,
    StringConstraints,
    ValidationError,
    model_validator,
)

from router.config_file import ConfigurationError, no_such_setting, read_list
from router.fleet.target import EventPorts, Role, Target, worker_url
from router.fleet.worker import worker_id
from router.upstream.pool import Address


def _printable(text: str) -> str:
    if not text.isprintable():
        raise ValueError("must be printable")
    return text


_Url = Annotated[str, AfterValidator(worker_url)]
_Port = Annotated[int, Field(strict=True, ge=1, le=65535)]
_Text = Annotated[str, StringConstraints(min_length=1, max_length=253), AfterValidator(_printable)]


class _Entry(BaseModel):
    """A worker as the file has it."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    url: _Url
    name: _Text = ""
    models: list[_Text] = []
    role: Role = Role.BOTH
    drained: Annotated[bool, Field(strict=True)] = False
    kv_events_port: _Port | None = None
    kv_events_replay_port: _Port | None = None
    server_name: _Text = ""

    @model_validator(mode="after")
    def _replay_needs_events(self) -> Self:
        if self.kv_events_replay_port is not None and self.kv_events_port is None:
            raise ValueError("kv_events_replay_port needs a kv_events_port")
        return self

    def target(self) -> Target:
        """The worker."""
        port, replay = self.kv_events_port, self.kv_events_replay_port
        return Target(
            url=self.url,
            name=self.name,
            models=tuple(self.models),
            role=self.role,
            drained=self.drained,
            events=None if port is None else EventPorts(port, replay),
            server_name=self.server_name,
        )


def read(file: Path) -> tuple[Target, ...]:
    """The workers in `file`, in its order. Raises `ConfigurationError`."""
    items, lines = read_list(file)
    targets: list[Target] = []
    problems: list[str] = []
    for place, item in enumerate(items):
        try:
            targets.append(_entry(item).target())
        except ValidationError as error:
            details = error.errors(include_input=False, include_url=False)
            problems += [_problem(detail, place, file, lines) for detail in details]
        except ValueError as error:
            problems.append(f"{file}:{lines[str(place)]}: {error}")
    if not problems:
        problems = list(_repeated(targets, file, lines))
    if problems:
        raise ConfigurationError(problems)
    return tuple(targets)


def _entry(item: object) -> _Entry:
    if isinstance(item, str):
        return _Entry(url=item)
    if isinstance(item, dict):
        return _Entry.model_validate(item)
    raise ValueError("a worker is its URL, or a table with its `url`; text goes in quotes")


def _repeated(targets: Sequence[Target], file: Path, lines: Mapping[str, int]) -> Iterator[str]:
    """Entries that are one worker, which would be counted twice."""
    seen: dict[str, int] = {}
    for place, target in enumerate(targets):
        first = seen.setdefault(worker_id(Address.parse(target.url)), place)
        if first != place:
            other = f"{targets[first].url!r} on line {lines[str(first)]}"
            yield f"{file}:{lines[str(place)]}: {target.url!r} is the same worker as {other}"


def _problem(detail: Mapping[str, Any], place: int, file: Path, lines: Mapping[str, int]) -> str:
    """One line: where, what, why."""
    location = [str(part) for part in detail["loc"]]
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        message = no_such_setting(location[-1], _Entry.model_fields)
    ends = range(len(location), -1, -1)
    line = next(
        lines[where]
        for where in (".".join([str(place), *location[:end]]) for end in ends)
        if where in lines
    )
    return ": ".join(filter(None, (f"{file}:{line}", ".".join(location), message)))

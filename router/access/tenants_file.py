"""The file of tenants: read, checked, and explained line by line where it is wrong."""

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from router.access.keys import read as read_digest
from router.access.terms import Terms
from router.config_file import ConfigurationError, no_such_setting
from router.config_file import read as read_yaml

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")


def name_of(name: str) -> str:
    """The name, if it can be a tenant's. Raises ValueError."""
    if not _NAME.fullmatch(name):
        raise ValueError("a tenant's name has 1 to 64 letters, digits, `.`, `_` and `-`")
    return name


def _not_empty(pattern: str) -> str:
    if not pattern:
        raise ValueError("an empty pattern allows nothing")
    return pattern


def _digest(value: object) -> bytes:
    return read_digest(value if isinstance(value, str) else "")


TenantName = Annotated[str, AfterValidator(name_of)]
_Pattern = Annotated[str, AfterValidator(_not_empty)]
_Digest = Annotated[bytes, BeforeValidator(_digest)]
_Limit = Annotated[int, Field(gt=0, strict=True)]


class _Entry(BaseModel):
    """A tenant as the file has it."""

    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    keys: list[_Digest] = []
    models: list[_Pattern] = []
    requests_per_minute: _Limit | None = None
    tokens_per_minute: _Limit | None = None
    max_inflight: _Limit | None = None
    priority: Annotated[int, Field(strict=True, ge=-(10**9), le=10**9)] = 0
    trusted: Annotated[bool, Field(strict=True)] = False

    def terms(self) -> Terms:
        """What it says."""
        return Terms(
            frozenset(self.keys),
            tuple(self.models),
            self.requests_per_minute,
            self.tokens_per_minute,
            self.max_inflight,
            self.priority,
            self.trusted,
        )


class _File(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, hide_input_in_errors=True)

    tenants: dict[TenantName, _Entry]


def read(file: Path) -> dict[str, Terms]:
    """The tenants in `file`, by name. Raises `ConfigurationError`."""
    values, lines = read_yaml(file)
    try:
        tenants = _File(**values).tenants
    except ValidationError as error:
        problems = [_problem(detail, file, lines) for detail in error.errors(include_input=False)]
        raise ConfigurationError(problems) from None
    terms = {name: entry.terms() for name, entry in tenants.items()}
    if shared := list(_shared(terms)):
        problems = [
            f"{_place(('tenants', name, 'keys'), file, lines)}: {text}" for name, text in shared
        ]
        raise ConfigurationError(problems)
    return terms


def roster(file: Path | None, keys: Mapping[str, Iterable[bytes]] | None) -> dict[str, Terms]:
    """All tenants: those of `file`, and `keys` (digests by tenant), which may be further keys of theirs. Raises
    `ConfigurationError`.
    """
    terms = read(file) if file is not None else {}
    for name, digests in (keys or {}).items():
        known = terms.get(name, Terms())
        terms[name] = replace(known, keys=known.keys | frozenset(digests))
    if shared := list(_shared(terms)):
        raise ConfigurationError([f"api_keys: {name}: {text}" for name, text in shared])
    return terms


def _shared(terms: Mapping[str, Terms]) -> Iterable[tuple[str, str]]:
    """Tenants with a key of another one's, which would make it a matter of luck whose a request is."""
    owners: dict[bytes, str] = {}
    for name, each in terms.items():
        for digest in each.keys:
            owner = owners.setdefault(digest, name)
            if owner != name:
                yield name, f"a key of {name} is also one of {owner}"


def _problem(detail: Mapping[str, Any], file: Path, lines: Mapping[str, int]) -> str:
    """One line: where, what, why."""
    location = tuple(str(part) for part in detail["loc"] if part != "[key]")
    message = detail["msg"].removeprefix("Value error, ")
    if detail["type"] == "extra_forbidden":
        known = _Entry.model_fields if len(location) > 1 else _File.model_fields
        message = no_such_setting(location[-1], known)
    return f"{_place(location, file, lines)}: {'.'.join(location)}: {message}"


def _place(location: tuple[str, ...], file: Path, lines: Mapping[str, int]) -> str:
    """The line of what is there, or of what it is in."""
    for end in range(len(location), 0, -1):
        line = lines.get(".".join(location[:end]))
        if line:
            return f"{file}:{line}"
    return str(file)

"""Recorded workloads: two public formats of lengths, times and block ids, as JSON lines, plain or gzip.

Mooncake (github.com/kvcache-ai/Mooncake, FAST25-release/traces): open loop. `timestamp` in ms, `input_length`,
`output_length`, `hash_ids` of blocks of 512 tokens. Arrivals that share a timestamp are spread evenly up to the
next one. Sessions are not recorded: requests are taken for one that share a block which is not common to many.

Sessions of coding agents (made from github.com/callanjfox/kv-cache-tester): closed loop. `session`, `t` in s,
`in`, `out`, `think` in s, `h` (ids of blocks of 64 tokens) and, where a session has parallel threads, `lane`.
Sessions start in the order of the file, one every 12 s, whatever their `t`. Each lane is a chain of its own; a
later lane starts as long after the first as recorded. No pause, that one included, is longer than 60 s.

In both an id stands for everything up to the end of its block, over the whole file. The block in which a prompt
ends may have an id too; only full blocks are used.
"""

import gzip
import zlib
from collections import Counter
from collections.abc import Iterator, Set
from itertools import chain, groupby, pairwise
from pathlib import Path
from typing import Annotated, TypeVar

import msgspec

from router.simulate.workload import Call, Session, Step, Workload

SESSION_GAP_S = 12.0
MAX_PAUSE_S = 60.0
COMMON_SHARE = 0.1
COMMON_LEAST = 100
"""A block that so many requests hold, of all and at least, is a system prompt's rather than a conversation's."""
_GZIP = b"\x1f\x8b"

_Count = Annotated[int, msgspec.Meta(ge=0)]
_Positive = Annotated[int, msgspec.Meta(ge=1)]


class TraceError(ValueError):
    """The file is not a trace in a known format; the message names the file and the line."""


class _Request(msgspec.Struct, frozen=True):
    """A line of a Mooncake trace."""

    timestamp: float
    prompt_tokens: _Positive = msgspec.field(name="input_length")
    output_tokens: _Count = msgspec.field(name="output_length")
    ids: list[int] = msgspec.field(name="hash_ids")


class _Turn(msgspec.Struct, frozen=True):
    """A line of a trace of sessions."""

    session: str
    t: float
    prompt_tokens: _Positive = msgspec.field(name="in")
    output_tokens: _Count = msgspec.field(name="out")
    ids: list[int] = msgspec.field(name="h")
    think: float | None = None
    lane: int | str | None = None


_Row = TypeVar("_Row", _Request, _Turn)
_Lines = list[tuple[int, bytes]]


def load_trace(path: Path, *, block_tokens: int | None = None) -> Workload:
    """The workload recorded in `path`; what it holds tells the format. `block_tokens` overrides the format's.

    Raises `TraceError` if a line cannot be read or the ids do not fit the lengths, OSError as opening does.
    """
    lines = list(_lines(path))
    fields = _fields(path, lines)
    name = path.name.partition(".")[0]
    if "hash_ids" in fields:
        size = block_tokens or 512
        return _open_loop(name, size, _rows(path, lines, _Request, size))
    if "session" in fields:
        size = block_tokens or 64
        return _closed_loop(name, size, _rows(path, lines, _Turn, size))
    raise TraceError(
        f"{path}:{lines[0][0]}: unknown format: no `hash_ids` (Mooncake's) and no `session` (agents')"
    )


def _lines(path: Path) -> Iterator[tuple[int, bytes]]:
    """The lines that are not blank, with their numbers."""
    with path.open("rb") as file:
        packed = file.read(len(_GZIP)) == _GZIP
    try:
        with gzip.open(path) if packed else path.open("rb") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    yield number, line
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise TraceError(f"{path}: broken gzip: {error}") from error


def _fields(path: Path, lines: _Lines) -> set[str]:
    """The names of the first line's fields."""
    if not lines:
        raise TraceError(f"{path}: no requests")
    number, line = lines[0]
    try:
        return set(msgspec.json.decode(line, type=dict[str, msgspec.Raw]))
    except msgspec.DecodeError as error:
        raise TraceError(f"{path}:{number}: {error}") from error


def _rows(path: Path, lines: _Lines, kind: type[_Row], block_tokens: int) -> list[_Row]:
    decoder = msgspec.json.Decoder(kind)
    rows = []
    for number, line in lines:
        try:
            row = decoder.decode(line)
        except msgspec.DecodeError as error:
            raise TraceError(f"{path}:{number}: {error}") from error
        full = row.prompt_tokens // block_tokens
        if not full <= len(row.ids) <= full + 1:
            raise TraceError(
                f"{path}:{number}: {len(row.ids)} block ids for {row.prompt_tokens} tokens: not one per "
                f"{block_tokens} tokens (see --block-tokens)"
            )
        rows.append(row)
    return rows


def _open_loop(name: str, block_tokens: int, rows: list[_Request]) -> Workload:
    rows = sorted(rows, key=lambda row: row.timestamp)
    common = _common(rows)
    calls = _calls(rows, block_tokens, common)
    times = _spread([row.timestamp - rows[0].timestamp for row in rows])
    sessions = []
    for number, (call, time) in enumerate(zip(calls, times, strict=True)):
        own = next((block for block in call.blocks if block not in common), None)
        session = f"request-{number}" if own is None else f"block-{own}"
        sessions.append(Session(session, "", time / 1000, (Step((call,), 0.0),)))
    return Workload(name, block_tokens, 8, sessions)


def _common(rows: list[_Request]) -> set[int]:
    held = Counter(chain.from_iterable(row.ids for row in rows))
    least = max(COMMON_LEAST, COMMON_SHARE * len(rows))
    return {block for block, times in held.items() if times >= least}


def _spread(times: list[float]) -> list[float]:
    """Moves equal times apart, up to the next time; the last ones as far as those before them."""
    groups = [(time, len(list(group))) for time, group in groupby(times)]
    spread: list[float] = []
    gap = 0.0
    for number, (time, size) in enumerate(groups, 1):
        if number < len(groups):
            gap = groups[number][0] - time
        spread += [time + gap * place / size for place in range(size)]
    return spread


def _closed_loop(name: str, block_tokens: int, rows: list[_Turn]) -> Workload:
    calls = _calls(rows, block_tokens)
    first: dict[str, tuple[float, float]] = {}
    lanes: dict[tuple[str, int | str | None], list[tuple[_Turn, Call]]] = {}
    for row, call in zip(rows, calls, strict=True):
        first.setdefault(row.session, (len(first) * SESSION_GAP_S, row.t))
        lanes.setdefault((row.session, row.lane), []).append((row, call))
    sessions = []
    for (session, _), turns in lanes.items():
        start_s, began = first[session]
        start_s += _pause(turns[0][0].t - began)
        steps = [Step((turns[0][1],), 0.0)]
        for (before, _), (row, call) in pairwise(turns):
            think_s = row.t - before.t if row.think is None else row.think
            steps.append(Step((call,), _pause(think_s)))
        sessions.append(Session(session, "", start_s, steps))
    sessions.sort(key=lambda lane: lane.start_s)
    return Workload(name, block_tokens, 4, sessions)


def _pause(seconds: float) -> float:
    return min(max(seconds, 0.0), MAX_PAUSE_S)


def _calls(rows: list[_Row], block_tokens: int, common: Set[int] = frozenset()) -> list[Call]:
    """The call of each row. What was answered is known from the prompt that extends it."""
    prompts = [row.ids[: row.prompt_tokens // block_tokens] for row in rows]
    extended_by = _extensions(prompts, common)
    calls = []
    for place, (row, blocks) in enumerate(zip(rows, prompts, strict=True)):
        answer_blocks: list[int] = []
        if (later := extended_by.get(place)) is not None:
            end = (row.prompt_tokens + row.output_tokens) // block_tokens
            answer_blocks = prompts[later][len(blocks) : end]
        calls.append(Call(row.prompt_tokens, max(1, row.output_tokens), blocks, answer_blocks))
    return calls


def _extensions(prompts: list[list[int]], common: Set[int]) -> dict[int, int]:
    """For each prompt that is extended, the first later one that has all its blocks and goes on (by place).

    One that ends with a common block has none: whoever comes next with the same start does not continue it.
    """
    extended_by: dict[int, int] = {}
    waiting: dict[int, list[int]] = {}
    for place, blocks in enumerate(prompts):
        for block in blocks[:-1]:
            if block in waiting:
                extended_by.update(dict.fromkeys(waiting.pop(block), place))
        if blocks and blocks[-1] not in common:
            waiting.setdefault(blocks[-1], []).append(place)
    return extended_by

"""The seam to the store that routers share, and what goes through it."""

import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

import msgspec

from router.ids import BlockKey, WorkerId

Holder: TypeAlias = int
"""Who holds a block: a worker's number times four, plus a `Kind`; below 65536."""

MAX_WORKERS = 1 << 14
KINDS = 4
TEXT, GPU, CPU, DISK = range(KINDS)
"""What is known of: blocks of text that were sent, blocks of tokens by where the worker says that it has them."""

IGNORED = (0, 0xFFFF)
"""The stamp and window of a holder that is not asked about."""


class StoreError(Exception):
    """The store cannot be asked. `reason`: one of `late`, `failed`, `full`, `read_only`."""

    def __init__(self, reason: str, message: str) -> None:
        super().__init__(message)
        self.reason = reason


def as_store_error(error: Exception) -> StoreError:
    """A deadline that was missed is one, too."""
    return error if isinstance(error, StoreError) else StoreError("late", "no answer in time")


class Hold(NamedTuple):
    """`holder` has these blocks, stamped with its age: what it had under older stamps may count no more."""

    holder: Holder
    stamp: int
    keys: Sequence[BlockKey]


class Drop(NamedTuple):
    """`holder` has these blocks no more."""

    holder: Holder
    keys: Sequence[BlockKey]


Write: TypeAlias = Hold | Drop


class Row(NamedTuple):
    """A worker's row on the board. `inflight` to `context` are sums over all routers: requests, those before their
    first token, the uncached tokens and predicted milliseconds of these, and the tokens of all prompts. `clock`: new tokens that the worker was ever sent.
    `running`, `waiting`, `kv_permille`: what its metrics said, if anybody `told`.
    """

    inflight: int = 0
    pending: int = 0
    tokens: int = 0
    pending_ms: int = 0
    context: int = 0
    clock: int = 0
    running: int = 0
    waiting: int = 0
    kv_permille: int = 0
    told: int = 0


class Share(NamedTuple):
    """What one router has under way at a worker; as in `Row`."""

    inflight: int = 0
    pending: int = 0
    tokens: int = 0
    pending_ms: int = 0
    context: int = 0


class Told(NamedTuple):
    """What a worker's metrics said; as in `Row`."""

    running: int
    waiting: int
    kv_permille: int


class Change(NamedTuple):
    """News of a worker, by its number: `share` replaces what this router said before; `sent`: new tokens."""

    number: int
    share: Share
    sent: int = 0
    told: Told | None = None


@dataclass(frozen=True, slots=True)
class Replica:
    """A router. `leads`: it takes leases before those that only follow do."""

    name: str
    leads: bool = True


_ROW = struct.Struct(">IIIIIIHHHH")


_VALID = struct.Struct(">HH")


def stamp_of(valid: bytes, holder: Holder) -> tuple[int, int]:
    """A holder's stamp and window in `Store.look_up`'s `valid`."""
    at = holder * _VALID.size
    return _VALID.unpack_from(valid, at) if at < len(valid) else IGNORED


def pack_rows(rows: Iterable[Row]) -> bytes:
    """A board's rows as it keeps them."""
    return b"".join([_ROW.pack(*row) for row in rows])


ROW_BYTES = _ROW.size


def row_at(packed: bytes, number: int) -> Row:
    """A worker's row of a board."""
    at = number * ROW_BYTES
    return Row(*_ROW.unpack_from(packed, at)) if at + ROW_BYTES <= len(packed) else Row()


def rows_of(packed: bytes) -> list[Row]:
    """A board's rows."""
    whole = len(packed) // _ROW.size * _ROW.size
    return [Row(*row) for row in _ROW.iter_unpack(packed[:whole])]


@dataclass(frozen=True, slots=True)
class Board:
    """What all routers have under way. `epoch` changes when the store was emptied; `known` is False when it had
    forgotten the router that asks, and what that had told before. `rows` by number, packed, empty if they were not
    wanted; `leaders`, `followers`: how many routers there are; `facts`: the version of what is known of workers.
    """

    epoch: bytes
    known: bool
    rows: bytes
    leaders: int
    followers: int
    facts: int


class Answer(NamedTuple):
    """Leading blocks by holder, for each question; the board's rows if they were asked for."""

    runs: list[dict[Holder, int]]
    rows: bytes | None


class Facts(msgspec.Struct, frozen=True, array_like=True):
    """What the router that has the lease on a worker knows of it, for the others.

    `models` to `ranks` are its report, as in `engines.base.WorkerReport`. `block`: tokens in a block, of a worker whose
    events are followed; 0: they are not. `whole`: it tells all that it holds. `life` counts how often what it told was
    begun anew: blocks that are stamped with another one do not count. `condition`: an `engines.base.Condition`. `drained` and
    `wanted` (a URL, or that it is not) are told under names of their own by whichever router was asked to, with the Unix time
    `at` that it was said and perhaps a `proof` of who said it; with the condition `forgotten` what was said counts no more (`orders`).
    """

    up: bool = False
    models: Mapping[str, Mapping[str, Any]] = {}
    kv_tokens: int | None = None
    block_tokens: int | None = None
    started_at: float | None = None
    ranks: int | None = None
    block: int = 0
    whole: bool = False
    life: int = 0
    condition: str = "up"
    drained: bool = False
    wanted: str = ""
    at: float = 0.0
    proof: str = ""


class Store(Protocol):
    """Who holds which block, and the board. All raise `StoreError`."""

    async def look_up(
        self, epoch: bytes, questions: Sequence[Sequence[BlockKey]], valid: bytes, *, rows: bool
    ) -> Answer:
        """How many leading keys of each chain are held, by whom. `valid`: stamp and window of every holder, two bytes
        each in network order, by its number; what is stamped earlier than the window before the stamp does not count.
        """

    async def write(self, epoch: bytes, writes: Sequence[Write]) -> None:
        """Take these in, in order."""

    async def publish(
        self,
        replica: Replica,
        changes: Sequence[Change],
        *,
        epoch: bytes = b"",
        rows: bool = True,
    ) -> Board:
        """Put news on the board, and read it; news of another epoch are passed over. Who does not publish for some
        seconds is taken off.
        """

    async def enrol(self, workers: Sequence[WorkerId]) -> list[int]:
        """The workers' numbers, the same for all routers, -1 where none is left; to be called every so often for as
        long as they are there.
        """


class Registry(Protocol):
    """Who looks after which worker, what is known of it, and where responses are stored. All raise `StoreError`."""

    async def lease(
        self, replica: Replica, wanted: Sequence[WorkerId], returned: Sequence[WorkerId]
    ) -> dict[WorkerId, str]:
        """Take or renew leases where nobody else has one, give others back; returns the names of all holders. A lease
        that is not renewed for some seconds is anybody's.
        """

    async def facts(
        self, since: int, news: Mapping[WorkerId, Facts]
    ) -> tuple[int, dict[WorkerId, Facts]]:
        """Put in what is new, and read what has changed since a version (0: all); returns the version, too."""

    async def remember(self, response_id: str, worker: WorkerId) -> None:
        """A worker stores this response."""

    async def find(self, response_id: str) -> WorkerId | None:
        """Which worker stores it, as far as is known."""

"""An engine on paper: a pool of block copies as vLLM keeps it, and a publisher whose messages may get lost."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field

import msgspec

from router.events.subscriber import Reply
from router.events.wire import AllBlocksCleared, BlockRemoved, BlockStored, Event
from router.ids import BlockKey
from router.prompt.token_blocks import prompt_extras, token_keys
from tests.unit.events.support import SIZE

Block = tuple[tuple[int, ...], str | None]
"""The tokens of a prompt up to the end of the block, and its salt."""


def name_of(block: Block) -> int:
    """As an engine with any hash function would call it; the same in every life."""
    text, salt = block
    return token_keys(text, len(text), [[salt, "hashed"]])[0]


@dataclass
class PaperEngine:
    """Copies of blocks in a pool, least recently used first, the last block of a prompt before its first one."""

    slots: int = 8
    pool: list[Block] = field(default_factory=list)
    events: list[Event] = field(default_factory=list)

    def serve(
        self, prompt: list[int], salt: str | None = None, *, look: bool = True, full: bool = False
    ) -> int:
        """Compute a prompt; returns how many blocks were found. `look` False as for prompt logprobs; `full`: the
        request asks for a report of what it found.
        """
        prompt = prompt[: self.slots * SIZE]
        blocks: list[Block] = [
            (tuple(prompt[:end]), salt) for end in range(SIZE, len(prompt) + 1, SIZE)
        ]
        hits = self._hits(blocks, len(prompt)) if look else 0
        if full and hits:
            self._announce(blocks[:hits], None, "session")
        for block in blocks[:hits]:
            self.pool.remove(block)
        for _ in range(len(self.pool) + len(blocks) - self.slots):
            self.events.append(BlockRemoved([name_of(self.pool.pop(0))], "GPU", 0))
        if blocks[hits:]:
            self._announce(blocks[hits:], blocks[hits - 1] if hits else None, None)
        self.pool += reversed(blocks)
        return hits

    def reset(self) -> None:
        self.pool.clear()
        self.events.append(AllBlocksCleared())

    def keys(self) -> set[BlockKey]:
        """What is held, from the tokens alone."""
        return {
            token_keys(text, SIZE, prompt_extras(len(text) // SIZE, SIZE, salt=salt))[-1]
            for text, salt in self.pool
        }

    def _hits(self, blocks: list[Block], length: int) -> int:
        hits = 0
        while hits < len(blocks) and blocks[hits] in self.pool and (hits + 1) * SIZE < length:
            hits += 1
        return hits

    def _announce(self, blocks: list[Block], parent: Block | None, session: str | None) -> None:
        start = len(parent[0]) if parent else 0
        text, salt = blocks[-1]
        extras: list[list[str] | None] = [None] * len(blocks)
        if salt and not parent:
            extras[0] = [salt]
        self.events.append(
            BlockStored(
                [name_of(block) for block in blocks],
                name_of(parent) if parent else None,
                list(text[start:]),
                SIZE,
                medium="GPU",
                extra_keys=extras,  # type: ignore[arg-type]
                group_idx=0,
                session_id=session,
            )
        )


class PaperPublisher:
    """Numbers batches, keeps the last `ring` of them, hands them to `deliver` unless `losing`."""

    def __init__(self, deliver: Callable[[int, bytes], None], ring: int | None = None) -> None:
        self.losing = False
        self.leaky = False
        self.silent = False
        self.now = 1.0
        self._deliver = deliver
        self._next = 0
        self._kept: deque[tuple[int, bytes]] = deque(maxlen=ring)

    def publish(self, engine: PaperEngine) -> None:
        """What an engine does at the end of a step."""
        if not engine.events:
            return
        self.now += 1
        payload = msgspec.msgpack.encode([self.now, engine.events, 0])
        engine.events = []
        self._kept.append((self._next, payload))
        if not self.losing:
            self._deliver(self._next, payload)
        self._next += 1

    def again(self, back: int) -> None:
        """A batch of the past comes once more."""
        if self._kept and not self.losing:
            self._deliver(*self._kept[-1 - back % len(self._kept)])

    def restart(self) -> float:
        """A new life; returns when it began."""
        self._kept.clear()
        self._next = 0
        self.now += 1
        return self.now

    def replay(self, first: int) -> "PaperReplay":
        """Answer a request for past batches; `leaky`: some do not get through, `silent`: none at all does."""
        wanted = [each for each in self._kept if each[0] >= first]
        if self.leaky:
            del wanted[2:3]
        return PaperReplay(
            [] if self.silent else wanted, Reply.EXPIRED if self.silent else Reply.END
        )


class PaperReplay:
    """A replay (`subscriber.Replay`) that pauses now and then."""

    def __init__(self, batches: list[tuple[int, bytes]], end: Reply) -> None:
        self.closed = False
        self._batches = deque(batches)
        self._end = end

    def receive(self) -> tuple[int, bytes] | Reply:
        assert not self.closed
        return self._batches.popleft() if self._batches else self._end

    def close(self) -> None:
        self.closed = True

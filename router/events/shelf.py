"""The blocks of one KV cache group: the engine's names, the router's keys, how many copies (pure)."""

from router.events.wire import Hash
from router.ids import BlockKey
from router.index.shards import Shards
from router.prompt.token_blocks import next_key

MAX_ORPHANS = 20_000


class Shelf:
    """Copies are counted, because an engine keeps several of one block and announces the end of each.

    A block behind one that was never announced is an orphan: it has no key until the one before it gets one. Only
    `MAX_ORPHANS` of them are remembered.
    """

    __slots__ = ("_children", "_orphans", "_spare", "keys")

    def __init__(self) -> None:
        self.keys: Shards[Hash, BlockKey] = Shards()
        self._spare: dict[Hash, int] = {}
        self._orphans: dict[Hash, tuple[Hash, bytes]] = {}
        self._children: dict[Hash, dict[Hash, None]] = {}

    def copy(self, name: Hash) -> None:
        """Count one more copy of a block, if it is held."""
        if name in self.keys or name in self._orphans:
            self._spare[name] = self._spare.get(name, 0) + 1

    def put(self, name: Hash, key: BlockKey) -> list[BlockKey]:
        """Give a block its key; returns all keys that are held now: its own, and those of orphans behind it."""
        self.keys.part(name)[name] = key
        if not self._orphans:
            return [key]
        self._forget_orphan(name)
        found, grown = [key], [(name, key)]
        while grown:
            parent, parent_key = grown.pop()
            for child in self._children.pop(parent, ()):
                _, content = self._orphans.pop(child)
                key = self.keys.part(child)[child] = next_key(parent_key, content)
                found.append(key)
                grown.append((child, key))
        return found

    def hold_orphan(self, name: Hash, parent: Hash, content: bytes, *, adds: bool) -> None:
        """A block behind one that is not known; `adds`: it is a copy, if the block is held already."""
        if name in self._orphans:
            if adds:
                self.copy(name)
        elif len(self._orphans) < MAX_ORPHANS:
            self._orphans[name] = parent, content
            self._children.setdefault(parent, {})[name] = None

    def take(self, name: Hash) -> BlockKey | None:
        """One copy is gone; the key, if it was the last one and had one."""
        if self._spare:
            left = self._spare.pop(name, 0) - 1
            if left > 0:
                self._spare[name] = left
            if left >= 0:
                return None
        key = self.keys.part(name).pop(name, None)
        if key is None and self._orphans:
            self._forget_orphan(name)
        return key

    def _forget_orphan(self, name: Hash) -> None:
        orphan = self._orphans.pop(name, None)
        if orphan is None:
            return
        siblings = self._children[orphan[0]]
        del siblings[name]
        if not siblings:
            del self._children[orphan[0]]

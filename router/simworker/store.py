"""Responses that this worker remembers, as vLLM does: in this process only."""

import asyncio
from collections import OrderedDict
from dataclasses import dataclass
from typing import Any

_CAPACITY = 1000


@dataclass(slots=True)
class Stored:
    """A response, the conversation up to and with it, and its task if it is made in the background."""

    body: dict[str, Any]
    messages: list[dict[str, Any]]
    task: asyncio.Task[None] | None = None


class ResponseStore:
    """The last responses by id."""

    def __init__(self) -> None:
        self._entries: OrderedDict[str, Stored] = OrderedDict()

    def __len__(self) -> int:
        return len(self._entries)

    def put(self, stored: Stored) -> None:
        """Remember a response under its id."""
        self._entries[stored.body["id"]] = stored
        while len(self._entries) > _CAPACITY:
            self._entries.popitem(last=False)

    def get(self, response_id: str) -> Stored | None:
        """A response by id."""
        return self._entries.get(response_id)

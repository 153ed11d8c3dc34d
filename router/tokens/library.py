"""The tokenizers that are at hand: those that were configured, and those whose files lie where a worker says."""

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path

from router.tokens.service import Source

logger = logging.getLogger(__name__)

Load = Callable[[str, Path], Source]
"""Loads a model's tokenizer from its directory; blocks. Raises ValueError or OSError."""


class Library:
    """Sources by base model (`get`, as `TokenService` asks). `offer` says where a model's files may be; `run` loads
    what was offered, beside the event loop. `hub`: the Hugging Face cache.
    """

    def __init__(self, load: Load, configured: Mapping[str, Path], hub: Path) -> None:
        self._load = load
        self._hub = hub
        self._sources: dict[str, Source] = {}
        self._offered: set[str] = set(configured)
        self._loading: asyncio.Queue[tuple[str, Path]] = asyncio.Queue()
        for model, directory in configured.items():
            self._loading.put_nowait((model, directory))

    def get(self, model: str, other: Source | None = None) -> Source | None:
        """The model's source; `other` where there is none."""
        return self._sources.get(model, other)

    def offer(self, model: str, root: str) -> None:
        """A worker loaded `model` from `root`, a path or a name on the Hub: its files may be here too."""
        if model in self._offered:
            return
        self._offered.add(model)
        directory = find_directory(root, self._hub)
        if directory is None:
            logger.info("no tokenizer files of %s are here (%s): workers are asked", model, root)
        else:
            self._loading.put_nowait((model, directory))

    async def run(self) -> None:
        """Load for ever."""
        while True:
            model, directory = await self._loading.get()
            try:
                self._sources[model] = await asyncio.to_thread(self._load, model, directory)
            except Exception as error:  # noqa: BLE001 - files can be wrong in many ways
                logger.warning(
                    "the tokenizer of %s is not usable: %s; workers are asked", model, error
                )
            else:
                logger.info("prompts for %s are tokenized with the files in %s", model, directory)


def find_directory(root: str, hub: Path) -> Path | None:
    """The directory of a model's files on this machine: `root` itself, or in the Hub's cache what it names."""
    if Path(root).is_absolute():
        return Path(root) if Path(root, "tokenizer.json").is_file() else None
    repository = hub / f"models--{root.replace('/', '--')}"
    try:
        snapshot = repository / "snapshots" / (repository / "refs/main").read_text().strip()
    except (OSError, ValueError):
        return None
    return snapshot if (snapshot / "tokenizer.json").is_file() else None

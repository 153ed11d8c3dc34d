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
        self._configured = frozenset(configured)
        self._sources: dict[str, Source] = {}
        self._roots: dict[str, set[str]] = {}
        self._loading: asyncio.Queue[tuple[str, Path]] = asyncio.Queue()
        for model, directory in configured.items():
            self._loading.put_nowait((model, directory))

    def get(self, model: str, other: Source | None = None) -> Source | None:
        """The model's source; `other` where there is none."""
        return self._sources.get(model, other)

    def offer(self, model: str, root: str) -> None:
        """A worker loaded `model` from `root`, a path or a name on the Hub: its files may be here too.

        A root not seen before may be another model under the old name: what was loaded does not count any more.
        """
        roots = self._roots.setdefault(model, set())
        if model in self._configured or root in roots:
            return
        roots.add(root)
        self._sources.pop(model, None)
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
                self._sources[model] = await asyncio.to_thread(self._loaded, model, directory)
            except Exception as error:  # noqa: BLE001 - files can be wrong in many ways
                logger.warning(
                    "the tokenizer of %s is not usable: %s; workers are asked", model, error
                )
            else:
                logger.info("prompts for %s are tokenized with the files in %s", model, directory)

    def _loaded(self, model: str, directory: Path) -> Source:
        try:
            return self._load(model, directory)
        except Exception:
            raise
        except BaseException as error:  # a panic of the tokenizer's Rust is no Exception
            raise ValueError(repr(error)) from error


def find_directory(root: str, hub: Path) -> Path | None:
    """The directory of a model's files on this machine: `root` itself, or in the Hub's cache what it names."""
    try:
        directory = Path(root) if Path(root).is_absolute() else _snapshot(root, hub)
        return directory if (directory / "tokenizer.json").is_file() else None
    except (OSError, ValueError):  # not there, not for us to read, no path at all
        return None


def _snapshot(name: str, hub: Path) -> Path:
    repository = hub / f"models--{name.replace('/', '--')}"
    return repository / "snapshots" / (repository / "refs/main").read_text().strip()

"""Which tokenizers are at hand: configured ones, those found where workers say, and what becomes of bad files."""

import asyncio
import logging
from array import array
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from router.tokens.library import Library, find_directory
from router.tokens.prompt import ChatPrompt, TextPrompt, TokenIds
from router.tokens.service import Run

REPOSITORY = "models--org--name"


class Loaded:
    """A source that knows where it was loaded from."""

    def __init__(self, model: str, directory: Path) -> None:
        self.model = model
        self.directory = directory

    async def ids(self, prompt: ChatPrompt | TextPrompt, run: Run) -> TokenIds:
        return array("I")


def of(library: Library, model: str) -> Path | None:
    """The directory that a model's source was loaded from."""
    source = library.get(model)
    return source.directory if isinstance(source, Loaded) else None


def model_at(directory: Path) -> Path:
    directory.mkdir(parents=True)
    (directory / "tokenizer.json").touch()
    return directory


def hub_with_model(hub: Path, revision: str = "abc") -> Path:
    """A Hugging Face cache that has org/name; the directory of its files."""
    refs = hub / REPOSITORY / "refs"
    refs.mkdir(parents=True)
    (refs / "main").write_text(f"{revision}\n")
    return model_at(hub / REPOSITORY / "snapshots" / revision)


@asynccontextmanager
async def running(library: Library) -> AsyncIterator[None]:
    """All that was offered is being loaded; it goes on without end."""
    task = asyncio.create_task(library.run())
    yield
    assert not task.done(), "nothing that is offered ends it"
    task.cancel()


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 - another thread makes it true
            await asyncio.sleep(0.001)


class TestFinding:
    def test_a_path_is_taken_as_it_is(self, tmp_path: Path) -> None:
        directory = model_at(tmp_path / "model")
        assert find_directory(str(directory), tmp_path / "hub") == directory

    def test_a_name_is_looked_for_in_the_cache_of_the_hub(self, tmp_path: Path) -> None:
        directory = hub_with_model(tmp_path)
        assert find_directory("org/name", tmp_path) == directory

    @pytest.mark.parametrize("root", ["/none", "org/other", "", ".", "x\0y", "/x\0y"])
    def test_what_is_not_here_is_not_found(self, root: str, tmp_path: Path) -> None:
        hub_with_model(tmp_path)
        assert find_directory(root, tmp_path) is None

    def test_a_directory_without_a_tokenizer_is_none(self, tmp_path: Path) -> None:
        (hub_with_model(tmp_path) / "tokenizer.json").unlink()
        (tmp_path / "weights").mkdir()
        assert find_directory("org/name", tmp_path) is None
        assert find_directory(str(tmp_path / "weights"), tmp_path) is None

    def test_a_reference_that_is_no_text(self, tmp_path: Path) -> None:
        hub_with_model(tmp_path)
        (tmp_path / REPOSITORY / "refs/main").write_bytes(b"\xff\xfe")
        assert find_directory("org/name", tmp_path) is None


class TestLoading:
    async def test_what_is_configured_is_loaded(self, tmp_path: Path) -> None:
        library = Library(Loaded, {"m": tmp_path}, tmp_path)
        assert library.get("m") is None, "not yet"
        async with running(library):
            await until(lambda: of(library, "m") == tmp_path)

    async def test_what_a_worker_loaded_is_too_if_its_files_are_here(self, tmp_path: Path) -> None:
        library, directory = Library(Loaded, {}, tmp_path), hub_with_model(tmp_path)
        async with running(library):
            library.offer("m", "org/name")
            await until(lambda: of(library, "m") == directory)

    async def test_the_configuration_counts_more_than_what_workers_say(
        self, tmp_path: Path
    ) -> None:
        configured, other = tmp_path / "mine", hub_with_model(tmp_path)
        library = Library(Loaded, {"m": configured}, tmp_path)
        library.offer("m", "org/name")
        async with running(library):
            library.offer("n", "org/name")
            await until(lambda: of(library, "n") == other)
        assert of(library, "m") == configured

    async def test_another_root_is_another_model_under_the_old_name(self, tmp_path: Path) -> None:
        first, second = model_at(tmp_path / "first"), model_at(tmp_path / "second")
        library = Library(Loaded, {}, tmp_path)
        async with running(library):
            library.offer("m", str(first))
            await until(lambda: of(library, "m") == first)
            library.offer("m", "org/elsewhere")
            assert library.get("m") is None, "at once"
            library.offer("m", str(second))
            await until(lambda: of(library, "m") == second)
            library.offer("m", str(first))
            assert of(library, "m") == second, "one that was seen before changes nothing"

    async def test_a_panic_of_the_tokenizer_ends_nothing(self, tmp_path: Path) -> None:
        class Panic(BaseException):
            pass

        def load(model: str, directory: Path) -> Loaded:
            if model == "bad":
                raise Panic
            return Loaded(model, directory)

        library = Library(load, {"bad": tmp_path, "good": tmp_path}, tmp_path)
        async with running(library):
            await until(lambda: of(library, "good") == tmp_path)
        assert library.get("bad") is None

    async def test_a_model_is_loaded_once_however_often_it_is_offered(self, tmp_path: Path) -> None:
        loaded: list[str] = []

        def load(model: str, directory: Path) -> Loaded:
            loaded.append(model)
            return Loaded(model, directory)

        hub_with_model(tmp_path)
        library = Library(load, {}, tmp_path)
        async with running(library):
            for model in ("m", "m", "n", "m"):
                library.offer(model, "org/name")
            await until(lambda: library.get("n") is not None)
        assert loaded == ["m", "n"]

    def test_a_model_that_is_not_here_is_told_once(
        self, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        caplog.set_level(logging.INFO)
        library = Library(Loaded, {}, tmp_path)
        for _ in range(2):
            library.offer("m", "org/name")
        assert [each.getMessage() for each in caplog.records] == [
            "no tokenizer files of m are here (org/name): workers are asked"
        ]

    def test_without_a_source_of_its_own_a_model_has_the_other_one(self, tmp_path: Path) -> None:
        other = Loaded("", tmp_path)
        library = Library(Loaded, {}, tmp_path)
        assert library.get("m", other) is other
        assert library.get("m") is None

    @pytest.mark.parametrize(
        "failure", [ValueError("odd"), OSError("odd"), KeyError("odd"), AttributeError("odd")]
    )
    async def test_bad_files_are_told_and_cost_only_their_model(
        self, failure: Exception, tmp_path: Path, caplog: pytest.LogCaptureFixture
    ) -> None:
        def load(model: str, directory: Path) -> Loaded:
            if model == "bad":
                raise failure
            return Loaded(model, directory)

        library = Library(load, {"bad": tmp_path, "good": tmp_path}, tmp_path)
        async with running(library):
            await until(lambda: library.get("good") is not None)
        assert library.get("bad") is None
        (warning,) = (each for each in caplog.records if each.levelno == logging.WARNING)
        assert "the tokenizer of bad is not usable" in warning.getMessage()
        assert "odd" in warning.getMessage()

    async def test_loading_does_not_hold_up_the_loop(self, tmp_path: Path) -> None:
        """`get` answers and the loop goes on while a file is being read."""
        loop = asyncio.get_running_loop()
        begun, go = asyncio.Event(), asyncio.Event()

        def load(model: str, directory: Path) -> Loaded:
            loop.call_soon_threadsafe(begun.set)
            asyncio.run_coroutine_threadsafe(go.wait(), loop).result(10)
            return Loaded(model, directory)

        library = Library(load, {"m": tmp_path}, tmp_path)
        async with running(library):
            await begun.wait()
            assert library.get("m") is None
            go.set()
            await until(lambda: library.get("m") is not None)

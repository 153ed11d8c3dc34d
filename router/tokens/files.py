"""Reads a model's tokenizer and chat templates from its directory, as vLLM 0.32 (transformers 5) reads them."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Tokenizer

_SPECIAL = tuple(f"{name}_token" for name in ("bos", "eos", "unk", "sep", "pad", "cls", "mask"))
_WRITTEN_IN_CODE = (
    "DeepseekV32",
    "DeepseekV4",
    "GptOss",
    "Inkling",
    "KimiK3",
    "MoonshotKimia",
)
"""How the architectures begin whose prompts vLLM writes by code of its own, not by a chat template."""


class TokenizerFilesError(ValueError):
    """A model's directory does not have what is needed; the message says what, for a person."""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """`template` writes chats without tools, `tool_template` those with tools; None: there is no template."""

    tokenizer: Tokenizer
    template: str | None
    tool_template: str | None
    special_tokens: dict[str, str] = field(default_factory=dict)


def load(directory: Path) -> ModelFiles:
    """Raises `TokenizerFilesError` when the engine would not make prompts from these files alone."""
    config = _json(directory / "tokenizer_config.json")
    _check(directory, config)
    tokenizer = _tokenizer(directory)
    if "added_tokens_decoder" not in config:
        config |= _json(directory / "special_tokens_map.json")
    tokenizer.add_tokens(list(_missing(config, tokenizer)))
    tokenizer.encode_special_tokens = bool(config.get("split_special_tokens"))
    special = {name: _content(config[name]) for name in _SPECIAL if config.get(name)}
    return ModelFiles(tokenizer, *_templates(directory, config), special)


def _check(directory: Path, config: dict[str, Any]) -> None:
    if not directory.is_dir():
        raise TokenizerFilesError(f"'{directory}' is not a directory")
    if not (directory / "tokenizer.json").is_file():
        raise TokenizerFilesError(f"'{directory}' has no tokenizer.json")
    if (directory / "params.json").exists() and any(_mistral(directory)):
        raise TokenizerFilesError(f"'{directory}' is for mistral-common, which vLLM prefers there")
    if "AutoTokenizer" in (config.get("auto_map") or ()):
        raise TokenizerFilesError(f"'{directory}' has a tokenizer in code of its own (auto_map)")
    for name in _json(directory / "config.json").get("architectures") or ():
        if name.startswith(_WRITTEN_IN_CODE):
            raise TokenizerFilesError(f"vLLM writes the prompts of {name} without a chat template")


def _mistral(directory: Path) -> Iterator[Path]:
    yield from directory.glob("tekken.json")
    yield from directory.glob("tokenizer.model.v*")


def _tokenizer(directory: Path) -> Tokenizer:
    file = directory / "tokenizer.json"
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:
        raise TokenizerFilesError(f"'{file}' cannot be read: {error}") from error


def _missing(config: dict[str, Any], tokenizer: Tokenizer) -> Iterator[AddedToken]:
    """Tokens that the configuration names and tokenizer.json does not have as added ones."""
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    declared = config.get("added_tokens_decoder") or {}
    for place in sorted(declared, key=int):
        if declared[place]["content"] not in known:
            known.add(declared[place]["content"])
            yield AddedToken(**declared[place])
    for token in _named(config):
        if _content(token) not in known:
            known.add(_content(token))
            yield AddedToken(_content(token), special=True, normalized=False)


def _named(config: dict[str, Any]) -> Iterator[str | dict[str, Any]]:
    """In the order in which transformers adds them: it counts where they get new ids."""
    yield from (config[name] for name in _SPECIAL if config.get(name))
    for name, token in config.items():  # such as `image_token`
        if name.endswith("_token") and name not in _SPECIAL and isinstance(token, str):
            yield token
    extra = config.get("extra_special_tokens") or config.get("additional_special_tokens") or []
    yield from extra.values() if isinstance(extra, dict) else extra


def _content(token: str | dict[str, Any]) -> str:
    return token if isinstance(token, str) else str(token["content"])


def _templates(directory: Path, config: dict[str, Any]) -> tuple[str | None, str | None]:
    """For chats without and with tools."""
    given = config.get("chat_template")
    named = {one["name"]: one["template"] for one in given} if isinstance(given, list) else {}
    if found := dict(_template_files(directory)):
        given, named = None, found
    plain = given if isinstance(given, str) else named.get("default")
    # A multimodal model's processor brings its own, for chats without tools.
    processor = _json(directory / "chat_template.json").get("chat_template")
    return processor or plain, named.get("tool_use") or plain


def _template_files(directory: Path) -> Iterator[tuple[str, str]]:
    """Templates in files of their own, by name; they stand in for all of the configuration's."""
    if (file := directory / "chat_template.jinja").is_file():
        yield "default", file.read_text("utf-8")
    for file in (directory / "additional_chat_templates").glob("*.jinja"):
        yield file.stem, file.read_text("utf-8")


def _json(file: Path) -> dict[str, Any]:
    """What stands in `file`; nothing when there is no such file."""
    if not file.is_file():
        return {}
    try:
        members: dict[str, Any] = json.loads(file.read_text("utf-8"))
    except ValueError as error:
        raise TokenizerFilesError(f"'{file}' cannot be read: {error}") from error
    return members

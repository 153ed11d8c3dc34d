"""Small real tokenizers and chat templates of the usual styles, made here."""

import json
from functools import cache
from pathlib import Path
from typing import Any

from tokenizers import (
    AddedToken,
    Tokenizer,
    decoders,
    models,
    normalizers,
    pre_tokenizers,
    processors,
    trainers,
)

from router.tokens.encode import Encoder
from router.tokens.local import LocalTokenizer
from router.tokens.segments import SegmentCache

TEMPLATES = {
    file.stem: file.read_text() for file in (Path(__file__).parent / "templates").glob("*.jinja")
}
"""`chatml` with tools and thinking, `headers` as Llama 3 has them, `inst` as Mistral's, `parts` for lists of parts."""

MARKS = [
    "<|endoftext|>",
    "<|im_start|>",
    "<|im_end|>",
    "<|begin_of_text|>",
    "<|start_header_id|>",
    "<|end_header_id|>",
    "<|eot_id|>",
    "<s>",
    "</s>",
    "[INST]",
    "[/INST]",
]
SPECIAL_TOKENS = {"bos_token": "<s>", "eos_token": "</s>", "pad_token": "<|endoftext|>"}

_TEXTS = [
    "The quick brown fox jumps over the lazy dog. Zwölf Boxkämpfer jagen Viktor quer über den Sylter Deich.",
    "def read(path):\n    with open(path) as file:\n        return json.loads(file.read())\n",
    'user assistant system tool <tool_call> {"name": "get_weather", "arguments": {"city": "Paris"}}',
] * 20


@cache
def _trained(kind: str) -> str:
    """A tokenizer's JSON: `bytes` (byte-level BPE), `prefixed` (the same with a space before words) or `pieces`
    (with ▁ for spaces, as SentencePiece has it)."""
    if kind == "pieces":
        tokenizer = Tokenizer(models.BPE(unk_token="<unk>", byte_fallback=False))
        tokenizer.normalizer = normalizers.NFKC()
        tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
        alphabet, special = [], ["<unk>", *MARKS]
    else:
        tokenizer = Tokenizer(models.BPE())
        tokenizer.normalizer = normalizers.NFC()
        tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=kind == "prefixed")
        tokenizer.decoder = decoders.ByteLevel()
        alphabet, special = pre_tokenizers.ByteLevel.alphabet(), MARKS
    trainer = trainers.BpeTrainer(
        vocab_size=600, special_tokens=special, initial_alphabet=alphabet, show_progress=False
    )
    tokenizer.train_from_iterator(_TEXTS, trainer)
    return tokenizer.to_str()


KINDS = ("bytes", "prefixed", "pieces")


def tokenizer_of(kind: str = "bytes", *added: AddedToken, bos: bool = True) -> Tokenizer:
    """A tokenizer that puts `<s>` before a text when it is to add special tokens."""
    tokenizer = Tokenizer.from_str(_trained(kind))
    tokenizer.add_tokens(list(added))
    if bos:
        start = tokenizer.token_to_id("<s>")
        tokenizer.post_processor = processors.TemplateProcessing(
            single="<s> $A", pair="<s> $A $B", special_tokens=[("<s>", start)]
        )
    return tokenizer


def encoder_of(tokenizer: Tokenizer, limit_bytes: int = 1_000_000) -> Encoder:
    return Encoder(tokenizer, SegmentCache(limit_bytes))


def write_model(directory: Path, template: Any = TEMPLATES["chatml"], **config: Any) -> Path:
    """A model's directory with tokenizer.json and tokenizer_config.json."""
    directory.mkdir(parents=True, exist_ok=True)
    tokenizer_of().save(str(directory / "tokenizer.json"))
    members = {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "chat_template": template,
        **SPECIAL_TOKENS,
        **config,
    }
    (directory / "tokenizer_config.json").write_text(json.dumps(members))
    return directory


def local_model(
    directory: Path, template: Any = TEMPLATES["chatml"], **config: Any
) -> LocalTokenizer:
    return LocalTokenizer.load(write_model(directory, template, **config), SegmentCache(1_000_000))

"""A toy tokenizer without a vocabulary file, and a ChatML-like template.

Text is cut from left to right into runs of up to four ASCII characters, so that a prefix of a text has
a prefix of its tokens (but for its last token, or a marker that the cut splits). A token's id is its
bytes read as a number: decoding needs no table, and what the worker generates encodes to the same ids
when the client sends it back in the next turn.
"""

import re
import struct
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

VOCAB_SIZE = 1 << 31
SPECIAL = {"<|endoftext|>": 0x81, "<|im_start|>": 0x82, "<|im_end|>": 0x83}
_SPECIAL_TEXT = {number: text for text, number in SPECIAL.items()}
# ASCII bytes are below 0x80, so a low byte of 0x80 marks an id that holds a code point instead.
_CODE_POINT = 0x80
_NEWLINE = 0x0A
_PIECE = re.compile(
    r"<\|endoftext\|>|<\|im_start\|>|<\|im_end\|>|[\x01-\x09\x0b-;=-\x7f]{1,4}|(?s:.)"
)


def encode(text: str) -> list[int]:
    """Token ids of a text; marker strings such as `<|im_end|>` are one token."""
    tokens: list[int] = []
    for number, line in enumerate(text.split("\n")):
        if number:
            tokens.append(_NEWLINE)
        tokens += _line_ids(line)
    return tokens


def _line_ids(line: str) -> Iterable[int]:
    if not line.isascii() or "<" in line or "\0" in line:
        return map(_piece_id, _PIECE.findall(line))
    raw = line.encode()
    count, rest = divmod(len(raw), 4)
    ids = struct.unpack_from(f">{count}I", raw)
    return (*ids, int.from_bytes(raw[-rest:], "big")) if rest else ids


def _piece_id(piece: str) -> int:
    if piece.isascii():
        special = SPECIAL.get(piece) if len(piece) > 4 else None
        if special is not None:
            return special
        if piece != "\0":
            return int.from_bytes(piece.encode(), "big")
    return ord(piece) << 8 | _CODE_POINT


def decode(tokens: Sequence[int]) -> str:
    """Text of token ids; ids that no text has become U+FFFD."""
    return "".join(map(token_text, tokens))


def token_text(token: int) -> str:
    """Text of one token id."""
    if token in _SPECIAL_TEXT:
        return _SPECIAL_TEXT[token]
    if token & 0xFF == _CODE_POINT:
        return _character(token >> 8)
    return token.to_bytes(4, "big").lstrip(b"\0").decode("ascii", "replace")


def _character(code_point: int) -> str:
    surrogate = 0xD800 <= code_point <= 0xDFFF
    return "\ufffd" if surrogate or code_point > 0x10FFFF else chr(code_point)


def render_chat(
    messages: Sequence[dict[str, Any]],
    tools: Sequence[Any] = (),
    *,
    answer: bool = True,
    go_on: bool = False,
) -> str:
    """The prompt of a conversation, ending where the assistant's answer begins unless `answer` is off.

    `go_on`: it ends with the last message's text, to be continued, instead.
    """
    parts = []
    if tools:
        parts.append(f"<|im_start|>tools\n{msgspec.json.encode(tools).decode()}<|im_end|>\n")
    parts += [
        f"<|im_start|>{message.get('role', 'user')}\n{message_text(message)}<|im_end|>\n"
        for message in messages
    ]
    if go_on:
        parts[-1] = parts[-1].removesuffix("<|im_end|>\n")
    elif answer:
        parts.append("<|im_start|>assistant\n")
    return "".join(parts)


def message_text(message: dict[str, Any]) -> str:
    """Content of a message as the template sees it: its text parts and its tool calls."""
    content = message.get("content")
    text = content if isinstance(content, str) else "".join(map(part_text, content or ()))
    if calls := message.get("tool_calls"):
        text += msgspec.json.encode(calls).decode()
    return text


def part_text(part: Any) -> str:
    """Text of one content part; parts other than text are rendered as their JSON."""
    if isinstance(part, str):
        return part
    text = part.get("text") if isinstance(part, dict) else None
    return text if isinstance(text, str) else msgspec.json.encode(part).decode()

"""Token ids from a worker's `POST /tokenize`, where the model's files are out of reach."""

from array import array
from collections.abc import Awaitable, Callable

import msgspec

from router.errors import RouterError
from router.prompt.request import UNREADABLE
from router.tokens.conversation import conversation
from router.tokens.prompt import ChatPrompt, Inexact, Reason, TextPrompt, TokenIds
from router.tokens.segments import SegmentCache, text_key
from router.tokens.service import Run

Post = Callable[[bytes], Awaitable[tuple[int, bytes]]]
"""Posts a JSON body to `/tokenize` of a worker that serves the body's model: status and body of the answer. May
raise `RouterError` and TimeoutError."""


class _Answer(msgspec.Struct):
    tokens: list[int]


_ANSWER = msgspec.json.Decoder(_Answer)


class RemoteTokenizer:
    """Asks a worker (`service.Source`). Whole answers are remembered, in `cache`: nothing less is known to be exact."""

    def __init__(self, post: Post, cache: SegmentCache) -> None:
        self._post = post
        self._cache = cache

    async def ids(self, prompt: ChatPrompt | TextPrompt, run: Run) -> TokenIds:
        """The prompt's ids; raises `Inexact`."""
        question = await run(lambda: tokenize_body(prompt))
        ids = self._cache.get(text_key(question))
        if ids is None:
            try:
                status, body = await self._post(question)
            except RouterError as error:
                raise Inexact(Reason.FAILED, f"/tokenize: {error}") from error
            ids = await run(lambda: self._cache.put(text_key(question), _tokens(status, body)))
        return ids if prompt.truncation is None else prompt.truncation.cut(ids)


def tokenize_body(prompt: ChatPrompt | TextPrompt) -> bytes:
    """The question to `/tokenize` (vLLM 0.32). Raises `Inexact` when its answer would not be the prompt's ids."""
    if prompt.truncation is not None and prompt.truncation.side is None and prompt.special:
        raise Inexact(Reason.OPTION, "truncate_prompt_tokens with special tokens")
    question: dict[str, object] = {"add_special_tokens": prompt.special}
    if prompt.model is not None:
        question["model"] = prompt.model
    if isinstance(prompt, TextPrompt):
        return msgspec.json.encode(question | {"prompt": prompt.text})
    conversation(prompt.messages, parts=False)  # its media would be tokens without their hashes
    arguments = dict(prompt.arguments)
    # `/tokenize` has no documents and no reasoning effort: to the template all of these are arguments.
    for name in ("add_generation_prompt", "continue_final_message"):
        question[name] = arguments.pop(name)
    question |= {"messages": prompt.messages, "chat_template_kwargs": arguments}
    if prompt.tools is not None:
        question["tools"] = prompt.tools
    return msgspec.json.encode(question)


def _tokens(status: int, body: bytes) -> TokenIds:
    if status != 200:
        raise Inexact(Reason.FAILED, f"/tokenize answered {status}: {body[:200]!r}")
    try:
        return array("I", _ANSWER.decode(body).tokens)
    except (*UNREADABLE, OverflowError) as error:
        raise Inexact(Reason.FAILED, f"/tokenize: {error}") from error

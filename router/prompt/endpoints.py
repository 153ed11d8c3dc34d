"""The table of inference endpoints: a new one is a row.

Every method is passed on (the worker answers 405 itself). What is not here is not reachable through the
router: a worker's control endpoints (sleep, weights, LoRA loading, cache resets …) stay private.
"""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from fnmatch import translate
from urllib.parse import unquote


class Family(StrEnum):
    """Whose shapes of error body and stream event a client of the endpoint expects."""

    OPENAI = "openai"
    ANTHROPIC = "anthropic"
    RESPONSES = "responses"


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One inference endpoint. `name` labels metrics and log lines."""

    name: str
    family: Family = Family.OPENAI
    generates: bool = False
    """Its prompts are prefilled into the KV cache that generation shares."""
    computes: bool = False
    """Its inputs take the model's time, though nothing of them is kept."""
    stores: bool = False
    """Its answers live on in the worker that gave them, and can be asked for there."""

    @property
    def works(self) -> bool:
        """It gives the model something to do; all else a worker answers beside that, without delay."""
        return self.generates or self.computes


_CHAT = Endpoint("chat_completions", generates=True)
_COMPLETIONS = Endpoint("completions", generates=True)
_RESPONSES = Endpoint("responses", Family.RESPONSES, generates=True, stores=True)
_MESSAGES = Endpoint("messages", Family.ANTHROPIC, generates=True)
_STORED_RESPONSE = Endpoint("responses_stored", Family.RESPONSES, stores=True)
_RENDER = Endpoint("render")
_EMBEDDINGS = Endpoint("embeddings", computes=True)
_RERANK = Endpoint("rerank", computes=True)
_SCORE = Endpoint("score", computes=True)

PATHS: dict[str, Endpoint] = {
    "/v1/chat/completions": _CHAT,
    "/v1/chat/completions/batch": Endpoint("chat_completions_batch", generates=True),
    "/v1/completions": _COMPLETIONS,
    "/v1/responses": _RESPONSES,
    "/v1/messages": _MESSAGES,
    "/v1/messages/count_tokens": Endpoint("count_tokens", Family.ANTHROPIC),
    "/v1/chat/completions/render": _RENDER,
    "/v1/completions/render": _RENDER,
    "/v1/messages/render": _RENDER,
    "/v1/responses/render": _RENDER,
    "/v1/chat/completions/derender": _RENDER,
    "/v1/completions/derender": _RENDER,
    "/inference/v1/generate": Endpoint("generate", generates=True),
    "/generate": Endpoint("generate", generates=True),
    "/invocations": Endpoint("invocations", generates=True),
    "/generative_scoring": Endpoint("generative_scoring", generates=True),
    "/v1/systemone": Endpoint("systemone", generates=True),
    "/v1/embeddings": _EMBEDDINGS,
    "/v2/embed": _EMBEDDINGS,
    "/v1/rerank": _RERANK,
    "/v2/rerank": _RERANK,
    "/rerank": _RERANK,
    "/v1/score": _SCORE,
    "/score": _SCORE,
    "/classify": Endpoint("classify", computes=True),
    "/pooling": Endpoint("pooling", computes=True),
    "/v1/audio/transcriptions": Endpoint("audio_transcriptions", computes=True),
    "/v1/audio/translations": Endpoint("audio_translations", computes=True),
    "/v1/audio/speech": Endpoint("audio_speech", computes=True),
    "/v1/images/generations": Endpoint("images_generations", computes=True),
    "/v1/images/edits": Endpoint("images_edits", computes=True),
    "/tokenize": Endpoint("tokenize"),
    "/detokenize": Endpoint("detokenize"),
    "/version": Endpoint("version"),
}

_STORED_PATH = re.compile(r"/v1/responses/(?P<id>[A-Za-z0-9_-][A-Za-z0-9_.-]*)(?:/cancel)?")
_AMBIGUOUS = re.compile(r"(?:^|[/\\])\.{1,2}(?:[/\\]|$)|%2f|%5c|%2e", re.IGNORECASE)
"""Dot segments and encoded separators: what stands behind a worker's address might resolve them."""
_OWN = re.compile(
    r"/|/(?:health|ping|ready|metrics|workers(?:/.*)?|explain|console(?:/.*)?|openapi\.json|redoc|docs(?:/.*)?"
    r"|v1/models(?:/.*)?)",
    re.DOTALL,
)
"""What the router answers itself, however far the allowed patterns reach."""
_OTHER = Endpoint("other")


class EndpointTable:
    """Resolves a request's path. `allowed` are further path patterns (`*` matches anything, `/` too)."""

    def __init__(self, allowed: Iterable[str] = ()) -> None:
        self._exact = {path.encode("ascii"): endpoint for path, endpoint in PATHS.items()}
        self._allowed = [re.compile(translate(pattern)) for pattern in allowed]

    def exact(self) -> Iterable[tuple[bytes, Endpoint]]:
        """All endpoints whose path is fixed."""
        return self._exact.items()

    def resolve(self, path: bytes) -> Endpoint | None:
        """The endpoint at `path` (canonical, see `canonical_path`), or None: not an inference path."""
        endpoint = self._exact.get(path)
        if endpoint is not None:
            return endpoint
        text = path.decode("latin-1")
        if _AMBIGUOUS.search(text):
            return None
        if _STORED_PATH.fullmatch(text):
            return _STORED_RESPONSE
        if any(pattern.match(text) for pattern in self._allowed) and not _is_own(text):
            return _OTHER
        return None


def _is_own(path: str) -> bool:
    return _OWN.fullmatch(unquote(path)) is not None


def stored_response_id(path: bytes) -> str | None:
    """The id in `/v1/responses/{id}` and `/v1/responses/{id}/cancel`."""
    match = _STORED_PATH.fullmatch(path.decode("latin-1"))
    return match["id"] if match else None


def canonical_path(path: bytes) -> bytes:
    """`path` without doubled and trailing slashes: clients with a sloppy base URL are served, not redirected."""
    if b"//" in path:
        path = re.sub(rb"/{2,}", b"/", path)
    return path[:-1] if len(path) > 1 and path.endswith(b"/") else path

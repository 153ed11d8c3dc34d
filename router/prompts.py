"""All that is to be known of a prompt before it is decided where it goes."""

from collections.abc import Sequence
from typing import Protocol

from router.exact import ExactPrompts
from router.fleet.worker import Worker
from router.ids import WorkerId
from router.prompt.identity import Identity
from router.prompt.request import Request


class Others(Protocol):
    """What other routers know (`shared.service.Shared`). Neither raises, or takes long."""

    async def known(self, identity: Identity) -> Identity:
        """The same prompt, with who holds how much of it."""

    async def home(self, response_id: str) -> WorkerId | None:
        """Who stores the response."""


class Prompts:
    """Asks for a prompt's tokens where workers say what they hold, and then other routers, if there are any."""

    def __init__(self, exact: ExactPrompts, others: Others | None = None) -> None:
        self._exact = exact
        self._others = others

    @property
    def shared(self) -> bool:
        """There may be other routers."""
        return self._others is not None

    def wanted(self, request: Request, candidates: Sequence[Worker], *, bound: bool) -> bool:
        """Whether `identity` can find out anything that matters; `bound`: it is clear where the request goes."""
        return self._asks(request, candidates, bound=bound) or self._exact.wanted(
            request, candidates
        )

    async def identity(
        self, request: Request, text: Identity, candidates: Sequence[Worker]
    ) -> Identity:
        """The prompt's identity for `candidates`, by its tokens where they are worth knowing. Never raises."""
        found = await self._exact.if_wanted(request, text, candidates)
        if self._others is not None and self._asks(request, candidates, bound=False):
            return await self._others.known(found)
        return found

    async def home(self, response_id: str) -> WorkerId | None:
        """Who stores the response, as other routers know."""
        return None if self._others is None else await self._others.home(response_id)

    def _asks(self, request: Request, candidates: Sequence[Worker], *, bound: bool) -> bool:
        """A prompt that can only go to one worker is not worth a question."""
        if self._others is None or bound or len(candidates) < 2:
            return False
        return request.endpoint.generates and bool(request.prompt)

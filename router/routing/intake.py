"""From a request to the question that choosing answers."""

from collections.abc import Callable, Sequence
from time import perf_counter

from router.errors import unknown_worker
from router.fleet.fleet import Fleet
from router.fleet.ranks import RANK, honouring
from router.fleet.worker import Worker
from router.ids import WorkerId
from router.prompt.endpoints import stored_response_id
from router.prompt.identity import Identity, TextIdentity
from router.prompt.request import Request
from router.routing.affinity import ResponseHomes
from router.routing.chooser import Lookup
from router.routing.policy import Question

PINNED, HOME = "pinned", "home"
"""Why only one worker will do: the request names it, or it stores what the request refers to."""


class Intake:
    """Identifies a request's prompt and who may serve it. `look_up` tells what workers hold of a prompt."""

    def __init__(
        self,
        fleet: Fleet,
        identities: TextIdentity,
        homes: ResponseHomes,
        look_up: Callable[[Identity], Lookup],
    ) -> None:
        self._fleet = fleet
        self._identities = identities
        self._homes = homes
        self.look_up = look_up

    def question(self, request: Request, arrived_at: float) -> tuple[Question, str]:
        """What there is to decide, and why there is only one candidate (`PINNED`, `HOME`, or empty: there is no
        reason). Raises `RouterError` when there is none.
        """
        candidates, bound = self._candidates(request)
        identity = self._identities.identify(request)
        overlaps = self.look_up(identity)
        return Question(request, identity, candidates, overlaps, perf_counter(), arrived_at), bound

    def _candidates(self, request: Request) -> tuple[Sequence[Worker], str]:
        pinned = request.incoming.by_name.get(b"x-router-worker")
        if pinned is not None:
            worker = self._fleet.get(pinned.decode("latin-1"))
            if worker is None or worker.target.service is not None:
                raise unknown_worker(pinned.decode("latin-1"))
            return (self.meant(worker, request),), PINNED
        home = self._home(request) if request.endpoint.stores else None
        if home is not None:
            return (self.meant(home, request),), HOME
        return self.able(request), ""

    def _home(self, request: Request) -> Worker | None:
        """The worker that stores the response which the request refers to, while it is up: though it may be given nothing
        else, nobody else has it. A service stores for all its callers alike.
        """
        home = self._homes.find(_stored_id(request))
        worker = self._fleet.get(home) if home is not None else None
        if worker is None or not worker.up or worker.target.service is not None:
            return None
        return worker if request.model is None or request.model in worker.report.models else None

    def unknown_home(self, request: Request) -> str | None:
        """The response that the request refers to, if this router does not know where that is stored."""
        response_id = _stored_id(request) if request.endpoint.stores else None
        return response_id if self._homes.find(response_id) is None else None

    def remember(self, response_id: str, worker: WorkerId) -> None:
        """Another router says who stores this response."""
        self._homes.remember(response_id, worker)

    def able(self, request: Request) -> Sequence[Worker]:
        """Who could serve the request now, but for what binds it. Raises `RouterError` when nobody could."""
        workers = self._fleet.candidates(request.model)
        return honouring(workers, request.incoming.by_name.get(RANK))

    def meant(self, worker: Worker, request: Request) -> Worker:
        """The rank of the worker's server that the request says itself, else the worker."""
        wanted = request.incoming.by_name.get(RANK)
        if wanted is None:
            return worker
        ranks = honouring(self._fleet.ranks(worker), wanted)
        return worker if worker in ranks else ranks[0]


def _stored_id(request: Request) -> str | None:
    return request.previous_response_id or stored_response_id(request.incoming.path)

"""Every policy by name."""

from collections.abc import Callable, Sequence

from router.fleet.worker import Worker
from router.routing.chooser import Chooser, Immediate
from router.routing.options import QueueOptions
from router.routing.peers import HELD, PEERS
from router.routing.peers.held import Gate
from router.routing.policies import OWN, Tools
from router.routing.policy import Admission
from router.routing.queue import LateBinding

POLICIES = ("prefix", *OWN, *PEERS, *HELD)
"""Names of all policies; `prefix` is the default. Under it and the last ones requests wait here."""


def admission(
    name: str,
    tools: Tools,
    chooser: Chooser,
    candidates: Callable[[str | None], Sequence[Worker]],
    options: QueueOptions | None = None,
) -> Admission:
    """The policy called `name`, ready to be asked. `candidates` gives the workers that serve a model."""
    if name == "prefix":
        return LateBinding(chooser, candidates, options, seed=tools.random.getrandbits(32))
    if name in HELD:
        return Gate(name, HELD[name](tools), chooser, candidates, options)
    make = OWN.get(name) or PEERS[name]
    return Immediate(name, make(tools), chooser)
